"""What the rows of a picture tell of a request where nothing more of it is at hand. Pure.

For clients that hold pictures of an engine and not the engine: a distant one, a bundle.
"""

from __future__ import annotations

from collections.abc import Iterable

from ksi_tui.engine.views import ActiveView, Live, Phase, Snapshot


def live_in_sight(request_id: str, rows: Iterable[ActiveView]) -> Live | None:
    """Return the row of a request as its live view, without text and chain.

    None where it has no row, or has ended.
    """
    view = next((each for each in rows if each.request_id == request_id), None)
    if view is None or view.phase in (Phase.COMPLETED, Phase.FAILED, Phase.CANCELLED):
        return None
    return Live(
        request_id=view.request_id,
        phase=view.phase,
        why=view.why,
        provider=view.provider,
        model=view.model,
        attempt=view.attempt,
        max_attempts=view.max_attempts,
        tokens=view.tokens,
        ttft_s=view.ttft_s,
        tokens_per_s=view.tokens_per_s,
        text="",
        text_length=0,
        if_nobody_acts=None,
    )


def why_in_sight(request_id: str, picture: Snapshot) -> str | None:
    """Return why a request waits as its row of Queues or Attention says, raw; None without one."""
    queues = (row.why for row in picture.queues if row.head_id == request_id)
    needs = (row.why for row in picture.attention if row.request_id == request_id)
    return next((why for why in (*queues, *needs) if why), None)
