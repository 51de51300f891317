"""Makes the snapshot that a screen reads ten times a second.

Its cost follows what is visible, not what is queued: rows are made for the asked
window only, and the order of sessions is worked out a slice at a time.
"""

from __future__ import annotations

from heapq import nsmallest
from itertools import chain, islice
from operator import attrgetter

from ksi_tui.engine.attention import Attention
from ksi_tui.engine.circuit_memory import CircuitState
from ksi_tui.engine.core import Core
from ksi_tui.engine.lane_order import LaneOrder
from ksi_tui.engine.lanes import Lane
from ksi_tui.engine.models import CauseKind, Lock, Pause, PauseScope, State
from ksi_tui.engine.pauses import paused
from ksi_tui.engine.provider_entry import Entry
from ksi_tui.engine.ticket import Ticket
from ksi_tui.engine.upkeep.response_writer import unfiled_count
from ksi_tui.engine.verdicts import Verdicts, forced
from ksi_tui.engine.views import (
    ActiveView,
    CircuitLook,
    HousekeepingView,
    Live,
    LockView,
    PauseView,
    Phase,
    ProviderView,
    QueueView,
    Snapshot,
    SnapshotQuery,
    Totals,
)
from ksi_tui.engine.why.causes import Causes, open_calls, seconds
from ksi_tui.engine.why.chain import Chains
from ksi_tui.engine.why.explain import Explanations
from ksi_tui.engine.why.lock_holder import Holders, Work
from ksi_tui.engine.why.outlook import Outlooks
from ksi_tui.engine.why.survey import Freshness, Surveys

ENDED_SHOWN_S = 600.0
"""How long an ended request stays among the active ones."""

_WORST_FIRST = {Phase.NO_TOKEN: 0, Phase.FIRST_TOKEN: 1, Phase.RETRYING: 2}


class Snapshots:
    """Makes snapshots of a `Core`."""

    def __init__(self, core: Core, causes: Causes) -> None:
        self._core = core
        self._causes = causes
        self._chains = Chains(core, causes)
        self._outlooks = Outlooks(core, causes)
        self._surveys = Surveys(core, causes)
        self._verdicts = Verdicts(core, self._surveys)
        self._explain = Explanations(core, causes, self._surveys)
        self._attention = Attention(core, causes, self._surveys)
        self._holders, self._fresh = Holders(core), Freshness(core)
        self._order = LaneOrder(core.queue)

    def snapshot(self, query: SnapshotQuery) -> Snapshot:
        """Return the engine as it is now, as far as `query` asks for it."""
        now = self._core.clock()
        active, active_total = self._active(query, now)
        lanes = self._order.lanes(now)
        window = lanes[query.queue_offset : query.queue_offset + query.queue_limit]
        providers = tuple(self._provider(e, now) for e in self._core.providers.entries())
        locks = nsmallest(query.lock_limit, self._core.locks, key=attrgetter("expires_at"))
        pauses = self._core.pauses
        holders = self._holders.again(anew=self._fresh.over(now))
        attention, attention_total = self._attention.rows(
            query.attention_limit, now, query.looked_at
        )
        return Snapshot(
            at=now,
            verdict=self._verdicts.verdict(now),
            totals=self._totals(now),
            simulated_only=self._core.providers.simulated_only,
            active=active,
            active_total=active_total,
            queues=tuple(self._queue(lane, now) for lane in window if lane.head is not None),
            queues_total=len(lanes),
            providers=providers,
            locks=tuple(self._lock(lock, holders, now) for lock in locks),
            locks_total=len(self._core.locks),
            pauses=tuple(self._pause(p, now) for p in islice(pauses, query.pause_limit)),
            pauses_total=len(pauses),
            tokens=self._core.tokens.view(now, query.trend_points),
            live=self._live(query, now),
            attention=attention,
            attention_total=attention_total,
            notices=self._notices(),
            housekeeping=self._housekeeping(),
            call_totals=self._core.tokens.calls.views() if query.call_totals else (),
        )

    def _notices(self) -> tuple[str, ...]:
        faults = (self._core.store.fault, self._core.upkeep.response_fault)
        return tuple(fault for fault in faults if fault is not None)

    def _housekeeping(self) -> HousekeepingView:
        upkeep = self._core.upkeep
        return HousekeepingView(
            last_cleanup_at=upkeep.last_cleanup_at,
            removed_requests=upkeep.removed_requests,
            removed_sessions=upkeep.removed_sessions,
            unfiled=unfiled_count(self._core),
            response_fault=upkeep.response_fault,
        )

    # --- requests ----------------------------------------------------------------------------

    def _active(self, query: SnapshotQuery, now: float) -> tuple[tuple[ActiveView, ...], int]:
        """Return running ones worst first, then those in backoff, then what ended a moment ago."""
        core = self._core
        if query.provider is not None:
            return self._called(query, query.provider, now)
        views = [
            self._active_view(lane.running, now)
            for lane in core.queue.running_lanes()
            if lane.running is not None and not lane.running.state.final
        ]
        running = len(views)
        retrying = core.queue.begun_heads(query.active_offset + query.active_limit)
        views += [self._active_view(t, now) for t in retrying if t.state is State.RETRYING]
        more = max(0, core.counts[State.RETRYING] - (len(views) - running))
        views.sort(key=lambda view: (_WORST_FIRST.get(view.phase, 3), -view.age_s))
        ended = [e.view for e in core.recently_ended() if now - e.at < ENDED_SHOWN_S]
        total = len(views) + more + len(ended)
        both = chain(views, ended)
        shown = list(both)[query.active_offset : query.active_offset + query.active_limit]
        return tuple(shown), total

    def _called(
        self, query: SnapshotQuery, provider: str, now: float
    ) -> tuple[tuple[ActiveView, ...], int]:
        """Return the requests that one provider is called for, the worst first."""
        tickets = [call.run.ticket for call in open_calls(self._core, provider)]
        views = [self._active_view(ticket, now) for ticket in tickets]
        views.sort(key=lambda view: (_WORST_FIRST.get(view.phase, 3), -view.age_s))
        end = query.active_offset + query.active_limit
        return tuple(views[query.active_offset : end]), len(views)

    def _active_view(self, ticket: Ticket, now: float) -> ActiveView:
        run = ticket.run
        call = run.call if run is not None else None
        phase = self._causes.phase(ticket, now)
        plain = phase is Phase.STREAMING  # all is well: nothing to say
        return ActiveView(
            request_id=ticket.request_id,
            session_id=ticket.session_id,
            agent_id=ticket.agent_id,
            asked_model=ticket.route.model,
            model=call.model if call else ticket.route.model,
            provider=call.entry.name if call else None,
            phase=phase,
            age_s=now - (call.started_at if call else ticket.queued_at),
            ttft_s=call.ttft_ms / 1000 if call and call.ttft_ms is not None else None,
            tokens=call.tokens if call else 0,
            tokens_per_s=_pace(ticket, now),
            attempt=ticket.attempts + 1 if run else ticket.attempts,
            max_attempts=ticket.max_attempts,
            why="" if plain else self._causes.cause(ticket, now).text,
        )

    def _live(self, query: SnapshotQuery, now: float) -> Live | None:
        request_id = query.request_id
        ticket = self._core.tickets.get(request_id) if request_id else None
        if ticket is None or request_id is None:
            return None
        view = self._active_view(ticket, now)
        call = ticket.run.call if ticket.run is not None else None
        text = call.text if call else ""
        outlook = self._outlooks.outlook(ticket, now)
        causes = self._chains.chain(ticket, now)
        final = ticket.state.final
        moves = () if final else self._outlooks.moves(causes, now)
        wanted = query.explain and not final
        explained = self._explain.of(causes, self._order.lanes(now), moves, now) if wanted else {}
        return Live(
            request_id=request_id,
            phase=view.phase,
            why=view.why,
            provider=view.provider,
            model=view.model,
            attempt=view.attempt,
            max_attempts=view.max_attempts,
            tokens=view.tokens,
            ttft_s=view.ttft_s,
            tokens_per_s=view.tokens_per_s,
            text=text,
            text_length=len(text),
            if_nobody_acts=None if final else outlook.text,
            outlook=None if final else outlook,
            chain=None if final else causes,
            moves=moves,
            **explained,
        )

    # --- sessions ----------------------------------------------------------------------------

    def _queue(self, lane: Lane, now: float) -> QueueView:
        head = lane.waiting[0]
        return QueueView(
            session_id=lane.session_id,
            depth=len(lane.waiting),
            oldest_s=now - head.queued_at,
            phase=self._causes.phase(head, now),
            head_id=head.request_id,
            why=self._causes.cause(head, now).text,
        )

    def _lock(self, lock: Lock, holders: Holders, now: float) -> LockView:
        lane = self._core.queue.lane(lock.session_id)
        waiting = len(lane.waiting) - lane.waits_of(lock.holder) if lane else 0
        doing, phase = self._holder_does(holders.work_of(lock), now)
        return LockView(
            session_id=lock.session_id,
            holder=lock.holder,
            left_s=max(0.0, lock.expires_at - now),
            extended=lock.extended,
            waiting=waiting,
            doing=doing,
            doing_phase=phase,
        )

    def _pause(self, pause: Pause, now: float) -> PauseView:
        queue = self._core.queue
        waiting = None
        if pause.scope is PauseScope.ENGINE:
            waiting = queue.waiting_count
        elif pause.scope is PauseScope.SESSION:
            waiting = queue.depth(pause.id or "")
        elif (found := self._surveys.at(now)).complete:
            waiting = found.held_by(CauseKind.PAUSE, pause.target)[0]
        return PauseView(
            scope=str(pause.scope),
            id=pause.id,
            by=pause.by,
            reason=pause.reason,
            since_s=max(0.0, now - pause.since),
            waiting=waiting,
        )

    def _holder_does(self, work: Work | None, now: float) -> tuple[str, Phase | None]:
        if work is not None and not work.ticket.state.final:
            phase = self._causes.phase(work.ticket, now)
            does = "runs" if work.ticket.run is not None else "waits"
            return f"{work.ticket.request_id} {does}", phase
        return "", None

    # --- providers ---------------------------------------------------------------------------

    def _provider(self, entry: Entry, now: float) -> ProviderView:
        stats, look = entry.health.stats(now), entry.circuit.look(now)
        cost, unpriced = self._core.tokens.cost_per_h(entry.name, now)
        cooling = max((u for u in entry.cooldowns.values() if u > now), default=None)
        shown = CircuitLook(str(look.state).replace("_", "-"))
        if shown is CircuitLook.CLOSED and cooling is not None:
            shown = CircuitLook.COOLING
        began = look.outage_since or look.since
        return ProviderView(
            name=entry.name,
            kind=entry.settings.kind,
            circuit=shown,
            since_s=now - began if began else None,
            ok_rate=entry.health.ok_rate(now),
            per_minute=entry.health.per_minute(now),
            p50_ms=stats.latency_ms.p50,
            p95_ms=stats.latency_ms.p95,
            ttft_ms=stats.ttft_ms.p50,
            tokens_per_s=stats.tokens_per_s,
            in_flight=entry.in_flight,
            max_concurrency=entry.settings.max_concurrency,
            cost_per_h=cost,
            unpriced=unpriced,
            now=self._provider_now(entry, cooling, now),
            forced=look.forced is not None,
            paused=self._core.pauses.provider(entry.name) is not None,
        )

    def _provider_now(self, entry: Entry, cooling: float | None, now: float) -> str:
        look, stats = entry.circuit.look(now), entry.health.stats(now)
        pause = self._core.pauses.provider(entry.name)
        if pause is not None:
            return paused(pause)
        if look.forced is not None:
            return forced(look, now)
        if look.state is CircuitState.OPEN:
            if look.open_until is None or look.open_until <= now:
                return f"open, next call is its probe; {self._waits(entry, now) or look.reason}"
            left = seconds(look.open_until - now)
            return f"probe in {left}; {self._waits(entry, now) or look.reason}"
        if look.state is CircuitState.HALF_OPEN:
            return "probing with one call"
        if cooling is not None:
            return f"429: called again in {seconds(cooling - now)}"
        if entry.full:
            waits = self._waits(entry, now)
            full = f"full: {entry.in_flight} of {entry.settings.max_concurrency}"
            return f"{full}; {waits}" if waits else full
        limited = entry.limit.obstacle(now) if entry.limit is not None else None
        if limited is not None:
            return f"{limited.text}; again in {seconds(limited.until - now)}"
        workers = self._core.providers.workers
        if workers.starting and entry.settings.kind == "litellm":
            return workers.text
        if stats.last_error is not None and now - stats.last_error.at < 60:
            return f"{seconds(now - stats.last_error.at)} ago: {stats.last_error.kind}"
        return self._verdicts.takes(entry.name, now)

    def _waits(self, entry: Entry, now: float) -> str:
        """Return how many requests wait for this provider, which cannot be called now."""
        requests, _ = self._surveys.at(now).of_provider.get(entry.name, (0, 0))
        return f"{requests} wait for it" if requests else ""

    # --- the whole ---------------------------------------------------------------------------

    def _totals(self, now: float) -> Totals:
        core = self._core
        ttfts = [e.health.stats(now).ttft_ms.p50 for e in core.providers.entries()]
        known = sorted(t for t in ttfts if t is not None)
        return Totals(
            active=core.queue.running_count,
            capacity=core.config.engine.max_concurrency,
            queued=core.counts[State.QUEUED],
            queued_sessions=core.queue.session_count,
            retrying=core.counts[State.RETRYING],
            failed_new=core.failed_new,
            ttft_p50_s=known[len(known) // 2] / 1000 if known else None,
            tokens_per_s=core.tokens.rate(now),
            cost_today=core.tokens.cost_today(now),
            unpriced_today=core.tokens.unpriced_today(now),
        )


def _pace(ticket: Ticket, now: float) -> float | None:
    """Return a running call's tokens per second since its first token."""
    call = ticket.run.call if ticket.run is not None else None
    if call is None or call.first_token_at is None or call.tokens == 0:
        return None
    return call.tokens / max(0.25, now - call.first_token_at)
