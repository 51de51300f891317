"""What a row of the overview stands for; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ksi_tui.screens.base import Target

if TYPE_CHECKING:
    from ksi_tui.client import Snapshot


def target_of(snapshot: Snapshot, pane: str, key: str | None) -> Target | None:
    """Return what the keys act on when the cursor of `pane` stands on `key`.

    An active request, the head of a session that waits, the session of a lock, or a
    provider. None when the row is gone.
    """
    if pane == "active":
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
