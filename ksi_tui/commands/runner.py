"""How `run` drives an engine: hand requests over, print what finishes, know when to stop.

Events are a wake-up and no more: what is printed is read after a cursor in the order
in which requests finished, so nothing is missed or printed twice. Signals, settings
and the engine's life are `run`'s.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from ksi_tui.client import EngineClient, Subscription
from ksi_tui.commands.arriving import Arriving
from ksi_tui.commands.asked_before import Specs, of_others
from ksi_tui.commands.request_lines import BadLine, RequestLine
from ksi_tui.engine import events
from ksi_tui.engine.errors import KsiError, NotReady, QueueFull

MAX_BATCH = 100_000
"""The most requests that one `completion:batch` takes."""

_PAGE = 500
_TOP_UP = 1_000
_PROBED_LINES = 20
_MANY = 500
_GATHER_S = 0.02
"""One read for all that ends in such a moment; else reading took a tenth of a large run."""
_STUCK_TRIES = 5
_STUCK_S = 0.2
_LOOK_EVERY_S = 0.5
_ARRIVED = events.Event(0, "run:arrived", {}, 0.0)
"""Wakes the run as an end does; no engine tells it."""
_NEWS = frozenset({events.RESULT, events.ERROR, events.CANCELLED, events.LOST, _ARRIVED.name})
_LATER = frozenset({QueueFull.code, NotReady.code})
_FINAL = frozenset({"completed", "failed", "cancelled"})
_UNFINISHED = ("queued", "processing", "retrying")

Record = Mapping[str, Any]
Printer = Callable[[Sequence[Record]], Awaitable[None]]


class Run(ABC):
    """What a run knows and prints, whichever requests are its own.

    `cursor` is the finish_seq up to which results were read; None before the start.
    `paused` is what was found paused. Nobody can resume it while the run has the engine, so
    the run ends, `held`, once nothing but pauses is left to wait for.
    """

    def __init__(self, engine: EngineClient, printer: Printer) -> None:
        self._engine = engine
        self._printer = printer
        self.cursor: int | None = None
        self.paused: Sequence[Record] = ()
        self.held = False
        self.by_status: Counter[str] = Counter()

    @property
    @abstractmethod
    def total(self) -> int:
        """How many requests are known to belong to this run."""

    @property
    def finished(self) -> int:
        """How many of them are final and printed."""
        return self.by_status.total()

    @property
    def on_disk(self) -> bool:
        """Whether all of it is in the database, so that `run --resume` can finish it."""
        return True

    @property
    def _awaited(self) -> int:
        """How many that the engine holds are not final yet."""
        return self.total - self.finished

    @abstractmethod
    async def complete(self) -> None:
        """Print until every request of the run is final, or held by pauses."""

    @abstractmethod
    def _awaits(self, request_id: str) -> bool:
        """Return whether the run still waits for this request, and no longer wait for it."""

    def take(self, records: Sequence[Record]) -> list[Record]:
        """Return those of the records that the run waited for, and count them."""
        taken = [record for record in records if self._awaits(record["request_id"])]
        self.by_status.update(record["status"] for record in taken)
        return taken

    async def _print_new(self) -> None:
        rows = _PAGE
        while rows >= _PAGE:
            page = await self._print_page({"after": self.cursor or 0})
            self.cursor = int(page["next"])
            rows = len(page["results"])

    async def _wait(self, wakes: Subscription) -> bool:
        """Return when a request has come to its end; where many run, a moment later.

        False: nothing will, since pauses hold all that is left.
        """
        try:
            async with asyncio.timeout(_LOOK_EVERY_S if self.paused else None):
                await _next_news(wakes)
        except TimeoutError:
            return await self._goes_on(wakes)
        if self._awaited >= _MANY:
            await asyncio.sleep(_GATHER_S)
        return True

    async def _goes_on(self, wakes: Subscription) -> bool:
        """Look whether pauses hold all that is left, after a while in which nothing ended."""
        if not await self._all_held():
            return True
        # What ended meanwhile is to be printed, and may have made room for more.
        self.held = not wakes.drain() and not await self._hand_over_more()
        return not self.held

    async def _all_held(self) -> bool:
        status = await answered(self._engine, "completion:status", {})
        return bool(status["pauses"]["hold_everything"])

    async def _hand_over_more(self) -> bool:
        """Hand over what has found no room so far; returns whether there was any."""
        return False

    async def _print_page(self, query: Mapping[str, Any]) -> dict[str, Any]:
        page = await answered(self._engine, "completion:results", {**query, "limit": _PAGE})
        taken = self.take(page["results"])
        if taken:
            await self._printer(taken)
        return page


class ResumedRun(Run):
    """Finishes everything that an earlier life left unfinished, and what comes of it."""

    def __init__(self, engine: EngineClient, printer: Printer) -> None:
        super().__init__(engine, printer)
        self._found = 0

    @property
    def total(self) -> int:
        """How many were found unfinished, or more when they brought forth others."""
        return max(self._found, self.finished)

    def _awaits(self, request_id: str) -> bool:  # noqa: ARG002 - everything is its own
        return True

    async def complete(self) -> None:
        """Print until nothing in the database is unfinished."""
        async with self._engine.subscribe("completion:*") as wakes:
            status = await answered(self._engine, "completion:status", {})
            recovery, self.paused = status["recovery"], status["pauses"]["paused"]
            self._found, self.cursor = int(recovery["unfinished"]), int(recovery["cursor"])
            while True:
                wakes.drain()
                await self._print_new()
                if self.finished >= self._found and not await self._unfinished():
                    await self._print_new()
                    return
                if not await self._wait(wakes):
                    return

    async def _unfinished(self) -> int:
        counts = (await answered(self._engine, "completion:status", {}))["status_counts"]
        return sum(counts.get(state, 0) for state in _UNFINISHED)


class LineRun(Run):
    """Runs the requests of an input to their end.

    `first` was read already and goes to disk as one, `more` follows as room comes free.
    `complain` takes a bad line's number and what is wrong with it; `again` goes on with
    the newest run of the same input instead of beginning one.
    """

    def __init__(
        self,
        engine: EngineClient,
        printer: Printer,
        *,
        first: Sequence[RequestLine],
        more: Iterator[RequestLine | BadLine],
        complain: Callable[[BadLine], None],
        specs: Specs,
        again: bool,
    ) -> None:
        super().__init__(engine, printer)
        self._backlog = deque(first)
        self._arriving = Arriving(more)
        self._complain = complain
        self._specs = specs
        self._again = again
        self._nth = 0
        self._room = 0
        self._step = _TOP_UP
        self._stuck = 0
        self._own: set[str] = set()
        self._unfinished: set[str] = set()

    @property
    def total(self) -> int:
        """How many requests were handed over or wait to be."""
        return len(self._own) + len(self._backlog)

    @property
    def on_disk(self) -> bool:
        """Whether the input was read and handed over to its end."""
        return self.cursor is not None and self._arriving.over and not self._backlog

    @property
    def _awaited(self) -> int:
        return len(self._unfinished)

    def _awaits(self, request_id: str) -> bool:
        if request_id not in self._unfinished:
            return False
        self._unfinished.remove(request_id)
        self._room += 1
        return True

    async def complete(self) -> None:
        """Hand everything over and print until every request of the run is final.

        Raises QueueFull when the engine takes none and nothing of this run is left that
        could make room.
        """
        async with self._engine.subscribe("completion:*") as wakes:
            status = await answered(self._engine, "completion:status", {})
            self.paused = status["pauses"]["paused"]
            self._nth = await self._which_run()
            await self._submit(MAX_BATCH)
            self._step = max(1, min(_TOP_UP, len(self._unfinished) // 4))
            self._arriving.begin(lambda: wakes.push(_ARRIVED))
            try:
                await self._go_on(wakes)
            finally:
                self._arriving.stop()

    async def _go_on(self, wakes: Subscription) -> None:
        while True:
            wakes.drain()
            await self._print_new()
            await self._top_up()
            if self._unfinished:
                if not await self._wait(wakes):
                    return
            elif not self._backlog:
                if self._arriving.over:
                    return
                await _next_news(wakes)

    async def _which_run(self) -> int:
        """Return which run of this input it is, by what the engine knows of its first lines."""
        probes = list(islice((line for line in self._backlog if line.key), _PROBED_LINES))
        nth = 0
        while await self._any_known(probes, nth):
            nth += 1
        return max(0, nth - 1) if self._again else nth

    async def _any_known(self, probes: Sequence[RequestLine], nth: int) -> bool:
        for line in probes:
            request_id = line.request(nth)["request_id"]
            reply = await self._engine.emit("completion:request_status", {"request_id": request_id})
            if not _refused(reply):
                return True
        return False

    async def _top_up(self) -> None:
        """Hand more over once a fair number of requests made room, or none is left to wait for."""
        if len(self._backlog) < _TOP_UP:
            self._take_arrived()
        if self._backlog and (self._room >= self._step or not self._unfinished):
            await self._submit(min(max(self._room, 1), MAX_BATCH))

    async def _hand_over_more(self) -> bool:
        if not self._backlog or not self._room:
            return False
        await self._submit(self._room)
        return True

    def _take_arrived(self) -> None:
        for line in self._arriving.take():
            if isinstance(line, BadLine):
                self._complain(line)
            else:
                self._backlog.append(line)

    async def _submit(self, count: int) -> None:
        lines = [self._backlog.popleft() for _ in range(min(count, len(self._backlog)))]
        requests = [line.request(self._nth) for line in lines]
        ids = [str(request["request_id"]) for request in requests]
        new = set(ids) - self._own
        self._own |= new
        self._unfinished |= new
        self._room = max(0, self._room - len(lines))
        reply = await answered(self._engine, "completion:batch", {"requests": requests})
        if self.cursor is None:
            self.cursor = int(reply["cursor"])
        others = await self._of_others(lines, reply["accepted"])
        taken = {
            request_id
            for line, request_id, answer in zip(lines, ids, reply["accepted"], strict=True)
            if not _refused(answer) and line.number not in others
        }
        self._own -= new - taken
        self._unfinished -= new - taken
        await self._look_at_refusals(lines, reply["accepted"], any_taken=bool(taken))
        await self._print_known(
            [
                answer["request_id"]
                for line, answer in zip(lines, reply["accepted"], strict=True)
                if answer.get("duplicate")
                and answer["status"] in _FINAL
                and line.number not in others
            ]
        )

    async def _of_others(
        self, lines: Sequence[RequestLine], answers: Sequence[Record]
    ) -> Collection[int]:
        """Complain of those whose own id is that of another request; returns their numbers."""
        named = [
            (line, str(answer["request_id"]))
            for line, answer in zip(lines, answers, strict=True)
            if line.key is None and answer.get("duplicate")
        ]
        others = await of_others(named, self._specs)
        for bad in others.values():
            self._complain(bad)
        return others.keys()

    async def _look_at_refusals(
        self, lines: Sequence[RequestLine], answers: Sequence[Record], *, any_taken: bool
    ) -> None:
        """Keep for later what found no room, or no disk; complain of the rest.

        Raises QueueFull or NotReady where nothing of this run is left that could change that.
        """
        later = []
        for line, answer in zip(lines, answers, strict=True):
            if answer.get("code") in _LATER:
                later.append((line, answer))
            elif _refused(answer):
                self._complain(BadLine(number=line.number, reason=str(answer["error"])))
        if later:
            self._room = 0
        self._backlog.extendleft(line for line, _ in reversed(later))
        self._stuck = self._stuck + 1 if later and not any_taken and not self._unfinished else 0
        if self._stuck and later[0][1]["code"] == NotReady.code:
            raise NotReady(str(later[0][1]["error"]))
        if self._stuck >= _STUCK_TRIES:
            raise QueueFull(f"{later[0][1]['error']}; `run --resume` finishes what is in the way")
        if self._stuck:
            await asyncio.sleep(_STUCK_S)

    async def _print_known(self, request_ids: Sequence[str]) -> None:
        """Print what was final before it was handed over; `take` lets each pass once."""
        for at in range(0, len(request_ids), _PAGE):
            await self._print_page({"request_ids": list(request_ids[at : at + _PAGE])})


async def answered(engine: EngineClient, name: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the reply to an event that has to succeed; raises KsiError when it does not."""
    reply = await engine.emit(name, data)
    if _refused(reply):
        kind = NotReady if reply.get("code") == NotReady.code else KsiError
        raise kind(str(reply["error"]))
    return reply


def _refused(reply: Record) -> bool:
    """Return whether a reply is a refusal; an `error` alone may be a request's own."""
    return "code" in reply


async def _next_news(wakes: Subscription) -> None:
    """Return when a request has ended or lines have come; raises NotReady when the engine ended."""
    async for event in wakes:
        if event.name in _NEWS:
            return
    raise NotReady("the engine ended before the requests did")
