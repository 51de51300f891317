"""Queue, locks, circuits, retries, cancels and restarts in any order, against a simple model.

After every step the engine comes to rest and is compared with `simple_model`: who was begun
and in which order, where each request is and why, what is locked, open, cooling and full.
`KSI_EXAMPLES` and `KSI_STEPS` in the environment make it run longer.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from ksi_tui.engine.errors import ErrorKind
from tests.engine.modelled_engine import World
from tests.engine.simple_model import RANKS, Call, Model, Req

pytestmark = pytest.mark.timeout(600)  # a fault is made small before it is told

SESSIONS = st.sampled_from(["s0", "s1", "s2"])
AGENTS = st.sampled_from(["a1", "a2"])
PICK = st.integers(0, 50)
FAULTS = (
    (ErrorKind.API_RATE_LIMIT, 429),
    (ErrorKind.QUOTA_EXCEEDED, 429),
    (ErrorKind.NETWORK_ERROR, 0),
    (ErrorKind.PROVIDER_ERROR, 503),
    (ErrorKind.TEMPORARY_FAILURE, 0),
    (ErrorKind.AUTH_ERROR, 401),
    (ErrorKind.AUTH_ERROR, 403),
    (ErrorKind.MODEL_NOT_FOUND, 404),
    (ErrorKind.INVALID_REQUEST, 400),
    (ErrorKind.CONTENT_POLICY, 400),
    (ErrorKind.WORKER_LOST, 0),
)


class StillLoop(asyncio.SelectorEventLoop):
    """A loop on which no time passes: every clock of the engine is moved by the test."""

    def time(self) -> float:
        return 1_000.0


class Interleavings(RuleBasedStateMachine):
    """Draws what is done next."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=StillLoop)
        self.world = World()
        self.broken = False

    def run(self, step: Coroutine[Any, Any, None]) -> None:
        try:
            self.runner.run(step)
        except BaseException:
            self.broken = True
            raise

    @property
    def model(self) -> Model:
        return self.world.model

    @property
    def calls(self) -> list[Call]:
        return [req.call for req in self.model.running() if req.call is not None]

    @initialize()
    def begin(self) -> None:
        self.run(self.world.begin())

    def teardown(self) -> None:
        try:
            if not self.broken:
                self.run(self.world.finish())
        finally:
            self.runner.run(self.world.end())
            self.runner.close()
            shutil.rmtree(self.world.folder, ignore_errors=True)

    @rule(
        session=st.one_of(SESSIONS, SESSIONS, SESSIONS, st.none()),
        agent=st.one_of(st.none(), AGENTS),
        priority=st.sampled_from(["critical", "high", "normal", "normal", "low", "background"]),
        lock=st.sampled_from([None, None, "wait", "fail"]),
        served=st.sampled_from(["m1", "m1", "p-only"]),
        attempts=st.integers(1, 3),
        timeout_s=st.sampled_from([100_000, 25, 70]),
        history=st.sampled_from(["session", "none"]),
        inject=st.sampled_from([False, False, True]),
    )
    def submit(self, **drawn: Any) -> None:
        given = {
            "priority": drawn["priority"],
            "model": drawn["served"],
            "max_attempts": drawn["attempts"],
            "timeout_s": drawn["timeout_s"],
            "history": drawn["history"],
            "session_id": drawn["session"],
            "agent_id": drawn["agent"],
        }
        if drawn["lock"] is not None and drawn["agent"] is not None:
            lock = {"timeout_s": 30, "on_conflict": drawn["lock"]}
            given["conversation_lock"] = lock
        self.run(self.world.submit(given, inject=drawn["inject"]))

    @rule(
        session=SESSIONS,
        priorities=st.lists(st.sampled_from(RANKS), min_size=2, max_size=4),
        served=st.sampled_from(["m1", "p-only"]),
    )
    def submit_some(self, session: str, priorities: list[str], served: str) -> None:
        for priority in priorities:
            given = {
                "priority": priority,
                "model": served,
                "max_attempts": 2,
                "timeout_s": 100_000,
                "session_id": session,
            }
            inject = priority == "inject"
            self.run(self.world.submit(given, inject=inject))

    @precondition(lambda self: self.calls)
    @rule(pick=PICK)
    def answer(self, pick: int) -> None:
        self.run(self.world.answer(self.calls[pick % len(self.calls)]))

    @precondition(lambda self: self.calls)
    @rule(
        pick=PICK, fault=st.sampled_from(FAULTS), after_s=st.sampled_from([None, None, 3, 30, 90])
    )
    def fail(self, pick: int, fault: tuple[ErrorKind, int], after_s: int | None) -> None:
        self.run(self.world.fail(self.calls[pick % len(self.calls)], fault, after_s))

    @precondition(lambda self: self.calls)
    @rule(pick=PICK)
    def fail_plainly(self, pick: int) -> None:
        fault = (ErrorKind.PROVIDER_ERROR, 500)
        self.run(self.world.fail(self.calls[pick % len(self.calls)], fault, None))

    @precondition(lambda self: self.calls)
    @rule(pick=PICK, after_s=st.sampled_from([3, 30, 90]))
    def fail_by_a_limit(self, pick: int, after_s: int) -> None:
        fault = (ErrorKind.API_RATE_LIMIT, 429)
        self.run(self.world.fail(self.calls[pick % len(self.calls)], fault, after_s))

    @precondition(lambda self: self.calls)
    @rule(pick=PICK)
    def say(self, pick: int) -> None:
        self.run(self.world.say(self.calls[pick % len(self.calls)]))

    @precondition(lambda self: self.model.reqs)
    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        reqs = list(self.model.reqs.values())
        self.run(self.world.cancel(reqs[-1 - pick % len(reqs)]))

    @precondition(lambda self: self.model.unfinished())
    @rule(pick=PICK)
    def cancel_session(self, pick: int) -> None:
        sessions = sorted({req.session for req in self.model.unfinished()})
        session = sessions[pick % len(sessions)]
        line = self.model.line(session)
        self.run(self.world.cancel(*line, session=session))

    @precondition(lambda self: self.model.reqs)
    @rule(pick=PICK, in_place=st.booleans(), avoid=st.sampled_from([[], [], ["p"], ["q"]]))
    def retry(self, pick: int, in_place: bool, avoid: list[str]) -> None:
        reqs = list(self.model.reqs.values())
        req = reqs[-1 - pick % len(reqs)]
        self.run(self.world.retry(req, in_place=in_place, avoid=avoid))

    @precondition(lambda self: self.gone())
    @rule(pick=PICK, in_place=st.booleans())
    def retry_one_that_is_gone(self, pick: int, in_place: bool) -> None:
        gone = self.gone()
        self.run(self.world.retry(gone[pick % len(gone)], in_place=in_place, avoid=[]))

    def gone(self) -> list[Req]:
        """Return those that failed or were cancelled."""
        return [req for req in self.model.reqs.values() if req.state in ("failed", "cancelled")]

    @precondition(lambda self: self.calls)
    @rule(pick=PICK, turns=st.integers(0, 8))
    def answer_and_cancel(self, pick: int, turns: int) -> None:
        self.run(self.world.answer_and_cancel(self.calls[pick % len(self.calls)], turns))

    @rule(session=SESSIONS, agent=AGENTS, hold_s=st.sampled_from([8, 45]))
    def lock(self, session: str, agent: str, hold_s: int) -> None:
        async def step() -> None:
            given = {"session_id": session, "agent_id": agent, "timeout_s": hold_s}
            reply = await self.world.rig.emit("conversation:acquire_lock", **given)
            assert reply["locked"] == self.model.acquire(session, agent, hold_s)
            await self.world.rest()

        self.run(step())

    @precondition(lambda self: self.model.locks)
    @rule(pick=PICK, agent=st.one_of(st.none(), AGENTS))
    def unlock(self, pick: int, agent: str | None) -> None:
        session = sorted(self.model.locks)[pick % len(self.model.locks)]

        async def step() -> None:
            given = {"agent_id": agent} if agent else {"force": True}
            reply = await self.world.rig.emit(
                "conversation:release_lock", session_id=session, **given
            )
            assert reply["released"] == self.model.release(session, agent)
            await self.world.rest()

        self.run(step())

    @rule(seconds=st.sampled_from([1, 7, 61]))
    def wait(self, seconds: int) -> None:
        self.run(self.world.advance(seconds))

    @precondition(lambda self: self.model.moments())
    @rule(which=st.integers(0, 2), beside=st.sampled_from([-1, 0, 1]))
    def wait_for_a_moment(self, which: int, beside: int) -> None:
        moments = self.model.moments()
        at = moments[min(which, len(moments) - 1)] + beside
        self.run(self.world.advance(max(0, at - self.model.now)))

    @precondition(lambda self: self.calls)
    @rule(name=st.sampled_from(["p", "q"]))
    def closing_takes_long(self, name: str) -> None:
        provider = self.world.rig.providers[name]
        provider.closes_at_once = not provider.closes_at_once

    @precondition(lambda self: self.world.late)
    @rule(pick=PICK)
    def close(self, pick: int) -> None:
        late = self.world.late
        self.run(self.world.close(late[pick % len(late)]))

    @precondition(lambda self: self.world.can_pause)
    @rule(session=st.sampled_from(["", "s0", "s1"]))
    def pause_or_resume(self, session: str) -> None:
        self.run(self.world.pause(session, on=session not in self.model.pauses))

    @precondition(lambda self: self.model.unfinished())
    @rule(crash=st.booleans(), away_s=st.sampled_from([0, 0, 6, 100]))
    def restart(self, crash: bool, away_s: int) -> None:
        self.run(self.world.restart(away_s, crash=crash))


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(
    max_examples=int(os.environ.get("KSI_EXAMPLES", "24")),
    stateful_step_count=int(os.environ.get("KSI_STEPS", "40")),
    deadline=None,
)
