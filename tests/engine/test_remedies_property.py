"""Whatever state the engine is in: what a remedy says that it frees begins once it is applied."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from ksi_tui.engine.advice import Remedy
from ksi_tui.engine.views import Live, SnapshotQuery
from tests.engine.engine_fixtures import HandClock, Rig, config, in_turn, provider, running
from tests.engine.test_outlook_property import CALLS, ENDS, SESSION, SUBMIT, WHICH, HurriedWorld

STEPS = st.lists(
    st.one_of(
        SUBMIT,
        SUBMIT,
        SUBMIT,
        st.tuples(st.just("locked"), SESSION, st.sampled_from(["a1", "a2"]), st.booleans()),
        st.tuples(st.just("lock"), SESSION, st.sampled_from(["a1", "a2"])),
        st.tuples(st.just("answer"), WHICH),
        st.tuples(st.just("say"), WHICH),
        st.tuples(st.just("pause"), st.sampled_from(["engine", "s0", "s1", "p", "q"])),
        st.tuples(st.just("force"), st.sampled_from(["p", "q"])),
        st.tuples(st.just("pass"), st.sampled_from([1, 7])),
    ),
    min_size=4,
    max_size=14,
)


class PausedWorld(HurriedWorld):
    """A world in which people pause and force, too."""

    async def look(self) -> None:
        """Leave the promises to the other worlds: they know no pauses."""

    async def do_pause(self, what: str) -> None:
        scope = {"engine": "engine", "p": "provider", "q": "provider"}.get(what, "session")
        named = {} if scope == "engine" else {"id": what}
        await self.rig.emit("queue:pause", scope=scope, **named, by="op1")

    async def do_force(self, name: str) -> None:
        await self.rig.emit("provider:open", provider=name, by="op1")


def explained(rig: Rig, request_id: str) -> Live:
    """Return a request with all that is known of what frees it."""
    live = rig.engine.snapshot(SnapshotQuery(request_id=request_id, explain=True)).live
    assert live is not None
    return live


async def apply(rig: Rig, remedy: Remedy) -> None:
    """Do what a remedy proposes, as a screen would."""
    target = remedy.request_id
    if remedy.action == "cancel":
        reply = await rig.emit("completion:cancel", request_id=target)
    elif remedy.action == "retry":
        reply = await rig.emit("completion:retry", request_id=target)
    elif remedy.action == "elsewhere" and remedy.model is not None:
        reply = await rig.emit("completion:retry", request_id=target, model=remedy.model)
    elif remedy.action == "elsewhere":
        run = rig.ticket(target or "").run
        assert run is not None
        assert run.call is not None
        avoid = [run.call.entry.name]
        reply = await rig.emit("completion:retry", request_id=target, avoid=avoid)
    elif remedy.action == "force_lock":
        reply = await rig.emit(
            "conversation:release_lock", session_id=remedy.lock_session, agent_id="op1", force=True
        )
    elif remedy.action == "resume":
        name = remedy.session_id or remedy.provider
        named = {"id": name} if name else {}
        reply = await rig.emit("queue:resume", scope=remedy.scope, **named)
    elif remedy.action == "force_circuit":
        reply = await rig.emit("provider:close", provider=remedy.provider)
    else:
        assert remedy.action == "probe"
        reply = await rig.emit("provider:probe", provider=remedy.provider)
    assert "code" not in reply, (remedy, reply)


def calls_of(rig: Rig, request_id: str) -> int:
    """Return how often a request was given to a provider."""
    calls = [up for each in rig.providers.values() for up in each.calls]
    return sum(up.spec.request_id == request_id for up in calls)


async def play(folder: Path, steps: list[tuple[Any, ...]], calls: list[str], pick: int) -> None:
    made = config(
        folder,
        engine={"max_concurrency": 3, "first_token_timeout_s": 9_000, "idle_timeout_s": 9_000},
        providers=[
            provider("p", max_concurrency=2, circuit={"fail_max": 1, "reset_timeout_s": 33}),
            provider("q", priority=2, max_concurrency=2, circuit={"fail_max": 2}),
            provider("r", "other", priority=3, max_concurrency=3),
        ],
        retry={"initial_delay_s": 5, "max_attempts": 3},
    )
    script = in_turn(*[ENDS[each] for each in calls])
    async with running(
        made, clock=HandClock(), scripts={"p": script, "q": script, "r": ENDS["held"]}
    ) as rig:
        world = PausedWorld(rig)
        for step in steps:
            await world.step(*step)
        proposed = [
            remedy
            for request_id in sorted(rig.core.tickets)
            for remedy in explained(rig, request_id).remedies
        ]
        for remedy in proposed:
            assert remedy.what
            assert remedy.frees.startswith("nothing: ") == (remedy.action == "")
            assert not remedy.freed or remedy.action
        able = [remedy for remedy in proposed if remedy.action]
        if able:
            remedy = able[pick % len(able)]
            event(f"{remedy.action}, {'certain' if remedy.freed else 'uncertain'}")
            before = {name: calls_of(rig, name) for name in remedy.freed}
            await apply(rig, remedy)
            await world.quiet()
            for name in remedy.freed:
                assert calls_of(rig, name) > before[name], remedy
        await rig.emit("queue:resume", scope="engine")
        for request_id in list(rig.core.tickets):
            await rig.emit("completion:cancel", request_id=request_id)
        await rig.settled()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS, calls=CALLS, pick=st.integers(0, 30))
def test_what_a_remedy_frees_begins_once_it_is_applied(
    steps: list[tuple[Any, ...]], calls: list[str], pick: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder), steps, calls, pick))
