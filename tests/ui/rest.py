"""Tells when an app under test has done all it can, from the loop itself and not from a clock.

Textual's pilot takes an app for idle once the process has used little CPU time over 20 ms. That
costs 40 ms a key, and on a busy machine it says "idle" to an app that merely did not get its
turn. The loop knows: nothing is ready to run. What is left then waits for time, a thread or a
peer, and a test waits for that by a condition.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sized
from typing import cast

_QUIET_TURNS = 3
"""So many turns of the loop in a row with nothing to run; each also looks at sockets and pipes."""
_MOST_TURNS = 5000
"""An app that never comes to rest, such as one over an engine under load, is left at that."""


async def at_rest(min_sleep: float = 0, max_sleep: float = 0) -> None:
    """Return when nothing in this loop is left that can run; the arguments are Textual's."""
    ready = cast(Sized, vars(asyncio.get_running_loop())["_ready"])
    quiet = 0
    for _ in range(_MOST_TURNS):
        await asyncio.sleep(0)
        quiet = 0 if len(ready) else quiet + 1
        if quiet == _QUIET_TURNS:
            return
