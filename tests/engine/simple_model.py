"""What the contract says of queue, locks, circuits, retries and cancels, as a plain model.

It runs nothing and waits for nothing: it is told what was done and which calls were begun,
says which of them were not allowed, and at rest what should have happened and has not. It
knows no part of the engine but the table of error kinds. Times are whole seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ksi_tui.engine.errors import POLICY, CircuitEffect, ErrorKind

FINAL = ("completed", "failed", "cancelled")
RANKS = ("critical", "high", "inject", "normal", "low", "background")
LEVELS = {"critical": 0, "high": 1, "inject": 2, "normal": 2, "low": 3, "background": 4}
NOT_WAITED_FOR = (ErrorKind.AUTH_ERROR, ErrorKind.QUOTA_EXCEEDED)


@dataclass(kw_only=True)
class Rules:
    """The settings that the model plays by."""

    max_concurrency: int
    max_cooldown_s: int
    backoff_s: tuple[int, ...]  # after the first, second … attempt; the last goes on
    call_clock_s: int  # first token and idle alike


@dataclass(kw_only=True)
class Breaker:
    """A circuit: closed, open until a time, or half-open with one probe at most."""

    fail_max: int
    reset_s: int
    longest_s: int
    failures: int = 0
    state: str = "closed"
    until: int = 0
    span_s: int = 0
    probe_out: bool = False
    epoch: int = 0
    kind: ErrorKind | None = None

    def admits(self, now: int) -> bool:
        if self.state == "open":
            return now >= self.until
        return self.state == "closed" or not self.probe_out

    def let_through(self) -> tuple[int, bool]:
        if self.state == "open":
            self._become("half_open")
        self.probe_out = self.state == "half_open"
        return self.epoch, self.probe_out

    def ended(
        self, permit: tuple[int, bool], effect: str, now: int, kind: ErrorKind | None
    ) -> None:
        if permit[0] != self.epoch:
            return  # it began before the last change of state
        if effect == "success":
            self.failures = 0
            if self.state == "half_open":
                self._become("closed")
        elif effect == "neutral":
            if permit[1]:
                self.probe_out = False
        else:
            self.failures += 1
            if effect == "opens" or self.state == "half_open" or self.failures >= self.fail_max:
                again = self.state == "half_open"
                self.span_s = min(2 * self.span_s, self.longest_s) if again else self.reset_s
                self.until, self.kind = now + self.span_s, kind
                self._become("open")

    def _become(self, state: str) -> None:
        self.state, self.probe_out, self.epoch = state, False, self.epoch + 1


@dataclass(kw_only=True)
class Prov:
    """A provider; `models` are those it serves."""

    name: str
    priority: int
    limit: int
    models: tuple[str, ...]
    circuit: Breaker
    in_flight: int = 0
    cooling: dict[str, int] = field(default_factory=dict)

    def obstacle(self, model: str, now: int) -> str | None:
        if self.cooling.get(model, 0) > now:
            return "cooldown"
        if not self.circuit.admits(now):
            return "circuit"
        return "slot" if self.in_flight >= self.limit else None


@dataclass(kw_only=True)
class Req:
    """One accepted request."""

    id: str
    session: str
    agent: str | None
    priority: str
    place: int
    model: str
    max_attempts: int
    timeout_s: int
    hold_s: int | None = None  # of the lock that it takes
    fails_on_lock: bool = False
    state: str = "queued"
    begun: bool = False
    attempts: int = 0
    interruptions: int = 0
    retry_at: int | None = None
    spent_s: int = 0  # of its deadline
    kept_s: int = 0  # of that, what is on disk
    avoid: frozenset[str] = frozenset()
    left_out: frozenset[str] = frozenset()
    call: Call | None = None
    tried: list[tuple[str, ErrorKind, int | None]] = field(default_factory=list)
    skipped: bool = False  # somebody was only busy or sick in this walk
    error: ErrorKind | None = None
    ends: int = 0

    @property
    def order(self) -> tuple[bool, int, int]:
        return (not self.begun, RANKS.index(self.priority), self.place)


@dataclass(kw_only=True, eq=False)
class Call:
    """One call that was begun; `idle_from` is when its clock was last set."""

    req: Req
    prov: Prov
    permit: tuple[int, bool]
    idle_from: int


@dataclass(kw_only=True)
class Lock:
    """A conversation lock; `of` is the request that took it, None for one taken by hand."""

    holder: str
    until: int
    hold_s: int
    of: str | None


class Model:
    """The engine as the contract describes it."""

    def __init__(self, rules: Rules, providers: list[Prov]) -> None:
        self.rules = rules
        self.providers = {each.name: each for each in providers}
        self.now = 0
        self.reqs: dict[str, Req] = {}
        self.locks: dict[str, Lock] = {}
        self.pauses: set[str] = set()  # sessions, and "" for the whole engine
        self.ready_since: dict[str, int] = {}
        self.ready_before: dict[str, int] = {}  # as it was at the last rest
        self.places = 0

    # --- looking ---------------------------------------------------------------------------

    def unfinished(self, session: str | None = None) -> list[Req]:
        return [
            r for r in self.reqs.values() if r.state not in FINAL and session in (None, r.session)
        ]

    def running(self) -> list[Req]:
        return [r for r in self.reqs.values() if r.call is not None]

    def line(self, session: str) -> list[Req]:
        """Return a session's unfinished requests: what runs, then what waits in its order."""
        return sorted(self.unfinished(session), key=lambda r: (r.call is None, r.order))

    def heads(self) -> Iterator[Req]:
        """Yield those who are next in a session where nothing runs."""
        for session in {r.session for r in self.unfinished()}:
            head = self.line(session)[0]
            if head.call is None:
                yield head

    def locked_out(self, req: Req) -> bool:
        lock = self.locks.get(req.session)
        return lock is not None and lock.holder != req.agent and lock.until > self.now

    def held(self, req: Req) -> str | None:
        """Return what keeps a head waiting whoever could answer it."""
        return "pause" if "" in self.pauses else self.held_alone(req)

    def held_alone(self, req: Req) -> str | None:
        """Return what of the session's own keeps a head waiting: then it is not ready."""
        if req.session in self.pauses:
            return "pause"
        if self.locked_out(req) and not req.fails_on_lock:
            return "lock"
        return "backoff" if req.retry_at is not None and req.retry_at > self.now else None

    def candidates(self, req: Req) -> list[Prov]:
        out = req.avoid | req.left_out
        found = [p for p in self.providers.values() if req.model in p.models and p.name not in out]
        return sorted(found, key=lambda p: p.priority)

    def untried(self, req: Req) -> list[Prov]:
        """Return those candidates that this walk has not come to yet."""
        names = [p.name for p in self.candidates(req)]
        come_to = names.index(req.tried[-1][0]) + 1 if req.tried else 0
        return self.candidates(req)[come_to:]

    def callable(self, req: Req) -> list[Prov]:
        return [p for p in self.candidates(req) if p.obstacle(req.model, self.now) is None]

    def hopeless(self, req: Req) -> ErrorKind | None:
        """Return the kind with which a request fails since nobody will ever answer it."""
        sick = [p for p in self.candidates(req) if p.obstacle(req.model, self.now) is not None]
        waited_for = [
            p for p in sick if not (p.circuit.state == "open" and p.circuit.kind in NOT_WAITED_FOR)
        ]
        return sick[0].circuit.kind if sick and not self.callable(req) and not waited_for else None

    def doomed(self, req: Req) -> ErrorKind | None:
        """Return the kind with which a head fails at its dispatch, or None."""
        if self.held(req) is not None:
            return None
        hopeless = self.hopeless(req)
        if self.locked_out(req) and (self.callable(req) or hopeless):
            return ErrorKind.LOCK_DENIED
        return hopeless

    def key(self, req: Req) -> tuple[int, int]:
        since = self.ready_since[req.session]
        return (LEVELS[req.priority] - (self.now - since) // 60, since)

    def why(self, req: Req) -> tuple[str, ...]:
        """Return the kinds of cause that an unfinished request at rest may name."""
        line = self.line(req.session)
        if req.call is not None:
            return ("running", "no_token")
        if line[0] is not req:
            return ("behind",)
        if (held := self.held(req)) is not None:
            return (held,)
        full = len(self.running()) >= self.rules.max_concurrency
        if self.callable(req):
            return ("engine",) if full else ()
        if self.hopeless(req):
            return ("next",) if full else ()
        found = (p.obstacle(req.model, self.now) for p in self.candidates(req))
        return tuple(kind for kind in found if kind is not None)

    # --- what was done ---------------------------------------------------------------------

    def submit(self, req: Req) -> None:
        self.reqs[req.id] = req
        self._changed()

    def next_place(self) -> int:
        self.places += 1
        return self.places

    def begun(self, request_id: str, provider: str) -> None:
        """A call was begun: check that it was allowed, and note it."""
        req, prov = self.reqs[request_id], self.providers[provider]
        assert req.state not in FINAL, f"{req.id} is {req.state} and was called"
        assert req.call is None, f"{req.id} runs already"
        if not req.tried:
            self._may_begin(req)
        may = [p for p in self.untried(req) if p.obstacle(req.model, self.now) is None]
        assert may, f"{req.id}: nobody may be called, {provider} was"
        assert may[0] is prov, f"{req.id}: {provider} was called before {may[0].name}"
        req.skipped = req.skipped or self.untried(req)[0] is not prov
        if req.hold_s is not None and req.agent is not None and not req.tried:
            lock = self.locks.get(req.session)
            if lock is None or lock.until <= self.now:
                self.locks[req.session] = Lock(
                    holder=req.agent, until=self.now + req.hold_s, hold_s=req.hold_s, of=req.id
                )
        prov.in_flight += 1
        permit = prov.circuit.let_through()
        req.call = Call(req=req, prov=prov, permit=permit, idle_from=self.now)
        req.begun, req.retry_at = True, None
        if not req.tried:
            self._moved(req, "processing")
        self._changed()

    def _may_begin(self, req: Req) -> None:
        line = self.line(req.session)
        assert line[0] is req, f"{req.id} overtakes {line[0].id} in {req.session}"
        assert self.held(req) is None, f"{req.id} is held by a {self.held(req)}"
        assert not self.locked_out(req), f"{req.id} runs against the lock"
        assert len(self.running()) < self.rules.max_concurrency, "the engine is full"
        for other in self.heads():
            # One that became ready in this same step may have done so a moment later.
            before = self.ready_before.get(other.session) == self.ready_since.get(other.session)
            can = self.held(other) is None and self.callable(other) and not self.locked_out(other)
            assert not before or not can or self.key(req) <= self.key(other), (
                f"{other.id} {self.key(other)} was before {req.id} {self.key(req)}"
            )

    def answered(self, call: Call) -> None:
        self._call_over(call, "success", None)
        call.req.attempts += 1
        self._end(call.req, "completed", None)

    def failed(self, call: Call, kind: ErrorKind, status: int, after_s: int | None) -> bool:
        """A call failed. Return whether its walk goes on to somebody else."""
        req = call.req
        neutral = kind is ErrorKind.AUTH_ERROR and status == 403
        effect = CircuitEffect.NEUTRAL if neutral else POLICY[kind].circuit
        self._call_over(call, effect, kind)
        if POLICY[kind].cools_down and after_s:
            after_s = min(after_s, self.rules.max_cooldown_s)
            until = max(call.prov.cooling.get(req.model, 0), self.now + after_s)
            call.prov.cooling[req.model] = until
        req.tried.append((call.prov.name, kind, after_s))
        rest = self.untried(req)
        if POLICY[kind].fails_over and any(not p.obstacle(req.model, self.now) for p in rest):
            return True
        req.skipped = req.skipped or bool(rest)
        self._walk_over(req)
        return False

    def _walk_over(self, req: Req) -> None:
        """Nobody answered: again at once, again later, somebody else later, or failed."""
        tried, req.tried = req.tried, []
        skipped, req.skipped = req.skipped, False
        last = tried[-1][1]
        if POLICY[last].interruption:
            self._interrupted(req, "retrying")
            return
        left_s = req.timeout_s - req.spent_s
        again = [(k, after) for _, k, after in tried if POLICY[k].retried]
        if not again and skipped and all(POLICY[k].fails_over for _, k, _ in tried):
            before, req.left_out = req.left_out, req.left_out | {name for name, *_ in tried}
            if self.hopeless(req) is None:
                self._moved(req, "retrying")
                return
            req.left_out = before
        req.attempts += 1
        kind = again[-1][0] if again else last
        wait_s = self._backoff(req.attempts, again)
        if not again or req.attempts >= req.max_attempts or wait_s >= left_s:
            late = again and left_s <= 0
            self._end(req, "failed", ErrorKind.DEADLINE_EXCEEDED if late else kind)
            return
        req.retry_at = self.now + wait_s
        self._moved(req, "retrying")

    def _backoff(self, attempt: int, again: list[tuple[ErrorKind, int | None]]) -> int:
        steps = self.rules.backoff_s
        wait_s = steps[min(attempt, len(steps)) - 1]
        # A rate limit's pause is kept by its cooldown, so the earliest end of them counts.
        limits = [after or 0 for kind, after in again if POLICY[kind].cools_down]
        others = [after or 0 for kind, after in again if not POLICY[kind].cools_down]
        floor_s = max(others) if others else min(limits, default=0)
        return max(wait_s, floor_s)

    def _interrupted(self, req: Req, state: str) -> None:
        req.interruptions += 1
        req.tried, req.skipped = [], False
        self._moved(req, state)
        if req.interruptions >= 10:
            self._end(req, "failed", ErrorKind.WORKER_LOST)

    def _call_over(self, call: Call, effect: str, kind: ErrorKind | None) -> None:
        call.prov.circuit.ended(call.permit, effect, self.now, kind)
        call.prov.in_flight -= 1
        call.req.call = None
        self._changed()

    def stop(self, req: Req, *, closes: bool) -> None:
        """A running call was stopped; one that closes late keeps its slot until then."""
        if (call := req.call) is not None:
            self._call_over(call, "neutral", None)
            call.prov.in_flight += not closes
        req.tried, req.skipped = [], False

    def cancel(self, req: Req, *, closes: bool) -> None:
        self.stop(req, closes=closes)
        self._end(req, "cancelled", ErrorKind.CANCELLED)

    def elsewhere(self, req: Req, provider: str, *, closes: bool) -> None:
        ran = req.call is not None
        self.stop(req, closes=closes)
        req.avoid |= req.left_out | {provider}
        req.retry_at = None
        self._moved(req, "queued" if ran else req.state)

    def again(self, req: Req, *, in_place: bool, avoid: frozenset[str]) -> None:
        req.place = req.place if in_place else self.next_place()
        req.begun, req.error, req.retry_at = False, None, None
        req.attempts = req.interruptions = req.spent_s = 0
        req.avoid, req.left_out = avoid, frozenset()
        self._moved(req, "queued")

    def now_please(self, req: Req) -> None:
        req.retry_at = None
        self._moved(req, req.state)

    def doom(self, told: dict[str, ErrorKind]) -> None:
        """Note those heads that failed without a call, where that is what has to happen."""
        while len(self.running()) < self.rules.max_concurrency:
            ends = [r for r in self.heads() if r.id in told and self.doomed(r) is not None]
            if not ends:
                return
            kind = self.doomed(ends[0])
            assert told[ends[0].id] is kind, f"{ends[0].id}: {told[ends[0].id]}, not {kind}"
            self._end(ends[0], "failed", kind)

    def tick(self, seconds: int) -> None:
        """Let time pass, no further than to the next moment."""
        for req in self.unfinished():
            waits = req.call is None and self.held(req) in ("lock", "pause")
            req.spent_s += seconds if req.begun and not waits else 0
        self.now += seconds
        for session, lock in list(self.locks.items()):
            if lock.until <= self.now:
                of = self.reqs.get(lock.of or "")
                if of is not None and of.call is not None:
                    lock.until = self.now + lock.hold_s
                elif heir := self._heir(session, lock):
                    lock.until, lock.of = self.now + (heir.hold_s or 0), heir.id
                    lock.hold_s = heir.hold_s or 0
                else:
                    del self.locks[session]
        for req in self.unfinished():
            late = req.call is None and req.begun and req.spent_s >= req.timeout_s
            if late and self.held(req) not in ("lock", "pause"):
                self._end(req, "failed", ErrorKind.DEADLINE_EXCEEDED)
        self._changed()

    def _heir(self, session: str, lock: Lock) -> Req | None:
        """Return the holder's own request that runs and wants the lock that ended, if any."""
        for req in self.running():
            if req.session == session and req.agent == lock.holder and req.hold_s is not None:
                return req
        return None

    def due(self, call: Call) -> tuple[int, ErrorKind]:
        """Return when a call's clock ends it, and as what."""
        deadline = self.now + call.req.timeout_s - call.req.spent_s
        clock = call.idle_from + self.rules.call_clock_s
        if deadline <= clock:
            return deadline, ErrorKind.DEADLINE_EXCEEDED
        return clock, ErrorKind.TIMEOUT

    def moments(self) -> list[int]:
        """Return the times to come at which something happens by itself, sorted."""
        found = [lock.until for lock in self.locks.values()]
        for req in self.unfinished():
            found.append(req.retry_at or 0)
            if req.call is not None:
                found.append(self.due(req.call)[0])
            elif req.begun and self.held(req) not in ("lock", "pause"):
                found.append(self.now + req.timeout_s - req.spent_s)
        for prov in self.providers.values():
            found += [prov.circuit.until, *prov.cooling.values()]
        return sorted({at for at in found if at > self.now})

    def acquire(self, session: str, agent: str, hold_s: int) -> bool:
        lock = self.locks.get(session)
        if lock is not None and lock.holder != agent:
            return False
        until = max(lock.until if lock else 0, self.now + hold_s)
        self.locks[session] = Lock(holder=agent, until=until, hold_s=hold_s, of=None)
        self._changed()
        return True

    def release(self, session: str, agent: str | None) -> bool:
        """Free a lock: by its holder, or (None) by force."""
        lock = self.locks.get(session)
        if lock is None or agent not in (None, lock.holder):
            return False
        del self.locks[session]
        self._changed()
        return True

    def pause(self, session: str) -> None:
        """Begin nothing of a session, or ("") of any; what runs goes on."""
        self.pauses.add(session)
        self._changed()

    def resume(self, session: str) -> None:
        self.pauses.discard(session)
        self._changed()

    def restart(self, away_s: int, *, crash: bool) -> None:
        """The engine ends or dies and another takes over; deadlines stand still meanwhile.

        Nobody knows when an engine died: the deadlines' time since the last step is lost.
        """
        for req in self.unfinished():
            req.spent_s = req.kept_s if crash else req.spent_s
        self.now += away_s
        for req in self.running():
            self.stop(req, closes=True)
            req.interruptions += 1
            self._moved(req, "queued")
        for prov in self.providers.values():
            prov.in_flight = 0
            prov.circuit.probe_out = False
            prov.circuit.epoch += 1
        for req in list(self.unfinished()):
            req.left_out = frozenset()
            if req.interruptions >= 10:
                self._end(req, "failed", ErrorKind.DAEMON_RESTART)
        self.ready_since.clear()
        self.ready_before.clear()
        self.tick(0)

    # --- what follows ----------------------------------------------------------------------

    def _moved(self, req: Req, state: str) -> None:
        req.state, req.kept_s = state, req.spent_s
        self._changed()

    def _end(self, req: Req, state: str, kind: ErrorKind | None) -> None:
        assert req.state not in FINAL, f"{req.id} ends twice"
        req.state, req.error, req.retry_at, req.call = state, kind, None, None
        req.ends += 1
        lock = self.locks.get(req.session)
        if lock is not None and lock.of == req.id:
            del self.locks[req.session]
        self._changed()

    def _changed(self) -> None:
        """Note since when each session is ready."""
        ready = {r.session for r in self.heads() if self.held_alone(r) is None and not r.tried}
        self.ready_since = {s: self.ready_since.get(s, self.now) for s in ready}

    def at_rest(self) -> None:
        """Check that nothing could go on that does not."""
        self.ready_before = dict(self.ready_since)
        for req in self.unfinished():
            assert req.call or not req.tried, f"{req} should have gone on: {self.providers}"
            begun = [r for r in self.unfinished(req.session) if r.begun]
            assert len(begun) <= 1, f"{req.session}: {[r.id for r in begun]} have begun"
        if len(self.running()) >= self.rules.max_concurrency:
            return
        for head in self.heads():
            if self.held(head) is None:
                assert not self.callable(head), f"{head.id} could run and does not"
                assert self.doomed(head) is None, f"{head.id} should have failed"
