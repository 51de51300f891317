"""A test double of the engine's door: shows what it is told to and records what is asked."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from ksi_tui.client import Snapshot, SnapshotQuery, Subscription
from ksi_tui.engine.events import Event, matches
from ksi_tui.engine.views import (
    ActiveView,
    CircuitLook,
    Level,
    Live,
    LockView,
    Phase,
    ProviderView,
    QueueView,
    TokenRow,
    TokenView,
    Totals,
    Verdict,
)

AT = 1795317164.4
"""03:12:44 UTC, the moment of the target pictures."""

Reply = dict[str, Any] | Callable[[Mapping[str, Any]], dict[str, Any]]


class ScriptedClient:
    """Answers `emit` from `replies`, `snapshot` from `now`, and hands out published events."""

    def __init__(self, now: Snapshot, replies: Mapping[str, Reply] | None = None) -> None:
        self.now = now
        self.replies: dict[str, Reply] = dict(replies or {})
        self.emitted: list[tuple[str, dict[str, Any]]] = []
        self.queries: list[SnapshotQuery] = []
        self.lives: dict[str, Live] = {}
        self.closed = False
        self._held: dict[str, asyncio.Event] = {}
        self._subscriptions: list[Subscription] = []
        self._seq = 0

    async def emit(self, name: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        self.emitted.append((name, dict(data or {})))
        reply = self.replies.get(name)
        if reply is None:
            return {"error": f"no reply scripted for {name}", "code": "invalid_request"}
        made = reply(data or {}) if callable(reply) else dict(reply)
        if name in self._held:
            await self._held[name].wait()
        return made

    def hold(self, name: str) -> asyncio.Event:
        """Hold replies back, made when they were asked for, until what is returned is set."""
        return self._held.setdefault(name, asyncio.Event())

    def sent(self, name: str) -> list[dict[str, Any]]:
        """What was emitted under a name."""
        return [data for emitted, data in self.emitted if emitted == name]

    def subscribe(self, pattern: str = "*") -> Subscription:
        subscription = Subscription(pattern, 1000, self._subscriptions.remove)
        self._subscriptions.append(subscription)
        return subscription

    def publish(self, name: str, **data: Any) -> None:
        """Hand an event to the subscribers."""
        self._seq += 1
        for subscription in self._subscriptions:
            if matches(subscription.pattern, name):
                subscription.push(Event(self._seq, name, data, AT))

    def snapshot(self, query: SnapshotQuery | None = None) -> Snapshot:
        query = query or SnapshotQuery()
        self.queries.append(query)
        first, queue_first = query.active_offset, query.queue_offset
        active, active_total = self.now.active, self.now.active_total or len(self.now.active)
        if query.provider is not None:
            active = tuple(v for v in active if v.provider == query.provider and v.phase.running)
            active_total = len(active)
        return dataclasses.replace(
            self.now,
            active=active[first : first + query.active_limit],
            active_total=active_total,
            queues=self.now.queues[queue_first : queue_first + query.queue_limit],
            queues_total=self.now.queues_total or len(self.now.queues),
            locks=self.now.locks[: query.lock_limit],
            locks_total=len(self.now.locks),
            live=self.lives.get(query.request_id or ""),
        )

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[ScriptedClient]:
        """The app's `connect`."""
        try:
            yield self
        finally:
            self.closed = True


def active(request_id: str, **changes: Any) -> ActiveView:
    """An active request; a streaming one unless told otherwise."""
    fields: dict[str, Any] = {
        "session_id": "acme-17",
        "agent_id": "a3",
        "asked_model": "claude-sonnet-4-5",
        "model": "claude-sonnet-4-5",
        "provider": "anthropic",
        "phase": Phase.STREAMING,
        "age_s": 2.4,
        "ttft_s": 0.7,
        "tokens": 58,
        "tokens_per_s": 34.0,
        "attempt": 1,
        "max_attempts": 3,
        "why": "",
    }
    return ActiveView(request_id=request_id, **(fields | changes))


def provider(name: str, **changes: Any) -> ProviderView:
    """A healthy provider unless told otherwise."""
    fields: dict[str, Any] = {
        "kind": "litellm",
        "circuit": CircuitLook.CLOSED,
        "since_s": 180000.0,
        "ok_rate": 1.0,
        "per_minute": (4, 4, 4, 4, 4, 4, 5, 4, 4, 4, 4, 5, 4, 4, 4),
        "p50_ms": 2200.0,
        "p95_ms": 3100.0,
        "ttft_ms": 200.0,
        "tokens_per_s": 704.0,
        "in_flight": 8,
        "max_concurrency": 8,
        "cost_per_h": None,
        "unpriced": True,
        "now": "full: 11 wait for a slot",
    }
    return ProviderView(name=name, **(fields | changes))


def queue(session_id: str, head_id: str, **changes: Any) -> QueueView:
    """A session that waits."""
    fields: dict[str, Any] = {
        "depth": 3,
        "oldest_s": 242.0,
        "phase": Phase.WAITING,
        "why": "lock held by a7, 0:41 left",
    }
    return QueueView(session_id=session_id, head_id=head_id, **(fields | changes))


def lock(session_id: str, holder: str, **changes: Any) -> LockView:
    """A conversation lock."""
    fields: dict[str, Any] = {
        "left_s": 41.0,
        "extended": 3,
        "waiting": 3,
        "doing": "r-77 waits",
        "doing_phase": Phase.WAITING,
    }
    return LockView(session_id=session_id, holder=holder, **(fields | changes))


def totals(**changes: Any) -> Totals:
    """The numbers of the second line; all quiet unless told otherwise."""
    fields: dict[str, Any] = {
        "active": 0,
        "capacity": 32,
        "queued": 0,
        "queued_sessions": 0,
        "retrying": 0,
        "failed_new": 0,
        "ttft_p50_s": None,
        "tokens_per_s": 0.0,
        "cost_today": 0.0,
        "unpriced_today": 0,
    }
    return Totals(**(fields | changes))


def trend() -> tuple[float, ...]:
    """A rate that dips in the middle, as on the target picture."""
    return tuple(
        1500 + 900 * abs((i % 48) - 24) / 24 - (1100 if 50 < i < 66 else 0) for i in range(96)
    )


def _working_long() -> tuple[ActiveView, ...]:
    """Those that have been at it for longer than usual, or look like it."""
    azure = {"provider": "azure-eu", "asked_model": "gpt-4o", "model": "gpt-4o"}
    return (
        active(
            "r-1042",
            session_id="globex-7",
            agent_id="a12",
            asked_model="gpt-4o",
            phase=Phase.NO_TOKEN,
            age_s=80,
            tokens=412,
            tokens_per_s=0.0,
            why="no token for 34 s",
        ),
        active(
            "r-0988",
            session_id="etl-nightly-eu-west-03",
            agent_id="etl",
            **azure,
            age_s=101,
            ttft_s=0.6,
            tokens=3100,
            tokens_per_s=31.0,
        ),
        active(
            "r-0991",
            session_id="initech-19",
            agent_id="a5",
            provider="azure-eu",
            asked_model="gpt-4o-mini",
            model="gpt-4o-mini",
            age_s=93,
            ttft_s=0.5,
            tokens=2800,
            tokens_per_s=30.0,
        ),
        active(
            "r-1061",
            session_id="hooli-3",
            agent_id="a9",
            asked_model="gpt-4o",
            phase=Phase.FIRST_TOKEN,
            age_s=2.9,
            ttft_s=None,
            tokens=0,
            tokens_per_s=None,
            why="usual 0.7 s, limit 30 s",
        ),
    )


def _working() -> tuple[ActiveView, ...]:
    """Those in which all is well."""
    return (
        active("r-1063"),
        active("r-1064", session_id="acme-18", age_s=2.2, ttft_s=0.6, tokens=51, tokens_per_s=32.0),
        active(
            "r-1066",
            session_id="scratch-op1",
            agent_id="op1",
            provider="local-vllm",
            asked_model="llama-3.3-70b",
            model="llama-3.3-70b",
            age_s=1.8,
            ttft_s=0.2,
            tokens=141,
            tokens_per_s=88.0,
        ),
        active(
            "r-1070",
            session_id="wayne-22",
            agent_id="a4",
            asked_model="gpt-4o-mini",
            model="claude-haiku-4-5",
            phase=Phase.CONNECTING,
            age_s=0.3,
            ttft_s=None,
            tokens=0,
            tokens_per_s=None,
            why="openai open: moved",
        ),
    )


def _queues() -> tuple[QueueView, ...]:
    """A session for every reason to wait."""
    return (
        queue("acme-42", "r-81"),
        queue("a7-main", "r-77", depth=1, oldest_s=238, why="openai open, probe in 0:48"),
        queue(
            "nightly-eval",
            "r-12",
            depth=118,
            oldest_s=7860,
            why='paused by op2: "budget until 06:00"',
        ),
        queue(
            "globex-7",
            "r-1047",
            depth=2,
            oldest_s=65,
            phase=Phase.QUEUED,
            why="behind r-1042 in its session",
        ),
        queue(
            "acme-51",
            "r-1009",
            depth=4,
            oldest_s=31,
            phase=Phase.RETRYING,
            why="backoff 12 s (api_rate_limit), 2/3",
        ),
        queue(
            "bench-eu",
            "r-1080",
            depth=11,
            oldest_s=22,
            phase=Phase.QUEUED,
            why="local-vllm at 8 of 8",
        ),
    )


def _providers() -> tuple[ProviderView, ...]:
    """One that is open, one that takes its work, one that cools, one that is full."""
    return (
        provider(
            "openai",
            circuit=CircuitLook.OPEN,
            since_s=252,
            ok_rate=0.41,
            per_minute=(9, 9, 9, 9, 9, 9, 9, 8, 6, 3, 1, 0, 0, 0, 0),
            p50_ms=8100,
            p95_ms=30000,
            ttft_ms=None,
            tokens_per_s=0.0,
            in_flight=0,
            max_concurrency=16,
            cost_per_h=0.0,
            unpriced=False,
            now="rejects; probe in 0:48; 62 wait for it",
        ),
        provider(
            "anthropic",
            since_s=532800,
            ok_rate=0.98,
            per_minute=(2, 2, 2, 2, 2, 2, 2, 3, 5, 7, 8, 9, 9, 9, 9),
            p50_ms=4200,
            p95_ms=11000,
            ttft_ms=700,
            tokens_per_s=1100.0,
            in_flight=21,
            max_concurrency=24,
            cost_per_h=2.95,
            unpriced=False,
            now="takes 71% of openai's; p50 was 3.3s",
        ),
        provider(
            "azure-eu",
            circuit=CircuitLook.COOLING,
            since_s=79,
            ok_rate=0.91,
            per_minute=(2, 2, 3, 2, 3, 3, 4, 5, 6, 7, 3, 3, 1, 1, 1),
            p50_ms=3900,
            p95_ms=9800,
            ttft_ms=600,
            tokens_per_s=96.0,
            in_flight=2,
            max_concurrency=16,
            cost_per_h=0.31,
            unpriced=False,
            now="429 with Retry-After: back in 0:09",
        ),
        provider("local-vllm"),
    )


def _locks() -> tuple[LockView, ...]:
    """Who holds which conversation."""
    return (
        lock("acme-42", "a7"),
        lock(
            "globex-7",
            "a12",
            left_s=252,
            extended=0,
            waiting=2,
            doing="r-1042 runs",
            doing_phase=Phase.STREAMING,
        ),
        lock(
            "hooli-3",
            "a9",
            left_s=297,
            extended=0,
            waiting=0,
            doing="r-1061 runs",
            doing_phase=Phase.FIRST_TOKEN,
        ),
    )


def _tokens() -> TokenView:
    """What the day has taken."""
    return TokenView(
        trend=trend(),
        step_s=10,
        rows=(
            TokenRow(
                provider="anthropic",
                input=1_800_000,
                output=402_000,
                cache_share=0.44,
                cost=21.07,
                unpriced=0,
                estimated=False,
            ),
            TokenRow(
                provider="openai",
                input=1_200_000,
                output=310_000,
                cache_share=0.12,
                cost=15.9,
                unpriced=0,
                estimated=False,
            ),
            TokenRow(
                provider="local-vllm",
                input=2_000_000,
                output=640_000,
                cache_share=None,
                cost=None,
                unpriced=4,
                estimated=True,
            ),
        ),
        waste_tokens=61_000,
        waste_share=0.031,
        waste_cost=1.27,
    )


def busy() -> Snapshot:
    """The story of the target pictures."""
    return Snapshot(
        at=AT,
        verdict=Verdict(
            level=Level.DEGRADED,
            cause="openai open 4m12s (timeout): 71% of it moved to anthropic, 29% waits, "
            "+$0.42/h, probe in 0:48",
        ),
        totals=totals(
            active=31,
            queued=214,
            queued_sessions=41,
            retrying=6,
            failed_new=3,
            ttft_p50_s=0.6,
            tokens_per_s=1900.0,
            cost_today=41.2,
            unpriced_today=4,
        ),
        active=(*_working_long(), *_working()),
        active_total=8,
        queues=_queues(),
        queues_total=6,
        providers=_providers(),
        locks=_locks(),
        tokens=_tokens(),
    )


def first_start() -> Snapshot:
    """A fresh engine without keys."""
    return Snapshot(
        at=AT,
        verdict=Verdict(level=Level.OK, cause="nothing waits longer than usual"),
        totals=totals(),
        simulated_only=True,
        providers=(
            provider(
                "simulated",
                kind="simulated",
                per_minute=(0,) * 15,
                p50_ms=None,
                p95_ms=None,
                ttft_ms=None,
                tokens_per_s=0.0,
                in_flight=0,
                max_concurrency=None,
                now="",
                unpriced=True,
            ),
        ),
        tokens=TokenView(
            trend=(0.0,) * 96, step_s=10, rows=(), waste_tokens=0, waste_share=None, waste_cost=None
        ),
    )
