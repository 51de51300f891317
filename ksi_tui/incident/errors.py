"""What can be wrong with a bundle."""

from __future__ import annotations

from ksi_tui.engine.errors import KsiError


class BundleError(KsiError):
    """A bundle cannot be written or is none that can be read."""
