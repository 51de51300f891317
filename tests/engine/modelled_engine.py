"""An engine over its lives with the simple model beside it: does a step, waits, compares.

The steps are chosen by `test_interleavings`; what has to follow is `simple_model`'s to say.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from ksi_tui.engine.clock import iso
from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.live_call import LiveCall, Run
from ksi_tui.engine.models import Message, RequestSpec
from tests.engine.engine_fixtures import (
    T0,
    USED,
    HandClock,
    Rig,
    Upstream,
    config,
    held,
    provider,
    running,
)
from tests.engine.simple_model import FINAL, Breaker, Call, Model, Prov, Req, Rules

RULES = Rules(max_concurrency=3, max_cooldown_s=50, backoff_s=(5, 10, 20), call_clock_s=60)
SETTINGS: dict[str, Any] = {
    "engine": {
        "max_concurrency": RULES.max_concurrency,
        "first_token_timeout_s": RULES.call_clock_s,
        "idle_timeout_s": RULES.call_clock_s,
    },
    "providers": [
        provider("p", "m*", "p-only", max_concurrency=2),
        provider("q", "m*", priority=2, max_concurrency=2),
    ],
    "retry": {"initial_delay_s": 5, "multiplier": 2, "max_delay_s": 20, "jitter": 0},
    "circuit": {
        "fail_max": 2,
        "reset_timeout_s": 10,
        "max_reset_timeout_s": 40,
        "max_cooldown_s": RULES.max_cooldown_s,
    },
}

REST_S = 10.0
"""How long an engine may take to come to rest; it takes milliseconds."""
EVENTS = {
    "completion:result": "completed",
    "completion:error": "failed",
    "completion:cancelled": "cancelled",
}


def models() -> Model:
    """Return the model of an engine that nothing has happened to."""
    made = [
        Prov(
            name=name,
            priority=priority,
            limit=2,
            models=served,
            circuit=Breaker(fail_max=2, reset_s=10, longest_s=40),
        )
        for name, priority, served in (("p", 1, ("m1", "p-only")), ("q", 2, ("m1",)))
    ]
    return Model(RULES, made)


class World:
    """An engine over its lives, and the model beside it."""

    def __init__(self) -> None:
        self.model = models()
        self.clock = HandClock()
        self.folder = Path(tempfile.mkdtemp())
        self.lives = 0
        self.journal: list[tuple[str, str]] = []
        self.told: Counter[tuple[str, str]] = Counter()
        self.heard = 0
        self.answered_calls = 0
        self.late: list[Upstream] = []
        self.rig: Rig
        self._life: AbstractAsyncContextManager[Rig] | None = None

    # --- lives -----------------------------------------------------------------------------

    async def begin(self) -> None:
        here = self.folder / str(self.lives)
        here.mkdir(exist_ok=True)
        made = config(here, **SETTINGS)
        self._life = running(made, clock=self.clock, scripts={"p": held, "q": held})
        # The journal must be there before the first dispatch.
        self.rig = await self._life.__aenter__()
        self.heard = 0
        parts = self.rig.engine._parts
        assert parts is not None
        walker, admit, next_call = parts.walker, parts.walker.admit, parts.walker._next_call

        def noted(run: Run) -> None:
            admit(run)
            if run.admitted is not None:
                self.journal.append((run.ticket.request_id, run.admitted.candidate.entry.name))

        def opened(run: Run, spec: RequestSpec, history: Sequence[Message]) -> LiveCall | None:
            before = run.admitted
            live = next_call(run, spec, history)
            if live is not None and (before is None or before.permit is not live.permit):
                self.journal.append((run.ticket.request_id, live.entry.name))
            return live

        walker.admit = noted  # type: ignore[method-assign]
        walker._next_call = opened  # type: ignore[method-assign]

    async def end(self) -> None:
        """End the engine, if one runs."""
        life, self._life = self._life, None
        if life is not None:
            await life.__aexit__(None, None, None)

    async def crash(self) -> None:
        """Let the next life find what is on disk now, as if this one had been killed."""
        parts = self.rig.engine._parts
        assert parts is not None
        parts.dispatcher.save_providers()  # as the housekeeping does twice a second
        await self.rig.core.store.write()
        then = self.folder / str(self.lives + 1)
        then.mkdir()
        source = sqlite3.connect(self.folder / str(self.lives) / "ksi.db")
        target = sqlite3.connect(then / "ksi.db")
        source.backup(target)
        source.close()
        target.close()
        self.lives += 1
        await self.end()

    # --- settling --------------------------------------------------------------------------

    def live(self) -> list[Upstream]:
        """Return the calls that are open."""
        return [up for each in self.rig.providers.values() for up in each.calls if not up.over]

    def upstream(self, call: Call) -> Upstream:
        """Return a model's call as the script sees it."""
        calls = self.rig.providers[call.prov.name].calls
        found = [up for up in calls if up.spec.request_id == call.req.id and not up.over]
        assert len(found) == 1, f"{call.req.id} at {call.prov.name}: {len(found)} calls"
        return found[0]

    def still(self) -> bool:
        core, parts = self.rig.core, self.rig.engine._parts
        assert parts is not None
        runs = [ticket.run for ticket in core.tickets.values() if ticket.run is not None]
        starting = [run for run in runs if run.call is None or run.call.pending or run.stopped]
        ending = [up for up in self.live() if up.go.is_set()]
        return not (
            starting
            or ending
            or len(self.live()) != len(runs)
            or core.finishing
            or core.entering
            or parts.dispatcher._poked
        )

    async def until_still(self) -> None:
        """Wait for the engine to come to rest: soon, so that a fault is made small quickly."""
        end = time.monotonic() + REST_S
        while not self.still():
            assert time.monotonic() < end, f"no rest: {self.rig.left_over()}"
            await asyncio.sleep(0)

    async def rest(self) -> None:
        """Wait until all that follows from a step has happened, and compare."""
        for _ in range(3):
            await self.until_still()
            await self.rig.core.store.write()
            for _ in range(4):
                await asyncio.sleep(0)
        failed, model = self.hear(), self.model
        for request_id, name in self.journal:
            model.doom(failed)
            model.begun(request_id, name)
        self.journal.clear()
        model.doom(failed)
        model.at_rest()
        await self.compare()

    def hear(self) -> dict[str, ErrorKind]:
        """Count what was told since the last time; return what failed, and how."""
        failed: dict[str, ErrorKind] = {}
        for event in self.rig.seen[self.heard :]:
            if event.name in EVENTS:
                request_id = event.data["request_id"]
                self.told[request_id, EVENTS[event.name]] += 1
                if event.name == "completion:error":
                    failed[request_id] = ErrorKind(event.data["kind"])
        self.heard = len(self.rig.seen)
        return failed

    async def compare(self) -> None:
        model, rig = self.model, self.rig
        on_disk = await rig.core.store.states(list(model.reqs))
        states = {req.id: req.state for req in model.reqs.values()}
        found = {request_id: str(state) for request_id, state in on_disk.items()}
        assert found == states, [req for req in model.reqs.values() if found[req.id] != req.state]
        for req in model.reqs.values():
            told = {state: self.told[req.id, state] for state in FINAL}
            assert sum(told.values()) == req.ends, (req, told)
            assert req.state not in FINAL or told[req.state], (req, told)
            assert req.attempts <= req.max_attempts, req
        status = await rig.emit("completion:status")
        counts = Counter(states.values())
        assert {k: n for k, n in status["status_counts"].items() if n} == dict(counts)
        assert status["active_completions"] == len(model.running()) <= RULES.max_concurrency
        for prov in model.providers.values():
            self.compare_provider(prov, status["providers"]["providers"][prov.name])
        for session in {req.session for req in model.reqs.values()}:
            await self.compare_session(session)
        rig.engine.snapshot()

    def compare_provider(self, prov: Prov, found: dict[str, Any]) -> None:
        assert found["stats"]["in_flight"] == prov.in_flight, prov
        assert prov.in_flight <= prov.limit, prov
        circuit = found["circuit_breaker"]
        assert circuit["state"] == prov.circuit.state, prov
        if prov.circuit.state == "open":
            assert circuit["open_until"] == iso(T0 + prov.circuit.until), prov
        if prov.circuit.state == "closed":
            assert circuit["recent_failures"] == prov.circuit.failures, prov
        cooling = max((at for at in prov.cooling.values() if at > self.model.now), default=None)
        assert found["cooldown_until"] == (iso(T0 + cooling) if cooling else None), prov

    async def compare_session(self, session: str) -> None:
        found = await self.rig.emit("completion:session_status", session_id=session)
        lock = self.model.locks.get(session)
        told = found["session"]
        assert told["lock_holder"] == (lock.holder if lock else None), lock
        assert told["lock_expiry"] == (iso(T0 + lock.until) if lock else None), lock
        line = self.model.line(session)
        active = line[0].id if line and line[0].call else None
        assert told["active_request"] == active
        assert found["queue"]["queue_size"] == len(line) - (active is not None)
        rows = {row["request_id"]: row for row in found["completions"]}
        for index, req in enumerate(line):
            row = rows[req.id]
            assert row["status"] == req.state, req
            assert row["attempts"] == req.attempts, req
            cause = row["cause"]
            assert cause["kind"] in self.model.why(req), (cause, req)
            assert row["why"] == cause["text"]
            if cause["kind"] == "behind":
                assert cause["target"] == line[index - 1].id

    # --- steps -----------------------------------------------------------------------------

    async def submit(self, given: dict[str, Any], *, inject: bool) -> None:
        name = "completion:inject" if inject else "completion:async"
        sent = {k: v for k, v in given.items() if not (inject and k == "priority")}
        reply = await self.rig.emit(name, prompt="x", **sent)
        assert "code" not in reply, reply
        lock = given.get("conversation_lock")
        self.model.submit(
            Req(
                id=reply["request_id"],
                session=reply["session_id"],
                agent=given.get("agent_id"),
                priority="inject" if inject else given["priority"],
                place=self.model.next_place(),
                model=given["model"],
                max_attempts=given["max_attempts"],
                timeout_s=given["timeout_s"],
                hold_s=lock["timeout_s"] if lock else None,
                fails_on_lock=lock is not None and lock["on_conflict"] == "fail",
            )
        )
        await self.rest()

    async def answer(self, call: Call) -> None:
        self.upstream(call).go.set()
        self.model.answered(call)
        self.answered_calls += 1
        await self.rest()

    async def answer_and_cancel(self, call: Call, turns: int) -> None:
        """Cancel while the answer is on its way: one of them wins, and is what was replied."""
        self.rig.providers[call.prov.name].closes_at_once = True
        self.upstream(call).go.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        reply = await self.rig.emit("completion:cancel", request_id=call.req.id)
        if reply["status"] == "cancelled":
            self.model.cancel(call.req, closes=True)
        else:
            assert reply["status"] == "completed"
            assert not reply["cancelled"][0]["changed"]
            self.model.answered(call)
            self.answered_calls += 1
        await self.rest()

    async def fail(self, call: Call, fault: tuple[ErrorKind, int], after_s: int | None) -> None:
        kind, status = fault
        self.upstream(call).fail(kind, status=status or None, retry_after_s=after_s)
        self.model.failed(call, kind, status, after_s)
        await self.rest()

    async def say(self, call: Call) -> None:
        self.upstream(call).say("word ")
        call.idle_from = self.model.now
        await self.rest()

    def closes(self, call: Call | None) -> bool:
        """Whether a call that is stopped now is closed at once; one that is not is kept."""
        if call is None or self.rig.providers[call.prov.name].closes_at_once:
            return True
        self.late.append(self.upstream(call))
        return False

    async def cancel(self, *reqs: Req, session: str | None = None) -> None:
        ends = {req.id: req.state not in FINAL for req in reqs}
        closing = {req.id: self.closes(req.call) for req in reqs}
        if session is not None:
            reply = await self.rig.emit("completion:cancel", session_id=session)
        else:
            reply = await self.rig.emit("completion:cancel", request_id=reqs[0].id)
        told = {row["request_id"]: row["changed"] for row in reply["cancelled"]}
        assert told == ends
        for req in reqs:
            if ends[req.id]:
                self.model.cancel(req, closes=closing[req.id])
        await self.rest()

    async def retry(self, req: Req, *, in_place: bool, avoid: list[str]) -> None:
        given = {"request_id": req.id, "in_place": in_place, **({"avoid": avoid} if avoid else {})}
        left = [p for p in self.model.candidates(req) if p.name not in avoid]
        closes = self.closes(req.call) if avoid and left and req.state not in FINAL else True
        reply = await self.rig.emit("completion:retry", **given)
        if req.state in ("failed", "cancelled"):
            out = {*avoid, *(req.avoid if in_place else ())}
            serving = [p for p in self.model.providers.values() if req.model in p.models]
            fresh = [p for p in serving if p.name not in out]
            assert (reply.get("code") == "conflict") == (not fresh), reply
            if fresh:
                self.model.again(req, in_place=in_place, avoid=frozenset(out))
        elif req.state == "completed":
            assert reply["code"] == "conflict"
        elif avoid:
            assert (reply.get("code") == "conflict") == (not left), reply
            if left:
                self.model.elsewhere(req, avoid[0], closes=closes)
        elif req.state == "retrying":
            assert "code" not in reply, reply
            self.model.now_please(req)
        else:
            assert reply["code"] == "conflict"
        await self.rest()

    @property
    def can_pause(self) -> bool:
        return "queue:pause" in self.rig.engine._router.names

    async def pause(self, session: str, *, on: bool) -> None:
        given = {"scope": "session", "id": session} if session else {"scope": "engine"}
        reply = await self.rig.emit("queue:pause" if on else "queue:resume", **given)
        assert "code" not in reply, reply
        (self.model.pause if on else self.model.resume)(session)
        await self.rest()

    async def advance(self, seconds: int) -> None:
        """Let time pass, with a halt at every moment at which something happens by itself."""
        target = self.model.now + seconds
        while True:
            moments = [at for at in self.model.moments() if at <= target]
            at = moments[0] if moments else target
            self.model.tick(at - self.model.now)
            self.clock.now = T0 + at
            self.rig.core.poke()
            await self.rest()
            await self.clocks_that_are_over()
            if at == target:
                return

    async def clocks_that_are_over(self) -> None:
        """End the calls whose clock is over: the loop's own clock does not move with ours."""
        for req in self.model.running():
            call = req.call
            if call is None:
                continue  # ended by what followed from another
            at, kind = self.model.due(call)
            if at > self.model.now:
                continue
            run = self.rig.ticket(req.id).run
            live = run.call if run is not None else None
            assert live is not None
            assert live.timer is not None
            closes = self.closes(call)
            live.timer.reschedule(asyncio.get_running_loop().time())
            while live.pending is None:  # noqa: ASYNC110 - two turns of the loop
                await asyncio.sleep(0)
            self.model.failed(call, kind, 0, None)
            call.prov.in_flight += not closes
            await self.rest()

    async def close(self, up: Upstream) -> None:
        self.late.remove(up)
        up.close()
        self.model.providers[up.spec.provider].in_flight -= 1
        self.model._changed()
        await self.rest()

    async def restart(self, away_s: int, *, crash: bool) -> None:
        for session in sorted(self.model.pauses):
            await self.pause(session, on=False)
        if crash:
            await self.crash()
        else:
            await self.end()
            self.hear()  # one that was interrupted once too often failed
        self.clock.now += away_s
        self.late.clear()
        self.journal.clear()
        self.model.restart(away_s, crash=crash)
        await self.begin()
        await self.rest()

    # --- the end ---------------------------------------------------------------------------

    async def finish(self) -> None:
        """Let everything be answered, time pass, and look that nothing is left."""
        for each in self.rig.providers.values():
            each.closes_at_once = True
        for up in list(self.late):
            await self.close(up)
        for session in sorted(self.model.pauses):
            await self.pause(session, on=False)
        for _ in range(200):
            while running_now := self.model.running():
                call = running_now[0].call
                assert call is not None
                await self.answer(call)
            if not self.model.unfinished():
                break
            await self.advance(max(1, self.model.moments()[0] - self.model.now))
        assert not self.model.unfinished()
        assert self.rig.left_over() == {}
        await self.books()
        counts = dict(self.rig.core.counts)
        await self.end()
        await self.begin()
        assert dict(self.rig.core.counts) == counts
        assert self.rig.left_over() == {}
        await self.end()

    async def books(self) -> None:
        """The sums are the sums of what is booked, and every answer is booked once."""
        total = answered = 0
        for request_id in self.model.reqs:
            status = await self.rig.status(request_id)
            calls = [call for attempt in status["attempts"] for call in attempt["calls"]]
            answered += sum(call["outcome"] == "answered" for call in calls)
            spent: list[int] = [
                sum(n for n in call["usage"].values() if n is not True)
                for call in calls
                if call["usage"]
            ]
            total += sum(spent)
        usage = (await self.rig.emit("completion:token_usage"))["usage"]
        assert (usage["total_tokens"], usage["request_count"]) == (total, answered), usage
        assert answered == self.answered_calls
        assert total >= answered * USED.total
