"""What a row of the overview stands for; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ksi_tui.screens.base import Target

if TYPE_CHECKING:
    from ksi_tui.client import Snapshot
    from ksi_tui.engine.views import AttentionView


def attention_of(snapshot: Snapshot, key: str | None) -> AttentionView | None:
    """Return the row of Attention that a key names, or None when it is gone."""
    return next((row for row in snapshot.attention if row.key == key), None)


def target_of(snapshot: Snapshot, pane: str, key: str | None) -> Target | None:
    """Return what the keys act on when the cursor of `pane` stands on `key`.

    What a row of Attention is about, an active request, the head of a session that waits,
    the session of a lock, or a provider. None when the row is gone.
    """
    if pane == "attention":
        row = attention_of(snapshot, key)
        named = row is not None and (row.request_id or row.session_id or row.provider)
        if row is not None and named:
            return Target(
                session_id=row.session_id, request_id=row.request_id, provider=row.provider
            )
    elif pane == "active":
        for view in snapshot.active:
            if view.request_id == key:
                provider = view.provider if view.phase.running else None
                return Target(
                    session_id=view.session_id, request_id=view.request_id, provider=provider
                )
    elif pane == "queues":
        for queued in snapshot.queues:
            if queued.session_id == key:
                return Target(session_id=queued.session_id, request_id=queued.head_id)
    elif pane == "locks" and key is not None:
        return Target(session_id=key)
    elif pane == "providers" and key is not None:
        return Target(provider=key)
    return None
