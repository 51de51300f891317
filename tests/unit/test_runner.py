"""How `run` drives an engine, against one that is scripted: no disk, no clock."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytest

from ksi_tui.client import Snapshot, SnapshotQuery, Subscription
from ksi_tui.commands import runner
from ksi_tui.commands.request_lines import BadLine, RequestLine
from ksi_tui.commands.runner import LineRun, Record, ResumedRun
from ksi_tui.engine.errors import KsiError, NotReady, QueueFull
from ksi_tui.engine.events import Router
from ksi_tui.engine.models import RequestSpec


class ScriptedEngine:
    """Keeps requests in a list; `finish` ends the oldest ones, `depth` is how many may wait."""

    def __init__(self, depth: int = 10**9) -> None:
        self.depth = depth
        self.waiting: list[str] = []
        self.final: list[dict[str, Any]] = []
        self.batches: list[int] = []
        self.outcomes: dict[str, str] = {}
        self.recovery = {"unfinished": 0, "cursor": 0}
        self.refusal: dict[str, Any] | None = None
        self.full_disk = False
        self.paused: list[dict[str, Any]] = []
        self.all_held: Callable[[], bool] = lambda: False
        self.specs: dict[str, RequestSpec] = {}
        self.router = Router(lambda: 0.0)
        self.after_batch: Callable[[], None] = lambda: None

    def finish(self, count: int | None = None) -> None:
        for _ in range(len(self.waiting) if count is None else count):
            request_id = self.waiting.pop(0)
            status = self.outcomes.get(request_id, "completed")
            self.final.append({"request_id": request_id, "status": status})
            self.router.publish("completion:result", {"request_id": request_id})

    async def emit(self, name: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        answer: Callable[[Mapping[str, Any]], dict[str, Any]] = getattr(
            self, "_" + name.partition(":")[2]
        )
        await asyncio.sleep(0)
        return self.refusal or answer(data or {})

    def subscribe(self, pattern: str = "*") -> Subscription:
        return self.router.subscribe(pattern, {})

    def snapshot(self, query: SnapshotQuery | None = None) -> Snapshot:
        raise AssertionError("a run reads results, not the screen's snapshot")

    async def asked(self, request_ids: Sequence[str]) -> Mapping[str, RequestSpec]:
        return {each: self.specs[each] for each in request_ids if each in self.specs}

    def _request_status(self, data: Mapping[str, Any]) -> dict[str, Any]:
        if self._status(data["request_id"]) is None:
            return {"error": "not known", "code": "not_found"}
        return {"request_id": data["request_id"], "error": None}

    def _status(self, request_id: str | Mapping[str, Any]) -> Any:
        if isinstance(request_id, Mapping):
            counts = {"queued": len(self.waiting), "completed": len(self.final)}
            pauses = {"paused": self.paused, "hold_everything": self.all_held()}
            return {"recovery": self.recovery, "status_counts": counts, "pauses": pauses}
        states = dict.fromkeys(self.waiting, "queued")
        states |= {record["request_id"]: record["status"] for record in self.final}
        return states.get(request_id)

    def _batch(self, data: Mapping[str, Any]) -> dict[str, Any]:
        cursor = len(self.final)
        self.batches.append(len(data["requests"]))
        replies = [self._accept(request) for request in data["requests"]]
        asyncio.get_running_loop().call_soon(self.after_batch)
        return {"accepted": replies, "cursor": cursor}

    def _accept(self, request: Mapping[str, Any]) -> dict[str, Any]:
        request_id = request["request_id"]
        if status := self._status(request_id):
            return {"request_id": request_id, "status": status, "duplicate": True}
        if "bad" in request:
            return {"error": "unknown key 'bad'", "code": "invalid_request"}
        if self.full_disk:
            return {"error": "nothing was accepted: the disk is full", "code": "not_ready"}
        if len(self.waiting) >= self.depth:
            return {"error": f"{len(self.waiting)} requests wait", "code": "queue_full"}
        self.waiting.append(request_id)
        if "prompt" in request:
            self.specs[request_id] = asked(request_id, request["prompt"])
        return {"request_id": request_id, "status": "queued"}

    def _results(self, data: Mapping[str, Any]) -> dict[str, Any]:
        if "request_ids" in data:
            found = [r for r in self.final if r["request_id"] in data["request_ids"]]
            return {"results": found, "next": 0}
        after, limit = data["after"], data["limit"]
        rows = self.final[after : after + limit]
        return {"results": rows, "next": after + len(rows)}


class Printed(list[str]):
    """A printer that remembers the ids."""

    def __init__(self) -> None:
        super().__init__()
        self.news = asyncio.Event()

    async def __call__(self, records: Sequence[Record]) -> None:
        self.extend(record["request_id"] for record in records)
        self.news.set()


def asked(request_id: str, prompt: str) -> RequestSpec:
    return RequestSpec(request_id=request_id, session_id=request_id, model="m", prompt=prompt)


def line(number: int, **data: Any) -> RequestLine:
    data.setdefault("request_id", f"q{number}")
    return RequestLine(number=number, data=data, key=None)


def line_run(
    engine: ScriptedEngine,
    first: Sequence[RequestLine],
    *,
    more: Iterable[RequestLine | BadLine] = (),
    again: bool = False,
) -> tuple[LineRun, Printed, list[BadLine]]:
    printed, complaints = Printed(), list[BadLine]()
    run = LineRun(
        engine,
        printed,
        first=first,
        more=iter(more),
        complain=complaints.append,
        specs=engine.asked,
        again=again,
    )
    return run, printed, complaints


async def finished(run: runner.Run) -> None:
    async with asyncio.timeout(60):
        await run.complete()


async def test_the_whole_input_goes_over_as_one() -> None:
    engine = ScriptedEngine()
    engine.after_batch = engine.finish
    run, printed, _ = line_run(engine, [line(n) for n in range(2_000)])
    await finished(run)
    assert engine.batches == [2_000]
    assert printed == [f"q{n}" for n in range(2_000)]
    assert (run.finished, run.total) == (2_000, 2_000)


async def test_only_its_own_requests_are_printed() -> None:
    engine = ScriptedEngine()
    engine.waiting = ["other"]
    engine.after_batch = engine.finish
    run, printed, _ = line_run(engine, [line(1)])
    await finished(run)
    assert [record["request_id"] for record in engine.final] == ["other", "q1"]
    assert printed == ["q1"]


async def test_what_was_final_before_is_printed_once_too() -> None:
    engine = ScriptedEngine()
    engine.waiting, engine.outcomes = ["q1"], {"q1": "failed"}
    engine.finish()
    engine.after_batch = engine.finish
    run, printed, _ = line_run(engine, [line(1), line(2), line(1)])
    await finished(run)
    assert printed == ["q1", "q2"]
    assert run.by_status == {"failed": 1, "completed": 1}


async def test_a_known_one_that_still_runs_is_waited_for() -> None:
    engine = ScriptedEngine()
    engine.waiting = ["q1"]
    engine.after_batch = engine.finish
    run, printed, _ = line_run(engine, [line(1)])
    await finished(run)
    assert printed == ["q1"]


async def test_refused_lines_are_complained_of_and_not_waited_for() -> None:
    engine = ScriptedEngine()
    engine.after_batch = engine.finish
    run, printed, complaints = line_run(
        engine,
        [line(1), line(2, bad=1), line(3, bad=1, request_id="q4"), line(4)],
        more=[BadLine(number=5, reason="r")],
    )
    await finished(run)
    assert printed == ["q1", "q4"]
    assert [(bad.number, bad.reason) for bad in complaints] == [
        (2, "unknown key 'bad'"),
        (3, "unknown key 'bad'"),
        (5, "r"),
    ]


async def test_an_id_that_was_asked_something_else_is_a_bad_line() -> None:
    engine = ScriptedEngine()
    engine.waiting = ["old", "runs"]
    engine.specs = {name: asked(name, "a") for name in engine.waiting}
    engine.finish(1)
    engine.after_batch = engine.finish
    given = [("old", "b"), ("runs", "b"), ("old", "a"), ("q", "a"), ("q", "b"), ("q", "a")]
    run, printed, complaints = line_run(
        engine, [line(n, request_id=i, prompt=p) for n, (i, p) in enumerate(given, 1)]
    )
    await finished(run)
    assert printed == ["old", "q"]
    assert (run.finished, run.total) == (2, 2)
    assert [bad.number for bad in complaints] == [1, 2, 5]
    assert "'runs' is that of another request, with other prompt" in complaints[1].reason


@pytest.mark.parametrize("depth", [1, 3, 100, 1_500])
async def test_over_the_depth_it_hands_over_in_order_as_room_comes(depth: int) -> None:
    engine = ScriptedEngine(depth)
    engine.after_batch = lambda: engine.finish(min(len(engine.waiting), max(1, depth // 2)))
    run, printed, complaints = line_run(
        engine, [line(n) for n in range(depth)], more=[line(n) for n in range(depth, 4_000)]
    )

    async def keep_going() -> None:
        while len(engine.final) < 4_000:
            await asyncio.sleep(0)
            engine.finish(min(len(engine.waiting), 7))

    async with asyncio.TaskGroup() as group:
        group.create_task(keep_going())
        group.create_task(finished(run))
    assert printed == [f"q{n}" for n in range(4_000)]
    assert not complaints
    assert run.on_disk


async def test_a_line_that_arrives_waits_for_no_others_while_there_is_room() -> None:
    engine = ScriptedEngine()
    pipe = queue.SimpleQueue[RequestLine | None]()
    given = list(map(line, range(8)))
    run, printed, _ = line_run(engine, given[:4], more=iter(pipe.get, None))

    batched = asyncio.Event()
    engine.after_batch = batched.set

    async def accepted(count: int) -> None:
        while sum(engine.batches) < count:
            batched.clear()
            await batched.wait()

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(run.complete())
        await accepted(4)
        engine.finish(3)
        for each in given[4:6]:
            pipe.put(each)
            await accepted(each.number + 1)
        assert engine.waiting == ["q3", "q4", "q5"]
        engine.finish()
        pipe.put(given[6])
        await accepted(7)
        engine.finish()
        pipe.put(None)
    assert printed == [f"q{n}" for n in range(7)]
    assert run.on_disk


async def test_no_disk_is_told_once_and_not_of_every_line() -> None:
    engine = ScriptedEngine()
    engine.full_disk = True
    run, printed, complaints = line_run(engine, [line(n) for n in range(5)])
    with pytest.raises(NotReady, match="nothing was accepted: the disk is full"):
        await finished(run)
    assert (printed, complaints) == ([], [])


async def test_a_disk_that_is_full_for_a_while_is_waited_for() -> None:
    engine = ScriptedEngine(depth=4)
    rest = [line(n) for n in range(4, 8)]
    run, printed, complaints = line_run(engine, [line(n) for n in range(4)], more=rest)

    def after_batch() -> None:
        engine.full_disk = (
            len(engine.batches) == 1
        )  # the second batch finds no disk, the third does
        engine.finish(1 if len(engine.batches) < 3 else None)

    engine.after_batch = after_batch
    await finished(run)
    assert len(engine.batches) >= 3
    assert complaints == []
    assert printed == [f"q{n}" for n in range(8)]


async def test_no_room_and_nothing_of_its_own_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_STUCK_S", 0)
    engine = ScriptedEngine(depth=1)
    engine.waiting = ["somebody-elses"]
    run, _, _ = line_run(engine, [line(1)])
    with pytest.raises(QueueFull, match=r"1 requests wait; `run --resume` finishes"):
        await finished(run)


async def test_a_new_run_of_the_same_lines_gets_new_ids_and_again_the_newest() -> None:
    engine = ScriptedEngine()
    engine.after_batch = engine.finish
    lines = [RequestLine(number=n, data={"prompt": "x"}, key="k") for n in (1, 2)]
    for again, expected in (
        (True, ["L1-k", "L2-k"]),
        (True, ["L1-k", "L2-k"]),
        (False, ["L1-k.1", "L2-k.1"]),
        (False, ["L1-k.2", "L2-k.2"]),
        (True, ["L1-k.2", "L2-k.2"]),
    ):
        run, printed, _ = line_run(engine, lines, again=again)
        await finished(run)
        assert printed == expected
    assert len(engine.final) == 6


async def test_an_engine_that_refuses_everything() -> None:
    engine = ScriptedEngine()
    engine.refusal = {"error": "the disk is full", "code": "not_ready"}
    run, _, _ = line_run(engine, [line(1)])
    with pytest.raises(NotReady, match="the disk is full"):
        await finished(run)
    engine.refusal = {"error": "no", "code": "invalid_request"}
    with pytest.raises(KsiError, match="no"):
        await finished(ResumedRun(engine, Printed()))


async def test_an_engine_that_ends_first() -> None:
    engine = ScriptedEngine()
    engine.after_batch = engine.router.close
    run, _, _ = line_run(engine, [line(1)])
    with pytest.raises(NotReady, match="ended before"):
        await finished(run)


async def test_resume_prints_what_was_left_and_what_comes_of_it() -> None:
    engine = ScriptedEngine()
    engine.waiting = ["old"]
    engine.finish()
    engine.waiting = ["a", "b", "born-of-b"]
    engine.recovery = {"unfinished": 2, "cursor": 1}
    printed = Printed()
    run = ResumedRun(engine, printed)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(finished(run))
        for _ in range(3):
            printed.news.clear()
            engine.finish(1)
            await printed.news.wait()
    assert task.done()
    assert printed == ["a", "b", "born-of-b"]
    assert run.total == 3


async def test_resume_with_nothing_to_do() -> None:
    engine = ScriptedEngine()
    run = ResumedRun(engine, Printed())
    await finished(run)
    assert run.finished == 0


async def test_what_was_not_handed_over_is_not_on_disk() -> None:
    engine = ScriptedEngine(depth=1)
    engine.after_batch = engine.router.close
    run, _, _ = line_run(engine, [line(1), line(2)])
    assert not run.on_disk
    with pytest.raises(NotReady):
        await finished(run)
    assert (run.total, run.finished, run.on_disk) == (2, 0, False)


# --- pauses ----------------------------------------------------------------------------------

PAUSE = {"scope": "session", "id": "s", "by": None, "reason": None, "since": "2027"}


async def test_what_pauses_hold_ends_a_run_that_nothing_else_would() -> None:
    engine = ScriptedEngine()
    engine.paused, engine.all_held = [PAUSE], lambda: len(engine.waiting) == 2
    engine.after_batch = lambda: engine.finish(3)
    run, printed, _ = line_run(engine, [line(n) for n in range(5)])
    async with asyncio.timeout(20):
        await run.complete()
    assert printed == ["q0", "q1", "q2"]
    assert run.held
    assert run.paused == [PAUSE]
    assert (run.total, run.finished, run.on_disk) == (5, 3, True)


async def test_a_pause_that_holds_not_all_ends_nothing() -> None:
    engine = ScriptedEngine()
    engine.paused = [PAUSE]
    asked = 0

    def held() -> bool:
        nonlocal asked
        asked += 1
        if asked == 2:
            engine.finish()
        return False

    engine.all_held = held
    run, printed, _ = line_run(engine, [line(1)])
    async with asyncio.timeout(20):
        await run.complete()
    assert printed == ["q1"]
    assert not run.held


async def test_what_found_no_room_is_handed_over_before_a_run_gives_up() -> None:
    engine = ScriptedEngine(depth=8)
    engine.paused = [PAUSE]
    # Seven of the first eight are held; one ends, which makes too little room for a top-up.
    engine.after_batch = lambda: engine.finish(1) if len(engine.waiting) == 8 else None
    engine.all_held = lambda: len(engine.waiting) < 8
    more = [line(n) for n in range(8, 10)]
    run, printed, _ = line_run(engine, [line(n) for n in range(8)], more=more)
    async with asyncio.timeout(20):
        await run.complete()
    assert printed == ["q0", "q1", "q2"]
    assert engine.batches == [8, 1, 1]
    assert run.held
    assert run.on_disk


async def test_a_resumed_run_is_held_as_well() -> None:
    engine = ScriptedEngine()
    engine.waiting = ["a", "b"]
    engine.recovery = {"unfinished": 2, "cursor": 0}
    engine.paused, engine.all_held = [PAUSE], lambda: True
    run = ResumedRun(engine, Printed())
    async with asyncio.timeout(20):
        await run.complete()
    assert run.held
    assert (run.total, run.finished) == (2, 0)
