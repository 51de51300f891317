"""Sends events to a distant engine, and says in the engine's own words when that failed.

A request is given its id before it is sent: of all that acts it alone may be sent twice, since
the second time the engine answers that it knows it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine, Mapping
from typing import Any, Final

from ksi_tui.remote.errors import Broken, LineFault, NotSent
from ksi_tui.remote.link import FIRST_TRY_S, LAST_TRY_S, Link
from ksi_tui.remote.wire import Wire

Data = Mapping[str, Any]
Reply = dict[str, Any]

REQUESTS: Final = frozenset({"completion:async", "completion:inject"})
"""Events that name what they make, and are known again by that name."""
LAST_WORD_S: Final = 1.0
"""So long an answer may still come once the line is lost, in seconds."""
BACK_S: Final = 15.0
"""So long a request that was cut off waits for the line, to be sent once more."""


def new_request_id() -> str:
    """Return a name for a request that nothing has yet."""
    return f"c-{secrets.token_hex(6)}"


async def asked(wire: Wire, link: Link, name: str, data: Data | None) -> Reply:
    """Send an event and return its reply; where that failed, a refusal that says what is known.

    A request is sent once more after a break, under the id that it had.
    """
    given = dict(data or {})
    named_here = name in REQUESTS and given.get("request_id") is None
    if named_here:
        given["request_id"] = new_request_id()
    try:
        return await _answered(wire.post(name, given), link)
    except NotSent as error:
        return _not_ready(f"{name} was not done: {error}")
    except LineFault as error:
        fault = error
    if name not in REQUESTS:
        return _not_ready(f"{name} may have been done: {fault}; look before you send it again")
    try:
        async with asyncio.timeout(BACK_S):
            return _as_first(await _once_more(wire, link, name, given), named_here=named_here)
    except TimeoutError:
        pass
    except LineFault as error:
        fault = error
    return _not_ready(
        f"request {given['request_id']} may have been accepted: {fault}; sent again under"
        " this id it runs once"
    )


async def _answered(sending: Coroutine[Any, Any, Reply], link: Link) -> Reply:
    """Return the answer; raises Broken where the line is lost before, and none follows at once.

    An engine that hangs breaks no connection: only that it tells nothing shows it.
    """
    post = asyncio.create_task(sending, name="remote-post")
    gone = asyncio.create_task(link.gone(), name="remote-gone")
    try:
        await asyncio.wait({post, gone}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({post}, timeout=LAST_WORD_S)
        if not post.done():
            raise Broken("the engine is silent")
        return post.result()
    finally:
        post.cancel()
        gone.cancel()
        await asyncio.wait({post, gone})


async def _once_more(wire: Wire, link: Link, name: str, data: Data) -> Reply:
    """Send an event again as soon as there is a connection. Raises LineFault when it was sent."""
    pause_s = FIRST_TRY_S
    while True:
        await asyncio.sleep(pause_s)
        pause_s = min(LAST_TRY_S, 2 * pause_s)
        await link.back()
        try:
            reply = await _answered(wire.post(name, data), link)
        except NotSent:
            continue
        if reply.get("code") != "not_ready":  # it ends, or has only begun to start
            return reply


def _as_first(reply: Reply, *, named_here: bool) -> Reply:
    """Return the reply to a second sending: known by an id made here, it is no duplicate."""
    if named_here and reply.get("duplicate"):
        return {name: value for name, value in reply.items() if name != "duplicate"}
    return reply


def away(lost: str) -> Reply:
    """Return the reply while there is no connection; nothing was sent."""
    return _not_ready(f"not sent: {lost}")


def _not_ready(error: str) -> Reply:
    return {"error": error, "code": "not_ready"}
