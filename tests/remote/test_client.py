"""A distant engine as a client: what is seen and sent, and what breaks and comes back."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from ksi_tui.client import Distant, Event, SnapshotQuery, Subscription
from ksi_tui.codec import plain
from ksi_tui.remote import asking, wire
from ksi_tui.remote import client as remote_client
from ksi_tui.remote.errors import DoorClosed
from tests.engine.engine_fixtures import Upstream, held
from tests.remote.stage import attached, relayed, served, until
from tests.ui.scripted import busy

ONE = SnapshotQuery(active_limit=1, queue_limit=0, lock_limit=0, trend_points=1)


async def test_it_shows_what_the_engine_shows(tmp_path: Path) -> None:
    async with (
        served(tmp_path, scripts={"p": held}) as (rig, door),
        attached(door.socket) as client,
    ):
        line: Any = client
        assert isinstance(line, Distant)
        assert (client.name, client.about["pid"] > 0, client.lost) == ("prod", True, None)
        request_id = await rig.submit()
        await until(lambda: [v.request_id for v in client.snapshot().active] == [request_id])
        reply = await client.emit("completion:request_status", {"request_id": request_id})
        assert reply["status"] == "processing"
        assert (await client.emit("completion:cancel", {}))["code"] == "invalid_request"
        assert (await client.emit("no:such"))["code"] == "invalid_request"
        assert (await client.emit("completion:async", {"prompt": {1}}))["code"] == "invalid_request"


async def test_who_waits_for_pictures_is_told_when_one_is_there(tmp_path: Path) -> None:
    async with (
        served(tmp_path, scripts={"p": held}) as (rig, door),
        attached(door.socket) as client,
    ):
        seen: list[list[str]] = []
        client.on_picture(lambda: seen.append([v.request_id for v in client.snapshot().active]))
        request_id = await rig.submit()
        await until(lambda: [request_id] in seen)


async def test_what_it_tells_is_handed_to_whom_it_fits(tmp_path: Path) -> None:
    async with served(tmp_path) as (rig, door), attached(door.socket) as client:
        everything, results = client.subscribe(), client.subscribe("completion:result")
        request_id = await rig.submit()
        await rig.ended(request_id)
        first = await anext(results)
        assert first.name == "engine:snapshot"
        told = await anext(results)
        assert (told.name, told.data["request_id"]) == ("completion:result", request_id)
        seen = everything.drain()
        assert [e.name for e in seen] == ["engine:snapshot", *(e.name for e in rig.seen[1:])]
        assert [(e.seq, e.data, e.at) for e in seen[1:]] == [
            (e.seq, json.loads(json.dumps(dict(e.data))), pytest.approx(e.at, abs=0.002, rel=0))
            for e in rig.seen[1:]
        ]


async def test_a_long_answer_does_not_fill_the_line_of_who_only_looks(tmp_path: Path) -> None:
    async def talks(_: Upstream) -> str:
        return "word " * 40_000

    async with (
        served(tmp_path, scripts={"p": talks}) as (rig, door),
        relayed(door.socket, tmp_path) as line,
        attached(line.path) as client,
    ):
        results = client.subscribe("completion:result")
        before = line.relay.told
        request_id = await rig.submit()
        await rig.ended(request_id)
        assert [(await anext(results)).name for _ in range(2)][1] == "completion:result"
        assert line.relay.told - before < 50_000
        status = await client.emit("completion:request_status", {"request_id": request_id})
        assert len(status["text"]) == 200_000, "who asks for it gets it whole"


async def test_two_who_look_see_each_other_and_what_the_other_does(tmp_path: Path) -> None:
    async with served(tmp_path, scripts={"p": held}) as (rig, door):
        request_id = await rig.submit()
        async with attached(door.socket, "op1") as one, attached(door.socket, "op2") as two:
            await until(lambda: one.snapshot().attached == ("op2",))
            await until(lambda: two.snapshot().attached == ("op1",))
            news = two.subscribe("completion:cancelled")
            await until(lambda: two.snapshot().active)
            reply = await one.emit("completion:cancel", {"request_id": request_id})
            assert reply["status"] == "cancelled"
            assert (await anext(news)).name == "engine:snapshot"
            assert (await anext(news)).data["by"] == "op1"
            await until(lambda: two.snapshot().totals.active == 0)
        async with attached(door.socket, "op3") as three:
            await until(lambda: three.snapshot().attached == ())


async def test_where_nobody_is_entering_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_client, "ENTER_S", 0.3)
    with pytest.raises(
        DoorClosed, match=r"no engine answers at .*no\.sock: cannot connect: No such"
    ):
        async with attached(tmp_path / "no.sock"):
            raise AssertionError("entered")


# --- a line that breaks ---------------------------------------------------------------------------


async def test_a_cut_line_comes_back_by_itself_and_misses_nothing(tmp_path: Path) -> None:
    async with (
        served(tmp_path) as (rig, door),
        relayed(door.socket, tmp_path) as line,
        attached(line.path) as client,
    ):
        news = client.subscribe("completion:result")
        first = await rig.submit("first")
        await rig.ended(first)
        assert [(await anext(news)).name for _ in range(2)][1] == "completion:result"
        line.shut()
        await until(lambda: client.lost)
        assert re.match(r"no connection for \d+ s, ", client.lost)
        assert "next try in" in client.lost or "trying now" in client.lost
        age_s, shown = client.age_s, client.snapshot()
        missed = [await rig.submit(f"missed {n}") for n in range(5)]
        await rig.ended(*missed)
        await until(lambda: client.age_s > age_s + 0.1, "what is shown grows old")
        assert client.snapshot() == shown
        await line.open()
        assert [(await anext(news)).data["request_id"] for _ in range(5)] == missed
        await until(lambda: client.snapshot().at > shown.at)
        await until(lambda: client.lost is None)
        last = await rig.submit("last")
        assert (await anext(news)).data["request_id"] == last
        assert news.drain() == []


async def test_an_answer_is_followed_over_a_break_without_a_piece_twice(tmp_path: Path) -> None:
    async with (
        served(tmp_path, scripts={"p": held}) as (rig, door),
        relayed(door.socket, tmp_path) as line,
        attached(line.path) as client,
    ):
        told = client.subscribe("request:mine")
        assert (await anext(told)).data["request"] is None
        await rig.submit(request_id="other")
        await rig.submit("mine", request_id="mine")
        await rig.calls(2)
        up = rig.p.of("mine")
        up.say("one ")
        while (event := await anext(told)).name != "completion:delta":
            assert event.data["request_id"] == "mine"
        assert event.data["choices"][0]["delta"] == {"content": "one "}
        line.shut()
        await until(lambda: client.lost)
        up.say("two ")
        await line.open()
        back = await anext(told)
        while back.name != "engine:snapshot":
            assert back.name == "completion:progress"
            back = await anext(told)
        assert back.data["request"]["text"] == "one two "
        up.go.set()
        assert [event.name async for event in _until_result(told)][-1] == "completion:result"
        assert len(door.attached.listed()) == 1, "one dashboard, whatever it follows"
        told.end()
        await until(lambda: not rig.engine._router.follows("mine"))


async def test_a_request_that_cannot_be_followed_ends_its_subscription_alone(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as (rig, door), attached(door.socket) as client:
        told = client.subscribe("completion:queued")
        for wrong in ("request:" + "x" * 201, "request:\udcff"):
            async with asyncio.timeout(10):
                assert [event async for event in client.subscribe(wrong)] == []
        assert client.lost is None
        longest = client.subscribe("request:" + "x" * 200)
        assert (await anext(longest)).data["request"] is None
        await rig.submit(request_id="x" * 200)
        assert [event.name async for event in _until_result(longest)][-1] == "completion:result"
        while (await anext(told)).name != "completion:queued":
            pass


async def _until_result(told: Subscription) -> AsyncIterator[Event]:
    async for event in told:
        yield event
        if event.name == "completion:result":
            return


async def test_an_engine_started_again_is_found_and_its_gap_told(tmp_path: Path) -> None:
    async with AsyncExitStack() as first:
        rig, door = await first.enter_async_context(served(tmp_path))
        async with attached(door.socket) as client:
            news = client.subscribe("completion:result")
            await rig.ended(await rig.submit())
            assert [(await anext(news)).name for _ in range(2)] == [
                "engine:snapshot",
                "completion:result",
            ]
            await first.aclose()
            await until(lambda: client.lost)
            async with served(tmp_path) as (again, second):
                gap = await anext(news)
                assert (gap.name, gap.data) == ("engine:lost", {"lost": None, "why": "restarted"})
                await until(lambda: client.snapshot() and client.lost is None)
                await until(lambda: client.about["boot"] == second.boot)
                request_id = await again.submit("again")
                assert (await anext(news)).data["request_id"] == request_id
                reply = await client.emit("completion:request_status", {"request_id": request_id})
                assert reply["prompt"] == "again"


async def test_while_away_nothing_is_sent_and_the_reply_says_so(tmp_path: Path) -> None:
    async with (
        served(tmp_path) as (rig, door),
        relayed(door.socket, tmp_path) as line,
        attached(line.path) as client,
    ):
        line.shut()
        await until(lambda: client.lost)
        reply = await client.emit("completion:async", {"prompt": "x"})
        assert reply["code"] == "not_ready"
        assert re.match(r"not sent: no connection for \d+ s", reply["error"])
        assert rig.p.calls == []


async def test_a_submit_cut_off_after_it_was_sent_runs_once(tmp_path: Path) -> None:
    async with (
        served(tmp_path, scripts={"p": held}) as (rig, door),
        relayed(door.socket, tmp_path) as line,
        attached(line.path) as client,
    ):
        line.relay.mute = True
        sending = asyncio.create_task(client.emit("completion:async", {"prompt": "once"}))
        await rig.calls(1)
        line.relay.mute = False
        reply = await sending
        assert "error" not in reply
        assert "duplicate" not in reply
        assert (await rig.status(reply["request_id"]))["prompt"] == "once"
        assert (await rig.emit("completion:status"))["active_completions"] == 1
        assert rig.p.prompts == ["once"]


async def test_anything_else_cut_off_may_have_been_done(tmp_path: Path) -> None:
    async with (
        served(tmp_path, scripts={"p": held}) as (rig, door),
        relayed(door.socket, tmp_path) as line,
        attached(line.path) as client,
    ):
        request_id = await rig.submit()
        line.relay.mute = True
        reply = await client.emit("completion:cancel", {"request_id": request_id})
        line.relay.mute = False
        assert reply["code"] == "not_ready"
        assert "completion:cancel may have been done: " in reply["error"]
        await rig.ended(request_id)
        assert (await rig.status(request_id))["by"] == "op1"


async def test_an_engine_that_hangs_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "SILENT_S", 0.3)
    monkeypatch.setattr(asking, "LAST_WORD_S", 0.1)
    async with (
        served(tmp_path) as (_, door),
        relayed(door.socket, tmp_path) as line,
        attached(line.path) as client,
    ):
        line.relay.flows.clear()
        reply = await client.emit("queue:pause", {"scope": "engine"})
        assert reply["error"].startswith("queue:pause may have been done: the engine is silent; ")
        assert "the engine is silent" in client.lost
        line.relay.flows.set()
        await until(lambda: client.snapshot() and client.lost is None)


async def test_a_submit_that_stays_cut_off_names_its_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "BACK_S", 0.3)
    async with (
        served(tmp_path) as (_, door),
        relayed(door.socket, tmp_path) as line,
        attached(line.path) as client,
    ):
        line.relay.mute = True
        reply = await client.emit("completion:async", {"prompt": "x", "request_id": "mine"})
        assert reply["code"] == "not_ready"
        assert reply["error"].startswith("request mine may have been accepted: ")


# --- pictures -------------------------------------------------------------------------------------


class Slow:
    """A door of a test's own: its pictures come when they are let go, and are counted."""

    def __init__(self) -> None:
        self.queries: list[dict[str, Any]] = []
        self.at_once = self.most_at_once = 0
        self.go = asyncio.Event()
        self.answer: dict[str, Any] = plain(busy())
        self.events = "id: aa.1\nevent: engine:snapshot\n"
        self.told = {
            "seq": 1,
            "name": "engine:snapshot",
            "data": {},
            "at": "2027-01-15T08:00:00.000Z",
        }

    async def hello(self, _: web.Request) -> web.Response:
        return web.json_response({"name": "slow", "pid": 1})

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(f"{self.events}data: {json.dumps(self.told)}\n\n".encode())
        await asyncio.Event().wait()
        return response

    async def snapshot(self, request: web.Request) -> web.Response:
        self.queries.append(json.loads(request.query["query"]))
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            await self.go.wait()
        finally:
            self.at_once -= 1
        return web.json_response(self.answer)

    @asynccontextmanager
    async def open(self, folder: Path) -> AsyncIterator[Path]:
        app = web.Application()
        app.add_routes(
            [
                web.get("/hello", self.hello),
                web.get("/events", self.stream),
                web.get("/snapshot", self.snapshot),
            ]
        )
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
        await runner.setup()
        path = folder / "slow.sock"
        await web.UnixSite(runner, str(path)).start()
        try:
            yield path
        finally:
            await runner.cleanup()


async def test_on_a_slow_line_pictures_are_fewer_and_never_pile_up(tmp_path: Path) -> None:
    slow = Slow()
    slow.go.set()
    async with slow.open(tmp_path) as path, attached(path, refresh_hz=1000) as client:
        slow.go.clear()
        before = len(slow.queries)
        client.snapshot(ONE)
        await until(lambda: slow.at_once == 1)
        for n in range(100):
            client.snapshot(dataclasses.replace(ONE, active_offset=n))
            client.snapshot(ONE)
            await asyncio.sleep(0)
        assert (slow.at_once, len(slow.queries)) == (1, before + 1)
        slow.go.set()
        await until(lambda: client.snapshot(ONE).answers)
        assert slow.most_at_once == 1


async def test_nothing_is_fetched_that_nobody_asks_for(tmp_path: Path) -> None:
    slow = Slow()
    slow.go.set()
    async with slow.open(tmp_path) as path, attached(path, refresh_hz=1000) as client:
        await until(lambda: client.snapshot(ONE).answers)
        await until(lambda: slow.at_once == 0)
        while True:  # what was asked for last is fetched once more, and that is all
            before = len(slow.queries)
            await asyncio.sleep(0.05)
            if before == len(slow.queries):
                break
        assert before < 200
        assert len(slow.queries) == before


async def test_a_picture_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    slow = Slow()
    slow.go.set()
    async with slow.open(tmp_path) as path, attached(path) as client:
        slow.answer = {**slow.answer, "at": "noon"}
        await until(lambda: client.snapshot(ONE) and client.lost)
        assert "the engine cannot be looked at: snapshot.at: found str" in client.lost
        slow.answer = plain(busy())
        await until(lambda: client.snapshot(ONE) and client.lost is None)


async def test_events_that_are_none_break_the_line_and_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_client, "ENTER_S", 0.5)
    slow = Slow()
    slow.told = {"seq": "x"}
    async with slow.open(tmp_path) as path:
        with pytest.raises(DoorClosed, match="an event that is none"):
            async with attached(path):
                raise AssertionError("entered")


async def test_a_question_with_much_that_was_looked_at_stays_within_a_line(tmp_path: Path) -> None:
    looked = dataclasses.replace(
        SnapshotQuery().looked_at, until=5.0, single={f"r-{n}" * 40: float(n) for n in range(1000)}
    )
    async with served(tmp_path) as (_, door), attached(door.socket) as client:
        query = dataclasses.replace(ONE, looked_at=looked, active_limit=10**6)
        await until(lambda: client.snapshot(query).answers)
        assert client.lost is None
