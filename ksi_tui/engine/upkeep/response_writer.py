"""Writes every result to its session's response file, behind the database.

The database says what is to be written: results in the order of their final states, from
a durable cursor on. So nothing of it is on a request's way, and a crash neither doubles
nor drops a line: before a batch goes into the files, their lengths are written down, and
whatever then interrupts, the same batch is completed from there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from ksi_tui.engine.core import Core
from ksi_tui.engine.errors import StoreError, StoreUnavailable
from ksi_tui.engine.models import State
from ksi_tui.engine.store.base import Write
from ksi_tui.engine.store.response_files import ResponseFolder, file_name
from ksi_tui.engine.store.upkeep import FilesMarked, Filing, ResultsFiled, Unfiled

LOOK_EVERY_S: Final = 0.25
BATCH_LINES: Final = 2000
BATCH_CHARS: Final = 8_000_000
REST_FACTOR: Final = 6.0
"""After each batch it rests so many times as long as that took: it never takes what requests need.
"""
FIRST_DELAY_S: Final = 1.0
LAST_DELAY_S: Final = 60.0
DRAIN_S: Final = 10.0
"""How long the end of the engine waits for what is left; the next start goes on from there."""

log = logging.getLogger(__name__)


class ResponseWriter:
    """Owns the task that writes response files. `Upkeep` says how far it is and what is wrong."""

    def __init__(self, core: Core, folder: ResponseFolder) -> None:
        self._core = core
        self._folder = folder
        self._marked_seq = 0
        self._lengths: Mapping[str, int] = {}
        self._seen_seq = 0
        self._delay_s = FIRST_DELAY_S
        self._ending = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def take_up(self, filing: Filing, completed: int) -> None:
        """Go on where an earlier life stopped; `completed` requests are in the store."""
        upkeep = self._core.upkeep
        upkeep.filed_seq = self._seen_seq = filing.filed_seq
        upkeep.filed = completed - filing.pending
        self._marked_seq, self._lengths = filing.marked_seq, filing.lengths

    def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._run(), name="response_writer")

    async def aclose(self) -> None:
        """Write what is left, for `DRAIN_S` at most, and end. To be called before the store's."""
        self._ending.set()
        if self._task is not None:
            await self._task

    # --- the task -----------------------------------------------------------------------------

    async def _run(self) -> None:
        pause_s = 0.0
        while not self._ending.is_set():
            await self._rest(pause_s)
            pause_s = await self._look()
        await self._drain(time.monotonic() + DRAIN_S)

    async def _drain(self, end: float) -> None:
        with suppress(StoreError):
            await self._written()
        before = -1
        while self._seen_seq > before and time.monotonic() < end:
            before = self._seen_seq
            await self._look()

    async def _rest(self, pause_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._ending.wait()

    async def _look(self) -> float:
        """Write one batch, if there is one; return how long to rest (seconds)."""
        began = time.monotonic()
        try:
            if self._core.next_finish_seq - 1 > self._seen_seq:
                await self.write_batch()
        except Exception as error:  # the task's boundary: later results must not be lost with it
            return self._failed(error)
        self._well()
        # A disk that failed for an hour has had its rest.
        rest_s = min(LAST_DELAY_S, REST_FACTOR * (time.monotonic() - began))
        return max(LOOK_EVERY_S, rest_s)

    def _failed(self, error: Exception) -> float:
        known = isinstance(error, StoreError)
        fault = str(error) if known else f"response files: {error!r}"
        if self._core.upkeep.response_fault is None:
            told = None if known else error
            log.error("results wait for their response files: %s", fault, exc_info=told)
        self._core.upkeep.response_fault = fault
        delay_s, self._delay_s = self._delay_s, min(self._delay_s * 2, LAST_DELAY_S)
        return delay_s

    def _well(self) -> None:
        if self._core.upkeep.response_fault is not None:
            log.info("response files can be written again")
        self._core.upkeep.response_fault = None
        self._delay_s = FIRST_DELAY_S

    # --- one batch ----------------------------------------------------------------------------

    async def write_batch(self) -> None:
        """Complete the batch that was interrupted, else write the next one.

        Raises StoreError when database or files cannot serve; it may then be called again.
        """
        upkeep = self._core.upkeep
        unfiled = await self._next()
        if unfiled.results:
            lines = await asyncio.to_thread(_by_file, unfiled.results)
            await self._mark(unfiled.upto, list(lines))
            await asyncio.to_thread(self._folder.complete, self._lengths, lines)
            await self._written(ResultsFiled(finish_seq=unfiled.upto))
        upkeep.filed += len(unfiled.results)
        upkeep.filed_seq = self._seen_seq = self._marked_seq = unfiled.upto
        self._lengths = {}

    async def _next(self) -> Unfiled:
        done = self._core.upkeep.filed_seq
        upto = self._marked_seq if self._marked_seq > done else None
        return await self._core.store.unfiled(
            done, upto=upto, limit=BATCH_LINES, max_chars=BATCH_CHARS
        )

    async def _mark(self, upto: int, names: Sequence[str]) -> None:
        """Write down how long the files are, before the first line of a batch goes into one.

        Of an interrupted batch the old lengths stay, but where somebody has shortened a file.
        """
        lengths = await asyncio.to_thread(self._folder.lengths, names)
        known = self._lengths if self._marked_seq == upto else {}
        lengths = {name: min(known.get(name, now), now) for name, now in lengths.items()}
        if lengths != known:
            await self._written(FilesMarked(finish_seq=upto, lengths=lengths))
        self._marked_seq, self._lengths = upto, lengths

    async def _written(self, *writes: Write) -> None:
        """Wait until writes are on disk; not for a disk that fails while the engine ends."""
        store = self._core.store
        done = store.write(*writes)
        while not done.done():
            await asyncio.wait([done], timeout=LOOK_EVERY_S)
            if self._ending.is_set() and store.fault is not None:
                raise StoreUnavailable(store.fault)
        done.result()


def _by_file(results: Sequence[tuple[str, str]]) -> dict[str, list[bytes]]:
    lines: dict[str, list[bytes]] = {}
    for session_id, envelope in results:
        lines.setdefault(file_name(session_id), []).append(envelope.encode())
    return lines


def unfiled_count(core: Core) -> int:
    """Return how many results wait for their response file."""
    return max(0, core.counts[State.COMPLETED] - core.upkeep.filed)
