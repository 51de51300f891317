"""What becomes of unfinished work when the dashboard is left."""

from __future__ import annotations

from dataclasses import dataclass

from ksi_tui.client import EngineClient, SnapshotQuery
from ksi_tui.engine.views import Phase
from ksi_tui.screens.host import Asker, ask, refusal

_NOTHING = SnapshotQuery(active_limit=0, queue_limit=0, lock_limit=0, trend_points=1)
_EVERYTHING = SnapshotQuery(active_limit=10**6, queue_limit=10**6, lock_limit=0, trend_points=1)
_DRAIN_S = 24 * 3600.0
_ROUNDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is unfinished: requests at providers, in backoff and queued; `others` look on."""

    running: int
    retrying: int
    queued: int
    others: tuple[str, ...] = ()


def in_flight(client: EngineClient | None) -> Work | None:
    """Return what is unfinished, or None when nothing is."""
    if client is None:
        return None
    seen = client.snapshot(_NOTHING)
    totals = seen.totals
    if not (totals.active or totals.retrying or totals.queued):
        return None
    return Work(
        running=totals.active,
        retrying=totals.retrying,
        queued=totals.queued,
        others=seen.attached,
    )


async def end_work(host: Asker, answer: str) -> str | None:
    """Do what was chosen; return why it was not done, or None when the dashboard may leave."""
    if answer == "cancel":
        return await _cancel_all(host)
    grace_s = _DRAIN_S if answer == "drain" else 0.0
    reply = await ask(host, "system:shutdown", grace_s=grace_s)
    return str(reply["error"]) if "error" in reply else None


async def _cancel_all(host: Asker) -> str | None:
    for _ in range(_ROUNDS):
        if host.client is None or in_flight(host.client) is None:
            return None
        seen = host.client.snapshot(_EVERYTHING)
        sessions = {view.session_id for view in seen.queues}
        sessions |= {
            view.session_id
            for view in seen.active
            if view.phase.running or view.phase is Phase.RETRYING
        }
        for session_id in sorted(sessions):
            reply = await ask(
                host,
                "completion:cancel",
                session_id=session_id,
                by=host.ui.operator,
                reason="dashboard quit: cancel all",
            )
            error = refusal(reply)
            if error is not None:
                return error
        if not sessions:
            return "nothing more could be cancelled"
    return "new requests kept coming; l leaves them for next time"
