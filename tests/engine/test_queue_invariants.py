"""Whatever is done in whatever order, the engine's promises hold after every step."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ksi_tui.engine.errors import ErrorKind
from tests.engine.engine_fixtures import HandClock, Rig, config, held, provider, running, until

SESSIONS = st.integers(0, 3)
AGENTS = st.sampled_from([None, "a1", "a2"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), SESSIONS, AGENTS, st.sampled_from(["low", "normal", "high"])),
        st.tuples(st.just("submit"), SESSIONS, AGENTS, st.sampled_from(["low", "normal", "high"])),
        st.tuples(st.just("locked"), SESSIONS, st.sampled_from(["a1", "a2"]), st.booleans()),
        st.tuples(st.just("answer"), st.integers(0, 9)),
        st.tuples(st.just("answer"), st.integers(0, 9)),
        st.tuples(
            st.just("fail"),
            st.integers(0, 9),
            st.sampled_from(
                [ErrorKind.PROVIDER_ERROR, ErrorKind.INVALID_REQUEST, ErrorKind.WORKER_LOST]
            ),
        ),
        st.tuples(st.just("say"), st.integers(0, 9)),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("cancel session"), SESSIONS),
        st.tuples(st.just("retry"), st.integers(0, 30), st.booleans()),
        st.tuples(st.just("elsewhere"), st.integers(0, 30)),
        st.tuples(st.just("lock"), SESSIONS, st.sampled_from(["a1", "a2"])),
        st.tuples(st.just("release"), SESSIONS),
        st.tuples(st.just("pass"), st.sampled_from([1, 7, 40])),
    ),
    min_size=3,
    max_size=25,
)


class World:
    """Performs steps on an engine and looks after each whether its promises hold."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.ids: list[str] = []

    def open_calls(self) -> list[Any]:
        calls = [up for each in self.rig.providers.values() for up in each.calls]
        return [up for up in calls if not up.go.is_set() and not up.over]

    async def step(self, what: str, *data: Any) -> None:
        await getattr(self, "do_" + what.replace(" ", "_"))(*data)
        await self.quiet()
        await self.look()

    async def do_submit(self, session: int, agent: str | None, priority: str) -> None:
        given = {"session_id": f"s{session}", "agent_id": agent, "priority": priority}
        self.ids.append(await self.rig.submit(f"{len(self.ids)}", **given))

    async def do_locked(self, session: int, agent: str, fail: bool) -> None:
        lock = {"timeout_s": 30, "on_conflict": "fail" if fail else "wait"}
        given = {"session_id": f"s{session}", "agent_id": agent, "conversation_lock": lock}
        self.ids.append(await self.rig.submit(f"{len(self.ids)}", **given))

    async def do_answer(self, which: int) -> None:
        if calls := self.open_calls():
            calls[which % len(calls)].go.set()

    async def do_fail(self, which: int, kind: ErrorKind) -> None:
        if calls := self.open_calls():
            calls[which % len(calls)].fail(kind)

    async def do_say(self, which: int) -> None:
        if calls := self.open_calls():
            calls[which % len(calls)].say("word")

    async def do_cancel(self, which: int) -> None:
        if self.ids:
            target = self.ids[which % len(self.ids)]
            reply = await self.rig.emit("completion:cancel", request_id=target)
            assert reply["status"] in ("cancelled", "completed", "failed")

    async def do_cancel_session(self, session: int) -> None:
        await self.rig.emit("completion:cancel", session_id=f"s{session}")

    async def do_retry(self, which: int, in_place: bool) -> None:
        if self.ids:
            target = self.ids[which % len(self.ids)]
            reply = await self.rig.emit("completion:retry", request_id=target, in_place=in_place)
            assert reply.get("code") in (None, "conflict")

    async def do_elsewhere(self, which: int) -> None:
        if self.ids:
            target = self.ids[which % len(self.ids)]
            reply = await self.rig.emit("completion:retry", request_id=target, avoid=["p"])
            assert reply.get("code") in (None, "conflict")

    async def do_lock(self, session: int, agent: str) -> None:
        given = {"session_id": f"s{session}", "agent_id": agent, "timeout_s": 20}
        await self.rig.emit("conversation:acquire_lock", **given)

    async def do_release(self, session: int) -> None:
        await self.rig.emit("conversation:release_lock", session_id=f"s{session}", force=True)

    async def do_pass(self, seconds: int) -> None:
        self.rig.advance(seconds)

    async def quiet(self) -> None:
        """Wait until everything that follows from the step has happened and is on disk."""
        core = self.rig.core

        def still() -> bool:
            starting = [
                ticket
                for ticket in core.tickets.values()
                if ticket.run is not None and not ticket.run.calls
            ]
            answered = [
                up
                for each in self.rig.providers.values()
                for up in each.calls
                if up.go.is_set() and not up.over
            ]
            return not (starting or answered or core.finishing or core.entering)

        for _ in range(4):
            await until(still, "the engine comes to rest")
            await core.store.write()
            await asyncio.sleep(0)

    async def look(self) -> None:
        rig, core = self.rig, self.rig.core
        running_now = [lane.running for lane in core.queue.running_lanes()]
        sessions = [ticket.session_id for ticket in running_now if ticket is not None]
        assert len(sessions) == len(set(sessions))
        assert core.queue.running_count <= core.config.engine.max_concurrency
        for entry in core.providers.entries():
            limit = entry.settings.max_concurrency
            assert 0 <= entry.in_flight <= (limit or 10**6)
        assert dict(core.counts) == dict(await core.store.counts())
        unfinished = sum(n for state, n in core.counts.items() if not state.final)
        assert unfinished == len(core.tickets)
        assert core.queue.waiting_count + core.queue.running_count == len(core.tickets)
        now = core.clock()
        states = await core.store.states(list(core.tickets))
        for request_id, ticket in core.tickets.items():
            assert states[request_id] is ticket.state
            assert (ticket.run is not None) == (str(ticket.state) == "processing")
            lock = core.locks.blocks(ticket.session_id, ticket.agent_id, now)
            head = ticket.session_id not in sessions and core.queue.position(ticket) == 1
            status = await rig.status(request_id)
            assert status["why"]
            assert status["if_nobody_acts"]
            assert status["outlook"]["text"] == status["if_nobody_acts"]
            assert status["chain"][0]["why"] == status["why"]
            assert all(link["why"] for link in status["chain"])
            assert status["root"]["text"]
            if lock is not None and head:
                assert status["cause"]["kind"] == "lock"
        if core.queue.running_count < core.config.engine.max_concurrency:
            for lane in core.queue.lanes():
                if lane.running is None and lane.head is not None:
                    kind = (await rig.status(lane.head.request_id))["cause"]["kind"]
                    assert kind in ("lock", "backoff", "slot", "circuit", "cooldown"), kind
        rig.engine.snapshot()


async def play(folder: Path, steps: list[tuple[Any, ...]]) -> None:
    made = config(
        folder,
        engine={"max_concurrency": 3, "first_token_timeout_s": 900, "idle_timeout_s": 900},
        providers=[provider("p", max_concurrency=2), provider("q", priority=2, max_concurrency=2)],
        retry={"initial_delay_s": 5, "max_attempts": 2},
        circuit={"fail_max": 3, "reset_timeout_s": 10},
    )
    clock = HandClock()
    async with running(made, clock=clock, scripts={"p": held, "q": held}) as rig:
        world = World(rig)
        for step in steps:
            await world.step(*step)
        for session in range(4):
            await rig.emit("completion:cancel", session_id=f"s{session}")
            await rig.emit("conversation:release_lock", session_id=f"s{session}", force=True)
        await rig.settled()
        ended = [e.data["request_id"] for e in rig.seen if e.name == "completion:result"]
        assert len(ended) == len(set(ended))
        counts = dict(rig.core.counts)
    async with running(made, clock=clock) as rig:
        assert dict(rig.core.counts) == counts
        assert rig.left_over() == {}


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_the_promises_hold_after_every_step(steps: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder), steps))


LIVES = st.lists(STEPS, min_size=2, max_size=3)


@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(LIVES)
def test_and_over_restarts_in_the_middle_of_it(lives: list[list[tuple[Any, ...]]]) -> None:
    async def all_lives(folder: Path) -> None:
        made = config(
            folder,
            engine={"max_concurrency": 3},
            providers=[provider("p", max_concurrency=2), provider("q", priority=2)],
            retry={"initial_delay_s": 5, "max_attempts": 2},
        )
        clock, ids = HandClock(), list[str]()
        for steps in lives:
            async with running(made, clock=clock, scripts={"p": held, "q": held}) as rig:
                world = World(rig)
                world.ids = ids
                await world.quiet()
                await world.look()
                for step in steps:
                    await world.step(*step)
        async with running(made, clock=clock) as rig:
            # Locks end, backoffs end, and everything that was accepted gets one final state.
            for _ in range(20):
                rig.advance(1_000)
                await World(rig).quiet()
            await rig.settled()
            rows = (await rig.emit("completion:results"))["results"]
            finished = [row["request_id"] for row in rows]
            assert sorted(finished) == sorted(ids)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(all_lives(Path(folder)))
