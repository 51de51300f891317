"""How `run` drives an engine: hand requests over, print what finishes, know when to stop.

Events are a wake-up and no more: what is printed is read after a cursor in the order
in which requests finished, so nothing is missed or printed twice. Signals, settings
and the engine's life are `run`'s.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Protocol

from ksi_tui.client import EngineClient, Subscription
from ksi_tui.commands.request_lines import BadLine, RequestLine
from ksi_tui.engine import events
from ksi_tui.engine.errors import KsiError

PAGE = 500
_FIRST_BATCH = 100_000
_TOP_UP = 1_000
_PROBED_LINES = 20
_ENDS = frozenset({events.RESULT, events.ERROR, events.CANCELLED, events.LOST})
_FINAL = frozenset({"completed", "failed", "cancelled"})

Record = Mapping[str, Any]


class Printer(Protocol):
    """Where finished requests go."""

    async def __call__(self, records: Iterable[Record], /) -> None:
        """Write them out; returns when that is done."""
        ...


class Tally:
    """What came of a run so far."""

    def __init__(self) -> None:
        self.by_status: Counter[str] = Counter()
        self.bad_lines = 0

    @property
    def finished(self) -> int:
        """How many requests are final."""
        return self.by_status.total()

    @property
    def failed(self) -> int:
        """How many failed or were cancelled."""
        return self.finished - self.by_status["completed"]


class LineRun:
    """Runs the requests of an input to their end."""

    def __init__(
        self,
        engine: EngineClient,
        lines: Iterator[RequestLine | BadLine],
        *,
        first: list[RequestLine],
        printer: Printer,
        complain: Callable[[int, str], None],
        again: bool,
    ) -> None:
        """`first` was read already and goes to disk as one; `again` goes on with an earlier run."""
        self._engine = engine
        self._lines = lines
        self._waiting = deque(first)
        self._printer = printer
        self._complain = complain
        self._again = again
        self._run = 0
        self._room = 0
        self._exhausted = False
        self._own: set[str] = set()
        self.unfinished: set[str] = set()
        self.cursor: int | None = None
        self.tally = Tally()

    @property
    def total(self) -> int:
        """How many requests are known to belong to this run."""
        return len(self._own) + len(self._waiting)

    async def complete(self) -> None:
        """Hand everything over and print until every request of the run is final."""
        async with self._engine.subscribe("completion:*") as wakes:
            self._run = await self._which_run()
            await self._submit(len(self._waiting))
            while True:
                wakes.drain()
                await self._print_new()
                await self._top_up()
                if not (self.unfinished or self._waiting) and self._exhausted:
                    return
                if self.unfinished:
                    await next_end(wakes)

    def take(self, records: Iterable[Record]) -> list[Record]:
        """Return those of the records that this run still waited for, and count them."""
        taken = []
        for record in records:
            request_id = record["request_id"]
            if request_id in self.unfinished:
                self.unfinished.remove(request_id)
                self.tally.by_status[record["status"]] += 1
                taken.append(record)
        self._room += len(taken)
        return taken

    async def _which_run(self) -> int:
        """Return which run of this input it is: a new one, or with `again` the newest there is."""
        probes = list(islice((line for line in self._waiting if line.key), _PROBED_LINES))
        run = 0
        while probes and await self._known(probes, run):
            run += 1
        return max(0, run - 1) if self._again else run

    async def _known(self, probes: list[RequestLine], run: int) -> bool:
        for line in probes:
            request_id = line.request(run)["request_id"]
            reply = await self._engine.emit(
                "completion:request_status", {"request_id": request_id}
            )
            if "error" not in reply:
                return True
        return False

    async def _top_up(self) -> None:
        """Hand more over once room for a fair number of requests came free, or none is left."""
        if not self._waiting and not self._exhausted:
            await self._read(_TOP_UP)
        if self._waiting and (self._room >= _TOP_UP or not self.unfinished):
            await self._submit(min(max(self._room, 1), _FIRST_BATCH))

    async def _read(self, count: int) -> None:
        read = await asyncio.to_thread(lambda: list(islice(self._lines, count)))
        self._exhausted = len(read) < count
        for line in read:
            if isinstance(line, BadLine):
                self._refuse(line.number, line.reason)
            else:
                self._waiting.append(line)

    async def _submit(self, count: int) -> None:
        batch = [self._waiting.popleft() for _ in range(min(count, len(self._waiting)))]
        requests = [line.request(self._run) for line in batch]
        ids = [str(request["request_id"]) for request in requests]
        new = set(ids) - self._own
        self._own |= new
        self.unfinished |= new
        self._room = 0
        reply = await self._engine.emit("completion:batch", {"requests": requests})
        if "error" in reply:
            raise KsiError(str(reply["error"]))
        if self.cursor is None:
            self.cursor = int(reply["cursor"])
        await self._sort_out(batch, ids, new, reply["accepted"])

    async def _sort_out(
        self, batch: list[RequestLine], ids: list[str], new: set[str], replies: list[dict[str, Any]]
    ) -> None:
        full: list[RequestLine] = []
        final: list[str] = []
        for line, request_id, reply in zip(batch, ids, replies, strict=True):
            if "error" in reply:
                if request_id in new:
                    self._own.discard(request_id)
                    self.unfinished.discard(request_id)
                if reply["code"] == "queue_full":
                    full.append(line)
                else:
                    self._refuse(line.number, str(reply["error"]))
            elif reply.get("duplicate") and reply["status"] in _FINAL and request_id in new:
                final.append(request_id)
        if full and not self.unfinished:
            raise KsiError(f"{replies[-1].get('error', 'the queue is full')}, and none of it runs")
        self._waiting.extendleft(reversed(full))
        for at in range(0, len(final), PAGE):
            await self._print_page({"request_ids": final[at : at + PAGE]})

    def _refuse(self, number: int, reason: str) -> None:
        self.tally.bad_lines += 1
        self._complain(number, reason)

    async def _print_new(self) -> None:
        while True:
            page = await self._print_page({"after": self.cursor or 0})
            self.cursor = int(page["next"])
            if len(page["results"]) < PAGE:
                return

    async def _print_page(self, query: dict[str, Any]) -> dict[str, Any]:
        page = await results_page(self._engine, query)
        taken = self.take(page["results"])
        if taken:
            await self._printer(taken)
        return page
