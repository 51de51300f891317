"""The stream of events: where it begins, what it tells, and that it goes on without loss."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ksi_tui.door import stream
from ksi_tui.door.ring import Ring
from ksi_tui.door.server import Door
from ksi_tui.door.stream import Streams
from tests.door.visiting import BOUND_S, FakeEngine, Visitor, fake_door, visiting
from tests.engine.engine_fixtures import until

LOOKER = {"X-Ksi-Operator": "op1", "X-Ksi-Kind": "dashboard"}


async def test_it_begins_with_a_snapshot_and_tells_what_happens(tmp_path: Path) -> None:
    async with fake_door(tmp_path) as (engine, door, visitor):
        engine.publish("completion:queued")
        async with await visitor.events() as events:
            first = await events.next()
            assert (first.name, first.seq, first.data) == ("engine:snapshot", 1, {"ready": True})
            engine.publish("completion:result")
            told = await events.next()
            assert (told.id, told.name, told.data) == (
                f"{door.boot}.2",
                "completion:result",
                {"n": 0},
            )


async def test_each_event_is_one_line_of_data_with_its_time(tmp_path: Path) -> None:
    async with fake_door(tmp_path) as (engine, door, visitor), await visitor.events() as events:
        await events.raw()
        engine.router.publish("a:b", {"text": "one\ntwo\r\n\u2028three"})
        assert await events.raw() == (
            f"id: {door.boot}.1\nevent: a:b\n"
            'data: {"seq":1,"name":"a:b","data":{"text":"one\\ntwo\\r\\n\\u2028three"},'
            '"at":"2027-01-15T08:00:00.000Z"}'
        )
        assert events.response.headers["Content-Type"].startswith("text/event-stream")
        assert events.response.headers["Cache-Control"] == "no-store"


async def test_only_what_fits_the_pattern(tmp_path: Path) -> None:
    async with (
        fake_door(tmp_path) as (engine, _, visitor),
        await visitor.events(params={"pattern": "provider:*"}) as events,
    ):
        await events.next()
        for name in ("completion:queued", "provider:circuit", "queue:paused", "provider:x"):
            engine.publish(name)
        assert [told.seq for told in await events.take(2)] == [2, 4]


@pytest.mark.parametrize(
    "query",
    [
        {"pattern": ""},
        {"pattern": "x" * 209},
        {"after": "nonsense"},
        {"most_chars": "99"},
        {"most_chars": "1000001"},
        {"most_chars": "-1"},
        {"most_chars": "many"},
        {"after": "ab."},
        {"after": "ab.-1"},
        {"after": "ab.1٣"},
        {"after": "ab." + "9" * 40},
    ],
)
async def test_what_cannot_be_meant_is_refused(query: dict[str, str], tmp_path: Path) -> None:
    async with fake_door(tmp_path) as (_, _door, visitor):
        status, reply = await visitor.get("/events", params=query)
        assert (status, reply["code"]) == (400, "invalid_request")


async def test_long_texts_are_cut_for_who_asks_and_for_nobody_else(tmp_path: Path) -> None:
    async with fake_door(tmp_path) as (engine, _door, visitor):
        data = {"result": {"n": 1, "choices": [{"text": "a" * 100}, {"text": "b" * 1_001}]}}
        async with (
            await visitor.events(params={"most_chars": "100"}) as short,
            await visitor.events() as whole,
        ):
            engine.router.publish("completion:result", data)
            assert (await whole.take(2))[1].data == data
            b = "b" * 100 + "… (1,001 characters)"
            cut = {"result": {"n": 1, "choices": [{"text": "a" * 100}, {"text": b}]}}
            assert (await short.take(2))[1].data == cut


# --- going on ------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["header", "query"])
async def test_who_comes_back_gets_what_it_missed(by: str, tmp_path: Path) -> None:
    async with fake_door(tmp_path) as (engine, _door, visitor):
        async with await visitor.events() as events:
            await events.next()
            engine.publish("a:b", 3)
            last = (await events.take(3))[-1]
        engine.publish("a:b", 500)
        told = {"headers": {"Last-Event-ID": last.id}}
        if by == "query":
            told = {"params": {"after": last.id}}
        async with await visitor.events(**told) as again:
            first = await again.next()
            assert (first.name, first.id) == ("engine:snapshot", None)
            engine.publish("a:b")
            assert [e.seq for e in await again.take(501)] == list(range(4, 505))


async def test_what_the_client_saw_last_counts_and_not_the_address_it_began_with(
    tmp_path: Path,
) -> None:
    async with fake_door(tmp_path) as (engine, door, visitor):
        async with await visitor.events() as events:
            await events.next()
        engine.publish("a:b", 9)
        told = {
            "params": {"after": f"{door.boot}.2"},
            "headers": {"Last-Event-ID": f"{door.boot}.8"},
        }
        async with await visitor.events(**told) as events:
            assert [(e.name, e.seq) for e in await events.take(2)][1] == ("a:b", 9)


async def test_breaking_off_before_what_was_missed_loses_nothing(tmp_path: Path) -> None:
    """The snapshot has no id then: a browser's EventSource would go on after it."""
    async with fake_door(tmp_path) as (engine, door, visitor):
        async with await visitor.events() as events:
            await events.next()
        engine.publish("a:b", 3)
        async with await visitor.events(params={"after": f"{door.boot}.0"}) as events:
            assert (await events.next()).id is None
            assert [e.seq for e in await events.take(3)] == [1, 2, 3]


async def test_what_was_missed_is_told_by_the_pattern_too(tmp_path: Path) -> None:
    async with fake_door(tmp_path) as (engine, door, visitor):
        async with await visitor.events() as events:
            await events.next()
        engine.publish("a:b")
        engine.publish("c:d")
        query = {"after": f"{door.boot}.0", "pattern": "c:*"}
        async with await visitor.events(params=query) as events:
            assert [e.seq for e in await events.take(2)] == [2, 2]


async def test_who_follows_one_request_gets_what_it_missed_of_that_one(tmp_path: Path) -> None:
    async with fake_door(tmp_path) as (engine, door, visitor):
        async with await visitor.events() as events:
            await events.next()
        for request_id in ("r-1", "r-2", "r-1"):
            engine.router.publish("completion:progress", {"request_id": request_id})
        query = {"after": f"{door.boot}.0", "pattern": "request:r-1"}
        async with await visitor.events(params=query) as events:
            assert [e.seq for e in await events.take(3)] == [3, 1, 3]


async def test_nothing_missed_is_nothing_told(tmp_path: Path) -> None:
    async with fake_door(tmp_path) as (engine, _door, visitor):
        engine.publish("a:b", 4)
        async with await visitor.events() as events:
            last = await events.next()
        async with await visitor.events(params={"after": last.id}) as events:
            engine.publish("a:b")
            assert [e.seq for e in await events.take(2)] == [4, 5]


async def test_after_a_restart_it_says_that_something_is_missing(tmp_path: Path) -> None:
    async with fake_door(tmp_path) as (engine, door, visitor):
        engine.publish("a:b", 2)
        async with await visitor.events(params={"after": "01db007.7"}) as e:
            assert (await e.next()).name == "engine:snapshot"
            lost = await e.next()
            assert (lost.name, lost.data) == ("engine:lost", {"lost": None, "why": "restarted"})
            assert lost.id == f"{door.boot}.2"
            engine.publish("a:b")
            assert (await e.next()).seq == 3


async def test_who_stayed_away_too_long_is_told_how_much_is_missing(tmp_path: Path) -> None:
    async with short_memory(tmp_path, most_events=10) as (engine, door, visitor):
        async with await visitor.events() as events:
            await events.next()
        engine.publish("a:b", 25)
        async with await visitor.events(params={"after": f"{door.boot}.5"}) as events:
            await events.next()
            lost = await events.next()
            assert (lost.name, lost.data) == ("engine:lost", {"lost": 10, "why": "too_old"})
            assert lost.id == f"{door.boot}.15"
            assert [e.seq for e in await events.take(10)] == list(range(16, 26))


async def test_what_is_kept_is_bounded_by_its_size_too(tmp_path: Path) -> None:
    async with short_memory(tmp_path, most_bytes=5_000) as (engine, door, visitor):
        async with await visitor.events() as events:
            await events.next()
        for _ in range(8):
            engine.router.publish("a:b", {"result": {"texts": ["x" * 1_000]}})
        async with await visitor.events(params={"after": f"{door.boot}.0"}) as events:
            await events.next()
            lost = await events.next()
            assert lost.data == {"lost": 5, "why": "too_old"}
            assert [e.seq for e in await events.take(3)] == [6, 7, 8]


async def test_what_came_too_quickly_to_be_kept_is_told_as_missing(tmp_path: Path) -> None:
    async with fake_door(tmp_path) as (engine, door, visitor):
        engine.capacity = 5
        async with await visitor.events() as events:
            await events.next()
        engine.publish("a:b", 20)  # in one turn of the loop: nobody could take them
        query = {"after": f"{door.boot}.0", "pattern": "a:*"}
        async with await visitor.events(params=query) as events:
            await events.next()
            lost = await events.next()
            assert (lost.name, lost.data) == ("engine:lost", {"lost": 15, "why": "slow"})
            assert [e.seq for e in await events.take(5)] == list(range(16, 21))


async def test_an_engine_that_nobody_looked_at_keeps_nothing(tmp_path: Path) -> None:
    async with fake_door(tmp_path) as (engine, door, visitor):
        await visitor.get("/hello")
        assert engine.router._subscriptions == []
        engine.publish("a:b", 3)
        async with await visitor.events(params={"after": f"{door.boot}.1"}) as events:
            await events.next()
            assert (await events.next()).data == {"lost": 2, "why": "too_old"}


# --- who is slow ---------------------------------------------------------------------------


async def test_a_slow_reader_is_told_what_it_lost_and_slows_nobody(tmp_path: Path) -> None:
    async with fake_door(tmp_path) as (engine, door, visitor):
        engine.capacity = 50
        async with await visitor.events() as slow, visiting(door.socket) as other:
            await slow.next()
            async with await other.events() as quick:
                await quick.next()
                published = 0
                while len(engine.router._subscriptions[1]._buffer) < 50:
                    engine.router.publish("a:b", {"text": "x" * 100_000})
                    published += 1
                    assert (await quick.next()).seq == published
                engine.router.publish("a:b", {})
                engine.router.publish("a:b", {})
                seen = await slow.take(published + 1)
        lost = [told for told in seen if told.name == "engine:lost"]
        assert [told.data for told in lost] == [{"lost": 2, "why": "slow"}]
        assert seen[-1].seq == published + 2
        assert len({told.seq for told in seen if told.name == "a:b"}) == published


async def test_a_reader_who_does_not_read_does_not_keep_the_door_from_closing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ksi_tui.door.server.LEAVE_WITHIN_S", 0.05)
    async with asyncio.timeout(BOUND_S), fake_door(tmp_path) as (engine, _, visitor):
        events = await visitor.events()
        await events.next()
        of_stream = engine.router._subscriptions[1]
        while len(of_stream._buffer) < 100:  # what the system's buffers take is taken
            engine.router.publish("a:b", {"text": "x" * 100_000})
            await asyncio.sleep(0)
    assert engine.router._subscriptions == []
    events.response.close()


async def test_a_quiet_stream_is_kept_open(tmp_path: Path) -> None:
    async with (
        short_memory(tmp_path, heartbeat_s=0.01) as (engine, _, visitor),
        await visitor.events() as events,
    ):
        await events.raw()
        assert await events.raw() == ": alive"
        assert await events.raw() == ": alive"
        engine.publish("a:b")
        assert (await events.next()).seq == 1


async def test_there_are_only_so_many_streams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MOST_STREAMS", 2)
    async with (
        fake_door(tmp_path) as (_, _door, visitor),
        await visitor.events() as one,
        await visitor.events(),
    ):
        status, reply = await visitor.get("/events")
        assert (status, reply["code"]) == (429, "queue_full")
        one.response.close()
        await until(lambda: len(_door._streams._open) == 1)
        async with await visitor.events():
            pass


async def test_it_ends_with_the_engine(tmp_path: Path) -> None:
    async with fake_door(tmp_path) as (engine, _, visitor), await visitor.events() as events:
        await events.next()
        engine.publish("a:b")
        engine.router.close()
        assert (await events.next()).seq == 1
        assert await events.raw() is None


async def test_it_ends_with_the_door(tmp_path: Path) -> None:
    engine = FakeEngine()
    async with Door(engine, database=tmp_path / "k.db") as door:
        visit = visiting(door.socket)
        events = await (await visit.__aenter__()).events()
        await events.next()
    assert await events.raw() is None
    await visit.__aexit__(None, None, None)
    assert engine.router._subscriptions == []


# --- who looks -----------------------------------------------------------------------------


async def test_a_dashboard_is_attached_as_long_as_it_listens(tmp_path: Path) -> None:
    async with fake_door(tmp_path) as (_, door, visitor):
        async with await visitor.events(headers=LOOKER), await visitor.events():
            _, hello = await visitor.get("/hello")
            (entry,) = hello["attached"]
            assert (entry["operator"], entry["kind"]) == ("op1", "dashboard")
            assert entry["since"].endswith("Z")
            assert entry["id"]
        await until(lambda: door.hello()["attached"] == [])


async def test_a_client_that_goes_is_noticed_at_once(tmp_path: Path) -> None:
    """Not with the next heartbeat: who is attached must be true."""
    async with fake_door(tmp_path) as (engine, door, visitor):
        events = await visitor.events(headers=LOOKER)
        assert door.attached.listed()
        events.response.close()
        await until(lambda: not door.attached.listed())
        assert len(engine.router._subscriptions) == 1  # the ring's


@asynccontextmanager
async def short_memory(
    folder: Path, heartbeat_s: float = 10.0, **most: int
) -> AsyncIterator[tuple[FakeEngine, Door, Visitor]]:
    """A fake door whose ring holds little, or whose heart beats fast."""
    engine = FakeEngine()
    door = Door(engine, database=folder / "k.db")
    ring = Ring(engine, **most)
    door._streams = Streams(engine, door.boot, door.attached, ring=ring, heartbeat_s=heartbeat_s)
    async with door, visiting(door.socket) as visitor:
        yield engine, door, visitor
