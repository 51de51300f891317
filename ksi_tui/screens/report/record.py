"""A reply of `completion:request_status` as the rest of the family reads it: times, state, calls.

Nothing in here is worded. Times of a reply are ISO 8601 UTC, those returned epoch seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from ksi_tui.engine.views import Live, Phase

Report = Mapping[str, Any]
UNCONFIRMED_S = 5.0
"""A stopped call whose upstream is open for longer may still be billed."""
FINAL = {
    "completed": Phase.COMPLETED,
    "failed": Phase.FAILED,
    "cancelled": Phase.CANCELLED,
}
_WAITING = {"queued": Phase.QUEUED, "retrying": Phase.RETRYING, "processing": Phase.CONNECTING}


def moment(text: Any) -> float | None:
    """Return a reply's time as epoch seconds, None for none or a wrong one."""
    try:
        return datetime.fromisoformat(str(text)).timestamp() if text else None
    except ValueError:
        return None


def between(start: Any, end: Any) -> float | None:
    """Return the seconds from one time of a reply to another, None where one is missing."""
    began, ended = moment(start), moment(end)
    return None if began is None or ended is None else ended - began


def phase_of(report: Report, live: Live | None) -> Phase:
    """Return what the request is doing, the live view first."""
    status = str(report.get("status", ""))
    if status in FINAL and (live is None or not live.phase.running):
        closing = status == "cancelled" and any(call.get("closing") for call in calls_of(report))
        return Phase.CANCELLING if closing else FINAL[status]
    return live.phase if live else _WAITING.get(status, Phase.QUEUED)


def calls_of(report: Report) -> Iterator[Report]:
    """Yield every call of every attempt, oldest first."""
    for attempt in report.get("attempts") or ():
        yield from attempt.get("calls") or ()


def running_call(report: Report) -> Report | None:
    """Return the call that runs, or None."""
    return next((call for call in calls_of(report) if call.get("outcome") == "running"), None)


def closing_s(report: Report, at: float | None) -> float | None:
    """Return for how many seconds a stopped call's upstream has been open; None: none is."""
    ended = [moment(call.get("finished_at")) for call in calls_of(report) if call.get("closing")]
    since = [when for when in ended if when is not None]
    return max(0.0, at - min(since)) if since and at is not None else None


def unconfirmed(call: Report) -> bool:
    """Whether a call was stopped in mid-stream and nobody could confirm its end."""
    return (
        call.get("outcome") in ("cancelled", "sent_elsewhere")
        and not call.get("closing")
        and call.get("upstream_closed_ms") is None
        and bool(call.get("partial_text") or call.get("first_token_at"))
    )


def silence(report: Report, at: float | None) -> tuple[float, float, str] | None:
    """Return how long the running call has been silent, its limit in s, and the clock's name.

    None when nothing runs or no clock ends it.
    """
    call = running_call(report)
    if call is None or at is None:
        return None
    since = moment(call.get("last_token_at") or call.get("started_at"))
    ends = moment(call.get("clock_ends_at"))
    if since is None or ends is None or ends <= since:
        return None
    return max(0.0, at - since), ends - since, str(call.get("clock") or "")


def waiting_behind(report: Report) -> int:
    """Return how many requests of the session wait behind this one."""
    place = report.get("session_position") or {}
    return max(0, int(place.get("of") or 0) - int(place.get("at") or 0))
