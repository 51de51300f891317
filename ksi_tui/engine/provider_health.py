"""How one provider has been doing: counts, latencies, rates.

Facts only. Whether a provider may be called is its circuit's to say; money is the
token tracker's. Pure: no clock, no I/O; O(1) a call and in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ksi_tui.engine.circuit_memory import number
from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.meter import Meter, Ring

SAMPLES = 256
"""Latencies that the percentiles speak of: the newest."""
MINUTES = 15
_KEPT_SAMPLES = 100
"""How many of them survive a restart; keeps a dump under 4 KB."""
_MESSAGE_LIMIT = 200
_RATE_SPAN_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """Milliseconds; None while nothing was measured."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LastError:
    """A provider's newest failure; `message` is raw text from outside."""

    at: float
    kind: ErrorKind
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthStats:
    """The numbers of `completion:provider_status`.

    `total_calls` includes neutral ones (cancelled, interrupted), which are neither successful
    nor failed; `success_rate` (0 to 1) leaves them out and is None without any other.
    `tokens_per_s` is the provider's rate of this moment over all its calls.
    """

    total_calls: int
    successful_calls: int
    failed_calls: int
    success_rate: float | None
    avg_latency_ms: float | None
    latency_ms: Percentiles
    ttft_ms: Percentiles
    tokens_per_s: float
    failures_by_kind: Mapping[ErrorKind, int]
    last_call: float | None
    last_error: LastError | None


class _Samples:
    """The newest values of one measure. Percentiles are computed when asked and then kept."""

    __slots__ = ("_cached", "_values")

    def __init__(self) -> None:
        self._values: deque[float] = deque(maxlen=SAMPLES)
        self._cached: Percentiles | None = Percentiles()

    def add(self, value: float) -> None:
        self._values.append(value)
        self._cached = None

    def percentiles(self) -> Percentiles:
        """Return the nearest-rank percentiles."""
        if self._cached is None:
            ordered = sorted(self._values)
            p50, p95, p99 = (ordered[-(-len(ordered) * p // 100) - 1] for p in (50, 95, 99))
            self._cached = Percentiles(p50=p50, p95=p95, p99=p99)
        return self._cached

    def dump(self) -> list[int]:
        return [round(value) for value in list(self._values)[-_KEPT_SAMPLES:]]

    def restore(self, values: Iterable[float]) -> None:
        for value in values:
            self.add(number(value))


class ProviderHealth:
    """One provider's statistics since they were last reset."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._total = self._ok = self._failed = 0
        self._by_kind: dict[ErrorKind, int] = {}
        self._latency_sum_ms = 0.0
        self._latency_count = 0
        self._latencies, self._ttfts = _Samples(), _Samples()
        self._ended, self._answered, self._broken = (Ring(MINUTES, 60) for _ in range(3))
        self._meter = Meter(_RATE_SPAN_S)
        self._last_call: float | None = None
        self._last_error: LastError | None = None

    def stream(self, tokens: int, now: float) -> None:
        """Count tokens that have just arrived."""
        self._meter.add(tokens, now)

    def record(
        self,
        *,
        now: float,
        ok: bool | None,
        latency_ms: float | None = None,
        ttft_ms: float | None = None,
        kind: ErrorKind | None = None,
        message: str | None = None,
        tokens: int = 0,
        streamed: int = 0,
    ) -> None:
        """Book the end of a call; `ok` None is neutral and counts in the total only.

        `tokens` is what it answered with, of which `streamed` were counted live already.
        """
        self._total += 1
        self._last_call = now
        self._ended.add(1, now)
        if tokens != streamed:
            self._meter.correct(tokens - streamed, start=now - (latency_ms or 0) / 1000, end=now)
        if ttft_ms is not None:
            self._ttfts.add(ttft_ms)
        if ok is None:
            return
        if ok:
            self._ok += 1
            self._answered.add(1, now)
        else:
            self._failed += 1
            self._broken.add(1, now)
            kind = kind or ErrorKind.TEMPORARY_FAILURE
            self._by_kind[kind] = self._by_kind.get(kind, 0) + 1
            self._last_error = LastError(
                at=now, kind=kind, message=(message or "")[:_MESSAGE_LIMIT]
            )
        # A time-out's patience counts: else a provider that hangs would look fast. Other
        # failures come at once and would make one that refuses look fast.
        if latency_ms is not None and (ok or kind is ErrorKind.TIMEOUT):
            self._latencies.add(latency_ms)
            self._latency_sum_ms += latency_ms
            self._latency_count += 1

    # --- reading ------------------------------------------------------------------------

    def stats(self, now: float) -> HealthStats:
        """Return the statistics as they are at `now`."""
        judged = self._ok + self._failed
        count = self._latency_count
        return HealthStats(
            total_calls=self._total,
            successful_calls=self._ok,
            failed_calls=self._failed,
            success_rate=self._ok / judged if judged else None,
            avg_latency_ms=self._latency_sum_ms / count if count else None,
            latency_ms=self._latencies.percentiles(),
            ttft_ms=self._ttfts.percentiles(),
            tokens_per_s=self._meter.rate(now),
            failures_by_kind=dict(self._by_kind),
            last_call=self._last_call,
            last_error=self._last_error,
        )

    @property
    def called(self) -> bool:
        """Whether any call was booked."""
        return self._total > 0

    def ok_rate(self, now: float, minutes: int = 5) -> float | None:
        """Return the share of the judged calls of the last `minutes` that answered, or None."""
        answered = sum(self._answered.recent(now, minutes))
        judged = answered + sum(self._broken.recent(now, minutes))
        return answered / judged if judged else None

    def per_minute(self, now: float) -> tuple[int, ...]:
        """Return the calls that ended in each of the last 15 minutes, oldest first."""
        return tuple(int(calls) for calls in self._ended.recent(now, MINUTES))

    # --- restart ------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """Return the statistics as plain JSON under 4 KB; of the latencies only the newest."""
        error = self._last_error
        return {
            "total": self._total,
            "ok": self._ok,
            "failed": self._failed,
            "by_kind": {kind.value: count for kind, count in self._by_kind.items()},
            "latency_sum_ms": round(self._latency_sum_ms),
            "latency_count": self._latency_count,
            "latencies": self._latencies.dump(),
            "ttfts": self._ttfts.dump(),
            "minutes": [ring.dump() for ring in (self._ended, self._answered, self._broken)],
            "last_call": self._last_call,
            "last_error": [error.at, error.kind.value, error.message] if error else None,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take what `dump` returned, in place of everything known.

        Raises LookupError, TypeError, ValueError or AttributeError on anything else, with
        only a part of it taken.
        """
        self.reset()
        self._total = int(state.get("total", 0))
        self._ok = int(state.get("ok", 0))
        self._failed = int(state.get("failed", 0))
        self._by_kind = {ErrorKind(k): int(n) for k, n in state.get("by_kind", {}).items()}
        self._latency_sum_ms = number(state.get("latency_sum_ms", 0))
        self._latency_count = int(state.get("latency_count", 0))
        self._latencies.restore(state.get("latencies", ()))
        self._ttfts.restore(state.get("ttfts", ()))
        rings = (self._ended, self._answered, self._broken)
        for ring, pairs in zip(rings, state.get("minutes", ()), strict=False):
            ring.restore((number(key), number(amount)) for key, amount in pairs)
        last_call = state.get("last_call")
        self._last_call = None if last_call is None else number(last_call)
        if error := state.get("last_error"):
            at, kind, message = error
            self._last_error = LastError(
                at=number(at), kind=ErrorKind(kind), message=str(message)[:_MESSAGE_LIMIT]
            )
