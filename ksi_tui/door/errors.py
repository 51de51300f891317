"""What can go wrong with the door."""

from __future__ import annotations

from ksi_tui.engine.errors import KsiError


class DoorError(KsiError):
    """The door cannot open: a dashboard's engine runs on without it, a service ends."""
