"""When a stream that gives no token is one to look at.

A pure rule; what a row about such a stream says is `attention`'s.
"""

from __future__ import annotations

from ksi_tui.engine.live_call import LiveCall
from ksi_tui.engine.why.causes import SILENT_S

TIMES_USUAL = 3
"""So many times its model's usual wait makes a wait one to look at (contract section 11)."""


def silent(call: LiveCall, now: float) -> bool:
    """Whether a stream gives no token for long: not the next, nor its first in unusual time."""
    if call.run.stopped is not None or not call.stream:
        return False
    if call.first_token_at is not None:
        return now - (call.last_token_at or now) >= SILENT_S
    waits_s = now - call.started_at
    if waits_s < SILENT_S:
        return False
    usual_ms = call.entry.health.stats(now).ttft_ms.p50
    return usual_ms is None or waits_s > TIMES_USUAL * usual_ms / 1000


def usual_gap(call: LiveCall) -> float | None:
    """Return the seconds between two tokens of this call before it fell silent."""
    if call.tokens < 2 or call.first_token_at is None or call.last_token_at is None:
        return None
    return (call.last_token_at - call.first_token_at) / (call.tokens - 1)
