"""One visitor: a dashboard in a process of its own, between pipes and a browser's websocket.

Packets and their meaning are textual-serve's. What it leaves open is closed here: no shell is
asked, the process always ends, and it goes on being read when the browser does not listen any
more, so that it can.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from aiohttp import WSMsgType, web
from textual_serve.app_service import AppService
from textual_serve.download_manager import DownloadManager

from ksi_tui.browser import DRIVER
from ksi_tui.widgets.clean import clean

log = logging.getLogger(__name__)

LEAVE_WITHIN_S: Final = 4.0
"""So long a dashboard may take to leave, in seconds; then it is terminated, and at last killed."""
_TERMINATED_WITHIN_S: Final = 2.0
_COLUMNS: Final = (20, 500)
_ROWS: Final = (5, 200)
_COMPLAINT_BYTES: Final = 4_096
_REASON_BYTES: Final = 120
"""A websocket's close has room for 123 bytes of reason."""
_PREFIX: Final = "ksi-tui: "


class Visitor(AppService):
    """A dashboard's process for one websocket; `serve` is its whole life."""

    def __init__(self, command: Sequence[str], socket: web.WebSocketResponse) -> None:
        super().__init__(
            "",  # no shell's command: see `_open_app_process`
            write_bytes=self._to_browser,
            write_str=socket.send_str,
            close=self._left,
            download_manager=DownloadManager(),
        )
        self._argv = tuple(command)
        self._socket = socket
        self._complaint = b""

    async def serve(self, width: int, height: int) -> None:
        """Start the dashboard and pass on what comes, until either side ends; then end both."""
        try:
            await self.start(*_within(width, height))
            async for message in self._socket:
                if message.type is WSMsgType.TEXT:
                    await self._heard(message)
        finally:
            await self.stop()

    async def start(self, width: int, height: int) -> None:
        """Start the process and what reads it."""
        await self._open_app_process(width, height)
        self._task = asyncio.create_task(self.run(), name="web-visitor")

    async def stop(self) -> None:
        """End the process, however it takes that; returns once it is gone."""
        process, reading = self._process, self._task
        if process is None or reading is None:
            return
        self._task = None
        try:
            await self._made_to_leave(process)
        finally:
            if process.returncode is None:
                _signal(process, signal.SIGKILL)
        await process.wait()
        await reading

    async def _made_to_leave(self, process: Process) -> None:
        await self.send_meta({"type": "quit"})
        self.stdin.close()
        if not await _gone(process, LEAVE_WITHIN_S):
            log.warning("a browser's dashboard did not leave; terminating it")
            _signal(process, signal.SIGTERM)
            await _gone(process, _TERMINATED_WITHIN_S)

    # --- the process -------------------------------------------------------------------

    def _build_environment(self, width: int = 80, height: int = 24) -> dict[str, str]:
        return {**super()._build_environment(width, height), "TEXTUAL_DRIVER": DRIVER}

    async def _open_app_process(self, width: int = 80, height: int = 24) -> Process:
        """Start it away from our terminal: ctrl+c there is for us, and we end it."""
        self._process = process = await asyncio.create_subprocess_exec(
            *self._argv,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=self._build_environment(width, height),
            start_new_session=True,
        )
        assert process.stdin is not None
        self._stdin = process.stdin
        return process

    async def run(self) -> None:
        """Pass on what the process says until it ends; then close the websocket with why."""
        assert self._process is not None
        assert self._process.stderr is not None
        complaining = asyncio.create_task(self._listen(self._process.stderr), name="web-stderr")
        try:
            await self._pass_on(self._process)
        except Exception as error:  # the task's boundary: recorded, and the visitor ends
            log.exception("a browser's dashboard could not be read")
            self._complaint = f"a fault of its own ({type(error).__name__})".encode()
            _signal(self._process, signal.SIGKILL)
        await complaining
        await self._process.wait()
        await self._left()

    async def _pass_on(self, process: Process) -> None:
        stdout = process.stdout
        assert stdout is not None
        while (line := await stdout.readline()) != b"__GANGLION__\n":
            if not line:
                return
        with suppress(asyncio.IncompleteReadError):
            while True:
                kind = await stdout.readexactly(1)
                size = int.from_bytes(await stdout.readexactly(4), "big")
                payload = await stdout.readexactly(size)
                if kind == b"D":
                    await self.on_data(payload)
                elif kind == b"M":
                    await self.on_meta(payload)

    async def _listen(self, stderr: asyncio.StreamReader) -> None:
        while said := await stderr.read(_COMPLAINT_BYTES):
            self._complaint = (self._complaint + said)[-_COMPLAINT_BYTES:]

    # --- the browser -------------------------------------------------------------------

    async def _to_browser(self, data: bytes) -> None:
        """Send what was painted; to one that has gone nothing, and the process is read on."""
        if not self._socket.closed:
            with suppress(ConnectionError):
                await self._socket.send_bytes(data)

    async def _left(self) -> None:
        """Close the websocket once the process has ended, with its last words."""
        if self._process is None or self._process.returncode is None:
            return  # it says that it leaves: its last words are still to come
        words = self._complaint.decode("utf-8", "replace").strip().rpartition("\n")[2]
        await closed(self._socket, 1000, words.removeprefix(_PREFIX))

    async def _heard(self, message: Any) -> None:
        match _packet(message):
            case ["stdin", str(text)]:
                await self.send_bytes(text.encode("utf-8", "replace"))
            case ["resize", {"width": int(width), "height": int(height)}]:
                await self.set_terminal_size(*_within(width, height))
            case ["ping", str(sent)]:
                await self._socket.send_json(["pong", sent])
            case ["focus"]:
                await self.focus()
            case ["blur"]:
                await self.blur()


def _packet(message: Any) -> object:
    try:
        return message.json()
    except (ValueError, RecursionError):
        return None


def _within(width: int, height: int) -> tuple[int, int]:
    """Return a size that a screen can have: what a browser says is not to be believed."""
    return (
        min(max(width, _COLUMNS[0]), _COLUMNS[1]),
        min(max(height, _ROWS[0]), _ROWS[1]),
    )


async def closed(socket: web.WebSocketResponse, code: int, reason: str) -> None:
    """Close a websocket with a reason in words, as far as it has room for them."""
    told = clean(reason, _REASON_BYTES).encode()[:_REASON_BYTES].decode("utf-8", "ignore").encode()
    with suppress(ConnectionError):
        await socket.close(code=code, message=told)


async def _gone(process: Process, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            await process.wait()
    except TimeoutError:
        return False
    return True


def _signal(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def size_in(query: Mapping[str, str]) -> tuple[int, int]:
    """Return the size that a page asks for, 80 × 24 where it says none."""
    return _number(query.get("width", ""), 80), _number(query.get("height", ""), 24)


def _number(text: str, otherwise: int) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 5 else otherwise
