"""Whatever state the engine is in: what it foretells first happens then, and nothing before."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.views import Live, Next, SnapshotQuery
from tests.engine.engine_fixtures import (
    HandClock,
    Rig,
    config,
    fails,
    held,
    in_turn,
    provider,
    running,
)
from tests.engine.test_queue_invariants import World

SESSION, WHICH = st.integers(0, 3), st.integers(0, 9)
SUBMIT = st.tuples(
    st.just("hurried"), SESSION, st.sampled_from([None, "a1", "a2"]), st.sampled_from([12, 40, 900])
)
STEPS = st.lists(
    st.one_of(
        SUBMIT,
        SUBMIT,
        st.tuples(st.just("lock"), SESSION, st.sampled_from(["a1", "a2"])),
        st.tuples(st.just("fail"), WHICH, st.just(ErrorKind.PROVIDER_ERROR)),
        st.tuples(st.just("answer"), WHICH),
        st.tuples(st.just("say"), WHICH),
        st.tuples(st.just("cancel"), WHICH),
        st.tuples(st.just("retry"), WHICH, st.booleans()),
        st.tuples(st.just("elsewhere"), WHICH),
        st.tuples(st.just("pass"), st.sampled_from([1, 7])),
    ),
    min_size=6,
    max_size=20,
)
ENDS = {
    "held": held,
    "broken": fails(ErrorKind.NETWORK_ERROR),
    "down": fails(ErrorKind.PROVIDER_ERROR),
    "limited": fails(ErrorKind.API_RATE_LIMIT, retry_after_s=9),
    "long limited": fails(ErrorKind.API_RATE_LIMIT, retry_after_s=25),
}
DATED = (
    Next.BACKOFF_ENDS,
    Next.LOCK_EXPIRES,
    Next.DEADLINE,
    Next.COOLDOWN_ENDS,
    Next.PROBE,
)
"""Kept by the engine's own alarms, which hear the clock that a test moves."""
CALLS = st.lists(st.sampled_from(sorted(ENDS)), min_size=3, max_size=12)


class HurriedWorld(World):
    """A world with deadlines."""

    async def do_hurried(self, session: int, agent: str | None, timeout_s: float) -> None:
        given = {"session_id": f"s{session}", "agent_id": agent, "timeout_s": timeout_s}
        self.ids.append(await self.rig.submit(f"{len(self.ids)}", **given))


def lives(rig: Rig) -> dict[str, Live]:
    """Return all that a screen can see of every unfinished request."""
    found = {}
    for request_id in list(rig.core.tickets):
        live = rig.engine.snapshot(SnapshotQuery(request_id=request_id)).live
        assert live is not None
        assert live.chain is not None
        assert live.outlook is not None
        found[request_id] = live
    return found


def place(rig: Rig, request_id: str) -> tuple[Any, ...]:
    """Return what of a request changes only when something happens to it."""
    ticket = rig.core.tickets.get(request_id)
    if ticket is None:
        return ()
    live = lives(rig)[request_id]
    assert live.chain is not None
    cause = live.chain.links[0].cause
    return (ticket.state, ticket.attempts, ticket.walks, cause.kind, cause.target, cause.until)


async def first_comes_true(world: World) -> None:
    """Move to just before the next foretold moment, then to it."""
    rig = world.rig
    now = rig.core.clock()
    seen = lives(rig)
    dated = {
        request_id: live.outlook.at
        for request_id, live in seen.items()
        if live.outlook is not None
        and live.outlook.what in DATED
        and live.outlook.request_id is None
        and live.outlook.at is not None
        and rig.core.tickets[request_id].run is None
    }
    if not dated:
        return
    first, at = min(dated.items(), key=lambda item: item[1])
    assert at > now
    before = {request_id: place(rig, request_id) for request_id in dated}
    rig.advance(at - 0.001 - now)
    await world.quiet()
    assert {request_id: place(rig, request_id) for request_id in dated} == before
    rig.advance(at - rig.core.clock())
    await world.quiet()
    assert place(rig, first) != before[first], seen[first].outlook
    await world.look()


async def play(folder: Path, steps: list[tuple[Any, ...]], calls: list[str]) -> None:
    made = config(
        folder,
        engine={"max_concurrency": 3, "first_token_timeout_s": 9_000, "idle_timeout_s": 9_000},
        providers=[
            provider("p", max_concurrency=2, circuit={"fail_max": 1, "reset_timeout_s": 33}),
            provider("q", priority=2, max_concurrency=2, circuit={"fail_max": 2}),
        ],
        retry={"initial_delay_s": 5, "max_attempts": 3},
    )
    script = in_turn(*[ENDS[each] for each in calls])
    async with running(made, clock=HandClock(), scripts={"p": script, "q": script}) as rig:
        world = HurriedWorld(rig)
        for step in steps:
            await world.step(*step)
            for request_id, live in lives(rig).items():
                assert live.chain is not None
                assert live.outlook is not None
                assert live.chain.links[0].request_id == request_id
                assert all(link.why for link in live.chain.links)
                names = [link.request_id for link in live.chain.links]
                assert len(names) == len(set(names))
                assert live.chain.root is not None
                assert live.chain.text.startswith(request_id)
                assert live.outlook.text
        for _ in range(6):
            await first_comes_true(world)
        for request_id in list(rig.core.tickets):
            await rig.emit("completion:cancel", request_id=request_id)
        await rig.settled()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS, calls=CALLS)
def test_every_state_has_a_why_and_what_is_foretold_comes_true(
    steps: list[tuple[Any, ...]], calls: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder), steps, calls))
