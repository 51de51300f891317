"""Hands the terminal to the user's own editor and takes the text back.

The engine goes on meanwhile: it lives on the same loop, so the editor is waited for and
never blocked on. Nothing is painted until the terminal is back.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from textual.app import App, SuspendNotSupported

from ksi_tui.screens.host import Host

FILE_NAME = "prompt.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    """What came back: the text, or None and why it is as it was."""

    text: str | None
    said: str = ""


def editor_command(environ: Mapping[str, str]) -> list[str]:
    """Return the user's editor as words; ValueError where there is none or it cannot be read."""
    for name in ("VISUAL", "EDITOR"):
        if environ.get(name, "").strip():
            try:
                return shlex.split(environ[name])
            except ValueError as error:
                raise ValueError(f"${name} cannot be read: {error}") from None
    raise ValueError("neither $VISUAL nor $EDITOR is set")


async def edit_outside(app: App[Any], text: str) -> Edited:
    """Let the user change a text in their editor.

    It is in a file of its own that nobody else can read, and that is gone afterwards.
    """
    try:
        command = editor_command(os.environ)
    except ValueError as error:
        return Edited(text=None, said=str(error))
    with tempfile.TemporaryDirectory(prefix="ksi-tui-") as folder:
        file = Path(folder) / FILE_NAME
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as new:
            new.write(text)
        try:
            with _handed_over(app):
                code = await _run(command, file)
        except SuspendNotSupported:
            return Edited(text=None, said="this terminal cannot be handed to an editor")
        if isinstance(code, str):
            return Edited(text=None, said=f"{command[0]} cannot be started: {code}")
        if code:
            return Edited(text=None, said=f"{command[0]} ended with {code}; the text is as it was")
        return _read(file)


def _read(file: Path) -> Edited:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return Edited(text=None, said=f"what the editor left cannot be read: {error}")
    return Edited(text=text.removesuffix("\n"))


async def _run(command: list[str], file: Path) -> int | str:
    """Return the editor's exit code, or why it could not be started."""
    try:
        process = await asyncio.create_subprocess_exec(*command, str(file))
    except OSError as error:
        return error.strerror or str(error)
    try:
        return await process.wait()
    except asyncio.CancelledError:
        process.terminate()
        raise


@contextmanager
def _handed_over(app: App[Any]) -> Iterator[None]:
    host = cast(Host, app)
    # ctrl+c is the editor's. Not ignored, for that would be inherited by it.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    host.handed_over = True
    try:
        with app.batch_update(), app.suspend():
            yield
    finally:
        host.handed_over = False
        signal.signal(signal.SIGINT, before)
