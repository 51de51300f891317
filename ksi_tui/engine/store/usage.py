"""Which tokens and dollars a call adds to which sums, and which sums answer a question.

Arithmetic only: no SQL, no connection. Each call is written into its minute, not folded
yet, and into its session; a fold (`folding`) adds what is not folded yet to minutes, hours
and days (UTC), so that a question reads few rows however long the history is. The rules for
one call are repeated as the view `usage_calls` in the schema, for the questions that only
single calls can answer; a property test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from ksi_tui.engine.models import CallRecord, Outcome, Usage
from ksi_tui.engine.store import usage_statements
from ksi_tui.engine.store.records import UsageTotals

MINUTE_S: Final = 60
HOUR_S: Final = 3600
DAY_S: Final = 86400
SPANS_S: Final = (DAY_S, HOUR_S, MINUTE_S)
FOREVER: Final = 10**8 * DAY_S
"""An epoch second after every call; a multiple of every span."""
MINUTES_KEPT_S: Final = 8 * DAY_S
"""How long sums by minute are kept; older times are told apart by whole hours."""
HOURS_KEPT_S: Final = 400 * DAY_S
"""How long sums by hour are kept; older times are told apart by whole days."""

Sums: TypeAlias = tuple[float, ...]
"""The 24 sums in the order of `usage_statements.SUMS`."""

_NO_USAGE: Final = Usage()
_BUCKETS: Final = ("input", "cache_read", "cache_write", "output", "reasoning")


def call_sums(call: CallRecord) -> Sums:
    """Return what one call adds."""
    usage = call.usage or _NO_USAGE
    cost = call.cost or 0.0
    answered = not call.waste
    waste: Sums = (0, 0.0, 0, 0.0)
    if not answered:
        waste = (usage.total, cost, 1, max(0.0, call.finished_at - call.started_at))
    return (
        int(answered),
        1,
        usage.input,
        usage.cache_read,
        usage.cache_write,
        usage.output,
        usage.reasoning,
        cost,
        int(call.unpriced),
        int(usage.estimated),
        *waste,
        int(call.mcp and answered),
        call.tool_schema_tokens,
        call.cache_savings or 0.0,
        int(call.cache_savings is None and usage.cache_read > 0),
        int(call.unpriced and call.waste),
        *_times(call),
    )


def _times(call: CallRecord) -> Sums:
    """Return what one call adds to failures, latencies and times to the first token.

    An answer that came in one piece has its first token at its end, and no time to it.
    """
    if call.waste:
        return (int(call.outcome is Outcome.FAILED), 0.0, 0, 0.0, 0)
    latency_s = max(0.0, call.finished_at - call.started_at)
    first = call.first_token_at
    if first is None or first >= call.finished_at:
        return (0, latency_s, 1, 0.0, 0)
    return (0, latency_s, 1, max(0.0, first - call.started_at), 1)


def totals(sums: Sequence[float]) -> UsageTotals:
    """Return sums in the order of `usage_statements.SUMS` as the value that a reader hands out."""
    requests, calls, *buckets, cost, unpriced, estimated = sums[:10]
    waste_tokens, waste_cost, waste_calls, waste_s = sums[10:14]
    mcp_requests, tool_schema_tokens, cache_savings, unpriced_savings, unpriced_waste = sums[14:19]
    failed_calls, latency_s, timed_calls, ttft_s, ttft_calls = sums[19:]
    tokens = [int(bucket) for bucket in buckets]
    return UsageTotals(
        usage=Usage(
            input=tokens[0],
            cache_read=tokens[1],
            cache_write=tokens[2],
            output=tokens[3],
            reasoning=tokens[4],
            estimated=estimated > 0,
        ),
        requests=int(requests),
        calls=int(calls),
        cost=cost,
        unpriced=int(unpriced),
        estimated=int(estimated),
        waste_tokens=int(waste_tokens),
        waste_cost=waste_cost,
        waste_calls=int(waste_calls),
        waste_s=waste_s,
        mcp_requests=int(mcp_requests),
        tool_schema_tokens=int(tool_schema_tokens),
        cache_savings=cache_savings,
        unpriced_savings=int(unpriced_savings),
        unpriced_waste=int(unpriced_waste),
        failed_calls=int(failed_calls),
        latency_s=latency_s,
        timed_calls=int(timed_calls),
        ttft_s=ttft_s,
        ttft_calls=int(ttft_calls),
    )


def less(whole: UsageTotals, parts: Iterable[UsageTotals]) -> UsageTotals:
    """Return what is left of sums without some of their parts."""
    left = _sums_of(whole)
    for part in parts:
        left = tuple(mine - theirs for mine, theirs in zip(left, _sums_of(part), strict=True))
    # A difference of sums of dollars leaves dust, which is no cost.
    return totals([max(0, round(number, 9)) for number in left])


def _sums_of(totals: UsageTotals) -> Sums:
    return tuple(
        getattr(totals.usage if name in _BUCKETS else totals, name)
        for name in usage_statements.SUMS
    )


class Gathered:
    """Sums of the calls of one transaction, so that each row of sums is written once in it."""

    def __init__(self) -> None:
        self._minutes: dict[tuple[object, ...], list[Sums]] = {}
        self._sessions: dict[tuple[object, ...], list[Sums]] = {}

    def add(self, call: CallRecord) -> None:
        """Take a call in."""
        sums = call_sums(call)
        who = (call.provider, call.model, call.agent_id or "")
        minute = int(call.finished_at // MINUTE_S) * MINUTE_S
        self._minutes.setdefault((minute, *who), []).append(sums)
        self._sessions.setdefault((call.session_id, *who), []).append(sums)

    def minute_rows(self) -> Iterator[tuple[object, ...]]:
        """Yield the rows to add to the sums by minute: the key's four columns, then the sums."""
        return _rows(self._minutes)

    def session_rows(self) -> Iterator[tuple[object, ...]]:
        """Yield the rows to add to the sums by session: the key's four columns, then the sums."""
        return _rows(self._sessions)


def _rows(gathered: dict[tuple[object, ...], list[Sums]]) -> Iterator[tuple[object, ...]]:
    for key, each in gathered.items():
        yield (*key, *(each[0] if len(each) == 1 else map(sum, zip(*each, strict=True))))


def whole(since: float | None, until: float | None, step_s: int) -> tuple[int, int]:
    """Return the time from `since` to `until`, widened to whole steps; None is without end."""
    low = 0 if since is None else int(since // step_s) * step_s
    high = FOREVER if until is None else -int(-until // step_s) * step_s
    return low, high


@dataclass(frozen=True, slots=True)
class Edges:
    """Since when the sums by hour and by minute are all kept; below, only coarser ones are.

    Epoch seconds: `hours_from` a multiple of a day, `minutes_from` of an hour.
    """

    hours_from: int = 0
    minutes_from: int = 0

    def widened(self, low: int, high: int) -> tuple[int, int]:
        """Return a time widened to what can be told apart where its ends are."""
        low -= low % self._step_s(low)
        step = self._step_s(high - 1)
        return low, -(-high // step) * step

    def _step_s(self, at: int) -> int:
        if at < self.hours_from:
            return DAY_S
        return HOUR_S if at < self.minutes_from else MINUTE_S

    def pieces(
        self, low: int, high: int, spans_s: Sequence[int] = SPANS_S
    ) -> list[tuple[int, int, int]]:
        """Cut a widened time into `(span_s, from, to)`, of rows that are kept there."""
        finest = min(spans_s)
        hours_from = self.hours_from if finest < DAY_S else low
        minutes_from = max(hours_from, self.minutes_from) if finest < HOUR_S else hours_from
        coarse = tuple(span for span in spans_s if span >= HOUR_S) or (HOUR_S,)
        return [
            *pieces(low, min(high, hours_from), (DAY_S,)),
            *pieces(max(low, hours_from), min(high, minutes_from), coarse),
            *pieces(max(low, minutes_from), high, spans_s),
        ]


def pieces(low: int, high: int, spans_s: Sequence[int] = SPANS_S) -> list[tuple[int, int, int]]:
    """Cut the time from `low` to `high` (whole minutes) into `(span_s, from, to)`.

    Days in the middle, hours and minutes at the edges: what is cut covers the time exactly
    once, with the fewest rows.
    """
    if low >= high or not spans_s:
        return []
    span, shorter = spans_s[0], spans_s[1:]
    first, last = -(-low // span) * span, high // span * span
    if first >= last:
        return pieces(low, high, shorter)
    return [(span, first, last), *pieces(low, first, shorter), *pieces(last, high, shorter)]


def span_for(bucket_s: int) -> int:
    """Return the longest span that fills buckets of `bucket_s`, or raise ValueError."""
    for span in SPANS_S:
        if bucket_s > 0 and bucket_s % span == 0:
            return span
    raise ValueError(f"a bucket of {bucket_s} s is not a number of whole minutes")


def answering(
    calls: Iterable[tuple[str, Usage | None, float | None]], completed: bool
) -> tuple[Usage | None, float | None]:
    """Return what a request is said to have used and cost.

    `calls` are (outcome, usage, cost). A completed one: its answering call
    (the others are waste, reported apart). Any other: all that is known of its calls. A cost
    is None as soon as one call that used something has no price.
    """
    chosen = list(calls)
    if completed:
        chosen = [call for call in chosen if call[0] == Outcome.ANSWERED][-1:]
    used = [(usage, cost) for _, usage, cost in chosen if usage is not None or cost is not None]
    usages = [usage for usage, _ in used if usage is not None]
    costs = [cost for _, cost in used if cost is not None]
    return (
        sum(usages, Usage()) if usages else None,
        sum(costs) if costs and len(costs) == len(used) else None,
    )
