"""Tells when an app under test has done all it can, from the loop itself and not from a clock.

Textual's pilot takes an app for idle once the process has used little CPU time over 20 ms. That
costs 40 ms a key, and on a busy machine it says "idle" to an app that merely did not get its
turn. The loop knows: nothing is ready to run. What is left then waits for time, a thread or a
peer, and a test waits for that by a condition.

Before it looks, the pilot also sends every widget a message and waits until all have had theirs:
half of all messages of a test. Only one that has something to do can keep it waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sized
from typing import Any, cast

from textual._queue import Queue
from textual.app import ScreenStackError
from textual.message import Message
from textual.message_pump import MessagePump
from textual.pilot import Pilot

_QUIET_TURNS = 3
"""So many turns of the loop in a row with nothing to run; each also looks at sockets and pipes."""
_MOST_TURNS = 5000
"""An app that never comes to rest, such as one over an engine under load, is left at that."""

Wait = Callable[..., Awaitable[bool]]


async def at_rest(min_sleep: float = 0, max_sleep: float = 0) -> None:
    """Return when nothing in this loop is left that can run; the arguments are Textual's."""
    ready = cast(Sized, vars(asyncio.get_running_loop())["_ready"])
    quiet = 0
    for _ in range(_MOST_TURNS):
        await asyncio.sleep(0)
        quiet = 0 if len(ready) else quiet + 1
        if quiet == _QUIET_TURNS:
            return


def waiting_for_the_busy(wait: Wait) -> Wait:
    """Wrap `Pilot._wait_for_screen`: it asks nobody where nobody has anything to do."""

    async def wait_for_screen(pilot: Pilot[Any], timeout: float = 30.0) -> bool:
        try:
            screen = pilot.app.screen
        except ScreenStackError:
            return False
        if all(map(_waits, (pilot.app, *screen.walk_children(with_self=True)))):
            return True
        return await wait(pilot, timeout)

    return wait_for_screen


def _waits(pump: MessagePump) -> bool:
    """Whether a widget's task stands at its empty queue."""
    queue: Queue[Message | None] = pump._message_queue
    return queue.empty() and pump._pending_message is None and bool(queue.ready_event._waiters)
