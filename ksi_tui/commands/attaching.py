"""Where an engine's socket is, and how a dashboard attaches to it.

What talks over it is imported when it is first needed, in a thread: aiohttp takes 150 ms, and
no screen waits for that. Nothing here shows anything.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ksi_tui.elsewhere import Connect, Elsewhere

if TYPE_CHECKING:
    from ksi_tui.client import EngineClient
    from ksi_tui.remote.call import Call
    from ksi_tui.remote.client import RemoteClient
    from ksi_tui.ui_settings import Ui


def socket_at(named: Path) -> Path:
    """Return the socket that a path means: itself, or that of the database there."""
    from ksi_tui.door.place import socket_of  # noqa: PLC0415 - with asyncio, after the first frame

    try:
        is_socket = stat.S_ISSOCK(named.stat().st_mode)
    except OSError:
        is_socket = named.suffix == ".sock"
    return named if is_socket else socket_of(named)


def how_to_start(options: argparse.Namespace, named: Path | None = None) -> str:
    """Return how to type the start of an engine that would answer there."""
    from ksi_tui.commands.settings import as_typed  # noqa: PLC0415 - with pydantic

    if named is not None and named.suffix != ".sock":
        return f"start one with: ksi-tui --db {shlex.quote(str(named))} serve"
    return f"start one with: {as_typed(options, 'serve')}"


def attaching(place: Callable[[], Path], ui: Ui) -> Connect:
    """Return what attaches a dashboard to the engine at a socket."""

    @asynccontextmanager
    async def connect() -> AsyncIterator[EngineClient]:
        remote = await asyncio.to_thread(_remote_client)
        client = remote(place(), operator=ui.operator, refresh_hz=ui.refresh_hz)
        async with client:
            yield client

    return connect


def elsewhere(place: Callable[[], Path], ui: Ui) -> Elsewhere:
    """Return the way to the engine at a socket, for a dashboard that may not start its own."""

    async def look() -> str:
        call = await asyncio.to_thread(_call)
        async with call(place(), ui.operator) as there:
            return _who(there)

    return Elsewhere(look=look, connect=attaching(place, ui))


def _who(there: Call) -> str:
    """Return in words who answers at a socket, and who else looks at it; not clean."""
    about = there.about
    others = about.get("attached")
    names = [str(each.get("operator") or "somebody") for each in others or () if each]
    beside = f"; attached to it: {', '.join(names)}" if names else ""
    return (
        f"{about.get('name')} {about.get('version')}, process {about.get('pid')}, answers at"
        f" {there.socket}{beside}"
    )


def _remote_client() -> type[RemoteClient]:
    from ksi_tui.remote.client import RemoteClient  # noqa: PLC0415 - see above

    return RemoteClient


def _call() -> type[Call]:
    from ksi_tui.remote.call import Call  # noqa: PLC0415 - see above

    return Call
