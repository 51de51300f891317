"""Whether this process is a dashboard in somebody's browser: its output is packets, no terminal.

Leaf module; it is asked before the first frame.
"""

from __future__ import annotations

import os
from typing import Final

DRIVER: Final = "ksi_tui.widgets.browser_driver:BrowserDriver"
"""What Textual is told to paint by, as `TEXTUAL_DRIVER`."""


def in_browser() -> bool:
    """Return whether the dashboard of this process is shown in a browser."""
    return os.environ.get("TEXTUAL_DRIVER") == DRIVER
