"""What an action is called where the engine is another process's: leaving it is detaching."""

from __future__ import annotations

from dataclasses import replace

from ksi_tui.actions import Action

_DETACH = ("detach", "Leave; the engine goes on with all of its work")


def worded(action: Action, *, attached: bool) -> Action:
    """Return an action as it is to be called; `attached`: the engine is another process's."""
    if not attached or action.id != "quit":
        return action
    label, tooltip = _DETACH
    return replace(action, label=label, tooltip=tooltip)
