"""The prompts that were sent from here before, for the next day: a private, bounded file.

Kept apart from the database, since they are the person's and not the engine's. Who may not
show texts (`[ui] text = "never"`) has none, and neither has a demo: then there is no file.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from ksi_tui.engine.errors import ConfigError
from ksi_tui.named_file import read_end
from ksi_tui.paths import private_dir

MOST = 200
"""How many prompts are kept."""
LARGEST = 20_000
"""Characters of the longest prompt that is kept, its system text included."""
MAX_BYTES = 1_000_000
"""The file is written anew, with what is kept, when it has grown beyond this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PastPrompt:
    """What was written once."""

    prompt: str
    system: str = ""


class PastPrompts:
    """The prompts in the file, oldest first; without a file, those of this run of the program."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._kept: list[PastPrompt] = []

    @property
    def kept(self) -> tuple[PastPrompt, ...]:
        """What is known, oldest first."""
        return tuple(self._kept)

    def load(self) -> None:
        """Read the file; one that is not there or cannot be read holds nothing. Blocks."""
        if self._file is None:
            return
        try:
            lines = read_end(self._file, 2 * MAX_BYTES).decode("utf-8", "replace").splitlines()
        except (FileNotFoundError, ConfigError):
            return
        self._kept = _newest([*map(_prompt, lines), *self._kept])

    def add(self, past: PastPrompt) -> None:
        """Keep one more, at the end, and write it down. Blocks; raises OSError when it cannot."""
        if not past.prompt.strip() or len(past.prompt) + len(past.system) > LARGEST:
            return
        self._kept = _newest([*self._kept, past])
        if self._file is None:
            return
        try:
            private_dir(self._file.parent)
        except ConfigError as error:
            raise OSError(str(error)) from None
        self._append(_line(past))
        if self._file.stat().st_size > MAX_BYTES:
            self._rewrite()

    def _append(self, text: str) -> None:
        assert self._file is not None
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
        with os.fdopen(os.open(self._file, flags, 0o600), "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text.encode())

    def _rewrite(self) -> None:
        assert self._file is not None
        lines = [_line(past) for past in self._kept]
        while sum(map(len, lines)) > MAX_BYTES // 2:
            del lines[0]
        fresh = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write("".join(lines).encode())
        fresh.replace(self._file)


def _newest(past: list[PastPrompt | None] | list[PastPrompt]) -> list[PastPrompt]:
    """Return the newest MOST, each once, at its latest place."""
    last = {each: None for each in reversed(past) if each is not None}
    return list(reversed(list(last)[:MOST]))


def _line(past: PastPrompt) -> str:
    return json.dumps({"prompt": past.prompt, "system": past.system}) + "\n"


def _prompt(text: str) -> PastPrompt | None:
    """Return what a line holds; None of one that is damaged."""
    try:
        found = json.loads(text)
        return PastPrompt(prompt=str(found["prompt"]), system=str(found.get("system") or ""))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
