"""The groups of `completion:token_usage`: what each agent, model or hour has used and wasted.

Choice and wording only: the sums are the store's, the words for them are `usage_report`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from ksi_tui.engine.clock import iso
from ksi_tui.engine.errors import InvalidRequest
from ksi_tui.engine.payloads import TokenUsage
from ksi_tui.engine.store.base import Reader
from ksi_tui.engine.store.records import UsageTotals
from ksi_tui.engine.store.usage import HOURS_KEPT_S, MINUTES_KEPT_S
from ksi_tui.engine.usage_report import sums_reply, usage_query, waste_reply

_TIMES: Final[Mapping[str, tuple[int, int]]] = {
    "minute": (60, MINUTES_KEPT_S),
    "hour": (3600, HOURS_KEPT_S),
}
"""The bucket of a group of time, and how far back it is kept (seconds)."""
GROUPS: Final = 100
"""How many groups an answer has where nobody says."""


async def usage_groups(store: Reader, data: TokenUsage, now: float) -> list[dict[str, Any]]:
    """Return the groups: names with the most tokens first, times with the newest first.

    Raises InvalidRequest for sessions of a time: their sums are kept over all of it only.
    """
    by, limit, query = data.by or "", data.limit or GROUPS, usage_query(data, now)
    if by == "session" and data.hours is not None:
        raise InvalidRequest(
            "completion:token_usage: by session takes no hours, since a session's sums are kept "
            "over its whole life; leave hours out, or choose another by"
        )
    if by in _TIMES:
        bucket_s, kept_s = _TIMES[by]
        since = max(query.since or 0.0, now - kept_s)
        found = await store.usage(replace(query, since=since, bucket_s=bucket_s, newest=limit))
        return [_group(by, iso(float(at)), sums) for at, sums in found]
    if by == "day":
        found = await store.usage(replace(query, by="day", newest=limit))
        return [_group(by, day, sums) for day, sums in found]
    found = await store.usage(replace(query, by=by, largest=limit))
    return [_group(by, name, sums) for name, sums in found]


def _group(by: str, name: str | None, totals: UsageTotals) -> dict[str, Any]:
    timed, streamed = totals.timed_calls, totals.ttft_calls
    return {
        by: name,
        "usage": sums_reply(totals),
        "waste": {**waste_reply(totals), "unpriced": totals.unpriced_waste},
        "errors": totals.failed_calls,
        "latency_ms": round(totals.latency_s * 1000 / timed, 1) if timed else None,
        "ttft_ms": round(totals.ttft_s * 1000 / streamed, 1) if streamed else None,
    }
