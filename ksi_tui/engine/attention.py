"""What needs somebody's attention now, worst first: a query over the engine, not a log.

Nothing is remembered here: a row is there while what it tells of is so. Worked out at most
once a second, and never by walking the backlog: by routes, locks, pauses and what runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

from ksi_tui.engine.advice import LookedAt
from ksi_tui.engine.circuit_memory import CircuitState
from ksi_tui.engine.clock import time_of_day
from ksi_tui.engine.core import RECENT_ENDED, Core
from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.live_call import LiveCall
from ksi_tui.engine.models import CauseKind, Lock, PauseScope, State
from ksi_tui.engine.pauses import paused
from ksi_tui.engine.provider_entry import Entry
from ksi_tui.engine.recently_ended import Ended
from ksi_tui.engine.silence import TIMES_USUAL, silent, usual_gap
from ksi_tui.engine.ticket import Ticket
from ksi_tui.engine.verdicts import forced
from ksi_tui.engine.views import AttentionKind, AttentionView, CircuitLook, Phase
from ksi_tui.engine.why.causes import Causes, open_calls, seconds
from ksi_tui.engine.why.survey import Freshness, Surveys

LEAST_WAIT_S = 30.0
"""A shorter wait is nobody's business, however short the usual one is."""
MANY_EXTENSIONS = 2
"""A lock extended more often is one to look at."""
NEW_S = 600.0
"""How long a failure, or a lost worker that came back, is new."""
MOST_LOCKS = 500
MOST_BACKOFFS = 200
"""How many locks and backoffs are looked at."""
LEAST_MADE = 20
"""So many rows are made, should fewer be asked for at first."""

_Kind = AttentionKind


@dataclass(frozen=True, slots=True)
class _Row:
    """A row and its place: by `rank`, then by `weight`, the larger first.

    Of what there may be hundreds the view is made only where it is shown.
    """

    rank: int
    weight: float
    since: float | None
    view: AttentionView | Callable[[], AttentionView]

    @property
    def order(self) -> tuple[int, float]:
        return self.rank, -self.weight

    def made(self) -> AttentionView:
        return self.view() if callable(self.view) else self.view


class Attention:
    """Answers what needs attention."""

    def __init__(self, core: Core, causes: Causes, surveys: Surveys) -> None:
        self._core = core
        self._causes = causes
        self._surveys = surveys
        self._fresh = Freshness(core)
        self._made: list[tuple[float | None, AttentionView]] = []
        self._asked = self._total = 0
        self._looked_at = LookedAt()

    def rows(
        self, limit: int, now: float, looked_at: LookedAt
    ) -> tuple[tuple[AttentionView, ...], int]:
        """Return up to `limit` rows, worst first, and how many there are."""
        if self._fresh.over(now) or limit > self._asked or looked_at != self._looked_at:
            self._looked_at = looked_at
            rows = sorted(self._all(now), key=lambda row: row.order)
            self._asked, self._total = max(limit, LEAST_MADE), len(rows)
            self._made = [(row.since, row.made()) for row in rows[: self._asked]]
        shown = tuple(
            view if since is None else replace(view, for_s=max(0.0, now - since))
            for since, view in self._made[:limit]
        )
        return shown, self._total

    def _all(self, now: float) -> Iterator[_Row]:
        yield from self._faults()
        yield from self._circuits(now)
        yield from self._workers(now)
        quiet = [call for call in open_calls(self._core) if silent(call, now)]
        yield from (self._silent(call, now) for call in quiet)
        yield from self._crowds(now)
        yield from self._behind({call.run.ticket.session_id for call in quiet}, now)
        yield from self._backoffs(now)
        yield from self._locks(now)
        yield from self._failures(now)
        yield from self._pauses(now)

    # --- the engine itself -------------------------------------------------------------------

    def _faults(self) -> Iterator[_Row]:
        faults = (
            ("database", self._core.store.fault),
            ("response files", self._core.upkeep.response_fault),
        )
        for what, fault in faults:
            if fault is not None:
                view = _view(_Kind.FAULT, what, "fault", fault, action="events", label="what led")
                yield _Row(0, 0, None, view)

    def _workers(self, now: float) -> Iterator[_Row]:
        workers = self._core.providers.workers
        if workers.lost_at is None or now - workers.lost_at > NEW_S:
            return
        again = "starting again" if workers.starting else "a new one takes calls"
        view = _view(
            _Kind.WORKER,
            "provider worker",
            "lost",
            f"{workers.reason}; {again}",
            hits="its calls go again",
            action="events",
            label="what led",
        )
        yield _Row(2 if workers.starting else 8, 0, workers.lost_at, view)

    # --- providers ---------------------------------------------------------------------------

    def _circuits(self, now: float) -> Iterator[_Row]:
        waits = self._surveys.at(now).of_provider
        for entry in self._core.providers.entries():
            look = entry.circuit.look(now)
            requests, sessions = waits.get(entry.name, (0, 0))
            if look.state is CircuitState.CLOSED and look.forced is None:
                yield from self._cooling(entry, requests, sessions, now)
                continue
            shown = CircuitLook(str(look.state).replace("_", "-"))
            view = _view(
                _Kind.CIRCUIT,
                entry.name,
                str(shown) if look.forced is None else "forced",
                look.reason if look.forced is None else forced(look, now),
                look=shown,
                hits=_hits(requests, sessions),
                action="open",
                label="its circuit",
                provider=entry.name,
            )
            rank = 8 if shown is CircuitLook.CLOSED else 1
            yield _Row(rank, requests, look.outage_since or look.since, view)

    def _cooling(self, entry: Entry, requests: int, sessions: int, now: float) -> Iterator[_Row]:
        until = [(at, model) for model, at in entry.cooldowns.items() if at > now]
        if not until:
            return
        last, model = max(until)
        error = entry.health.stats(now).last_error
        limited = error is not None and error.kind is ErrorKind.API_RATE_LIMIT
        more = f" and {len(until) - 1} more" if len(until) > 1 else ""
        view = _view(
            _Kind.CIRCUIT,
            entry.name,
            "cooling",
            f"429 for {model}{more}: called again in {seconds(last - now)}",
            look=CircuitLook.COOLING,
            hits=_hits(requests, sessions),
            action="open",
            label="its circuit",
            provider=entry.name,
        )
        yield _Row(8, requests, error.at if limited and error else None, view)

    # --- what runs ---------------------------------------------------------------------------

    def _silent(self, call: LiveCall, now: float) -> _Row:
        begun = call.first_token_at is not None
        since = (call.last_token_at or now) if begun else call.started_at
        return _Row(4, now - since, since, partial(self._silent_view, call, since, now))

    def _silent_view(self, call: LiveCall, since: float, now: float) -> AttentionView:
        ticket, lane = call.run.ticket, self._core.queue.lane(call.run.ticket.session_id)
        behind = len(lane.waiting) if lane is not None else 0
        if call.first_token_at is None:
            phase = Phase.FIRST_TOKEN
            usual = call.entry.health.stats(now).ttft_ms.p50
            known = "" if usual is None else f", usual {usual / 1000:.1f} s"
            why = f"{call.entry.name} called at {time_of_day(since)}{known}"
        else:
            phase = Phase.NO_TOKEN
            gap = usual_gap(call)
            known = "" if gap is None else f", usual gap {gap:.1f} s"
            why = f"{call.entry.name} silent since {time_of_day(since)}{known}"
        return _view(
            _Kind.NO_TOKEN,
            ticket.request_id,
            str(phase),
            why,
            look=phase,
            hits=f"{behind + 1} req in {ticket.session_id}",
            action="elsewhere",
            label="send elsewhere",
            request_id=ticket.request_id,
            session_id=ticket.session_id,
            provider=call.entry.name,
        )

    # --- what waits --------------------------------------------------------------------------

    def _long(self, ticket: Ticket, now: float, *, begun: bool = False) -> bool:
        """Whether a request has waited longer than is usual of its model."""
        usual, model = self._core.usual, ticket.route.model
        known = usual.wait_s(model) or 0.0
        if begun:
            known += usual.answer_s(model) or 0.0
        return now - ticket.queued_at > max(LEAST_WAIT_S, TIMES_USUAL * known)

    def _wait(self, ticket: Ticket, hits: str, now: float, more: str = "") -> _Row:
        view = partial(self._wait_view, ticket, hits, now, more)
        return _Row(3, now - ticket.queued_at, ticket.queued_at, view)

    def _wait_view(self, ticket: Ticket, hits: str, now: float, more: str) -> AttentionView:
        phase = self._causes.phase(ticket, now)
        return _view(
            _Kind.WAIT,
            ticket.session_id,
            str(phase),
            self._causes.cause(ticket, now).text + more,
            look=phase,
            hits=hits,
            action="why",
            label="why",
            request_id=ticket.request_id,
            session_id=ticket.session_id,
        )

    def _crowds(self, now: float) -> Iterator[_Row]:
        """What waits for a slot, a limit or a worker: one row for all that waits for the same.

        What waits for a circuit, a cooldown or a pause stands in that one's row.
        """
        told = (CauseKind.CIRCUIT, CauseKind.COOLDOWN, CauseKind.PAUSE)
        longest: dict[tuple[CauseKind, str | None], Ticket] = {}
        hit: dict[tuple[CauseKind, str | None], tuple[int, int]] = {}
        for crowd in self._surveys.at(now).crowds:
            key = (crowd.cause.kind, crowd.cause.target)
            head = crowd.line.longest.head
            if crowd.cause.kind in told or head is None:
                continue
            requests, sessions = hit.get(key, (0, 0))
            hit[key] = (requests + crowd.line.requests, sessions + crowd.line.sessions)
            if key not in longest or head.queued_at < longest[key].queued_at:
                longest[key] = head
        for key, head in longest.items():
            if self._long(head, now):
                yield self._wait(head, _hits(*hit[key]), now)

    def _behind(self, told: set[str], now: float) -> Iterator[_Row]:
        """What waits behind a request that runs and is not silent."""
        for lane in self._core.queue.running_lanes():
            head = lane.head
            if head is not None and lane.session_id not in told and self._long(head, now):
                yield self._wait(head, _hits(len(lane.waiting)), now)

    def _backoffs(self, now: float) -> Iterator[_Row]:
        for ticket in self._core.queue.begun_heads(MOST_BACKOFFS):
            backoff = ticket.state is State.RETRYING and (ticket.retry_at or 0.0) > now
            if backoff and self._long(ticket, now, begun=True):
                cause = self._causes.cause(ticket, now)
                if cause.kind is CauseKind.BACKOFF:
                    depth = self._core.queue.depth(ticket.session_id)
                    yield self._wait(ticket, _hits(depth), now)

    def _locks(self, now: float) -> Iterator[_Row]:
        queue, pauses = self._core.queue, self._core.pauses
        for lock in islice(self._core.locks, MOST_LOCKS):
            lane = queue.lane(lock.session_id)
            head = lane.head if lane is not None and lane.running is None else None
            held = head is not None and head.agent_id != lock.holder
            often = lock.extended > MANY_EXTENSIONS
            extended = f", extended {lock.extended}x" if lock.extended else ""
            waiting = len(lane.waiting) - lane.waits_of(lock.holder) if lane is not None else 0
            if head is not None and held and (often or self._long(head, now)):
                if pauses.session(lock.session_id) is None:
                    hits = _hits(queue.depth(lock.session_id))
                    yield self._wait(head, hits, now, extended)
            elif often:
                yield self._lock(lock, waiting, extended, now)

    def _lock(self, lock: Lock, waiting: int, extended: str, now: float) -> _Row:
        left = seconds(lock.expires_at - now)
        view = _view(
            _Kind.LOCK,
            lock.session_id,
            "locked",
            f"held by {lock.holder}, {left} left{extended}",
            hits=_hits(waiting) or "nobody waits",
            action="open",
            label="the session",
            session_id=lock.session_id,
        )
        return _Row(7, waiting, lock.granted_at, view)

    # --- what ended, and what somebody stopped --------------------------------------------------

    def _failures(self, now: float) -> Iterator[_Row]:
        """New failures, one row an error kind; the newest of it is named."""
        recent = self._core.recent_failed
        kinds: dict[str, list[Ended]] = {}
        for each in recent:
            known = self._looked_at.has(each.request_id, each.at)
            if now - each.at < NEW_S and not known:
                kinds.setdefault(each.why.partition(":")[0], []).append(each)
        for failed in kinds.values():
            newest, many = failed[-1], len(failed) > 1
            bound = "≥ " if len(recent) == RECENT_ENDED and failed[0] is recent[0] else ""
            view = _view(
                _Kind.FAILURE,
                newest.request_id,
                str(Phase.FAILED),
                newest.why,
                look=Phase.FAILED,
                hits=bound + _hits(len(failed)),
                action="failed" if many else "retry",
                label="all failed" if many else "retry",
                request_id=newest.request_id,
                session_id=newest.ticket.session_id,
                key=f"failure:{newest.why.partition(':')[0]}",
            )
            yield _Row(5, len(failed), newest.at, view)

    def _pauses(self, now: float) -> Iterator[_Row]:
        core = self._core
        for pause in core.pauses:
            if pause.scope is PauseScope.ENGINE:
                held = core.queue.waiting_count
            elif pause.scope is PauseScope.SESSION:
                held = core.queue.depth(pause.id or "")
            else:
                held = self._surveys.at(now).held_by(CauseKind.PAUSE, pause.target)[0]
            view = _view(
                _Kind.PAUSE,
                pause.id or "engine",
                "paused",
                paused(pause).removeprefix("paused ").removeprefix("paused"),
                hits=_hits(held) or "nothing waits",
                action="pause",
                label="resume",
                session_id=pause.id if pause.scope is PauseScope.SESSION else None,
                provider=pause.id if pause.scope is PauseScope.PROVIDER else None,
                key=f"pause:{pause.target}",
            )
            yield _Row(1 if pause.scope is PauseScope.ENGINE else 6, held, pause.since, view)


def _view(
    kind: AttentionKind,
    what: str,
    state: str,
    why: str,
    *,
    look: Phase | CircuitLook | None = None,
    hits: str = "",
    action: str,
    label: str,
    request_id: str | None = None,
    session_id: str | None = None,
    provider: str | None = None,
    key: str | None = None,
) -> AttentionView:
    return AttentionView(
        kind=kind,
        what=what,
        look=look,
        state=state,
        for_s=None,
        why=why,
        hits=hits,
        action=action,
        action_label=label,
        request_id=request_id,
        session_id=session_id,
        provider=provider,
        key=key or f"{kind}:{what}",
    )


def _hits(requests: int, sessions: int = 0) -> str:
    """Return what is hit in numbers: `62 req, 23 sessions`; empty for nothing."""
    if not requests:
        return ""
    return f"{requests} req, {sessions} sessions" if sessions > 1 else f"{requests} req"
