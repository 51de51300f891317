"""A terminal that does not know its size gets one: of 80 by 24.

A serial line and a container's first moments have none. Textual and rich each take a guess then,
and not the same one: the screen would be laid out anew for the one and the other without end,
and no key and no signal would ever get a turn.
"""

from __future__ import annotations

import os
import termios
from contextlib import suppress
from typing import Final

_LINES_AND_COLUMNS: Final = (24, 80)


def give_size(terminal: int) -> None:
    """Tell the terminal a size where it has none; whoever knows the true one may tell it later."""
    with suppress(OSError, termios.error):
        size = os.get_terminal_size(terminal)
        if not (size.columns and size.lines):
            termios.tcsetwinsize(terminal, _LINES_AND_COLUMNS)
