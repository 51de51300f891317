"""Carries one chat completion from its HTTP request to its answer, by the engine's events.

Who holds which request is known here, so that one whose client has left is cancelled. What
is asked and answered is translated elsewhere. The runner that serves these handlers needs
aiohttp's `handler_cancellation`, by which a client's leaving is told.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from ksi_tui.engine import events
from ksi_tui.engine.errors import ErrorKind
from ksi_tui.gateway.answers import usage_of, whole
from ksi_tui.gateway.asked import BODY_HASH, Asked
from ksi_tui.gateway.faults import (
    Fault,
    Refused,
    bad_request,
    ended_before,
    engine_ended,
    fault_of_end,
    fault_of_reply,
    internal,
)
from ksi_tui.gateway.sink import Sink
from ksi_tui.gateway.story import Story

if TYPE_CHECKING:
    from ksi_tui.client import EngineClient
    from ksi_tui.engine.events import Event, Subscription

log = logging.getLogger(__name__)

BY: Final = "gateway"
"""Who cancels, for the record, what nobody waits for any more."""
LEFT: Final = "its client disconnected"
BROKEN: Final = "its client holds a part of an answer that failed"
ABOUT: Final = web.RequestKey("about", str)
"""The id of the request that an HTTP request is about, as soon as it has one."""
CUT: Final = web.RequestKey("cut", str)
"""Why the connection of an HTTP request is cut, where it is not its client who leaves."""
_FINAL: Final = ("completed", "failed", "cancelled")
_CALLS: Final = ("calling_provider", "failing_over")


_Submitting = asyncio.Task[dict[str, Any] | None]


@dataclass(slots=True, kw_only=True)
class _Held:
    """Those who wait for one request. `detached`: it goes on without them."""

    clients: int = 0
    detached: bool = False


class Completions:
    """Serves chat completions over an engine's client."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client
        self._held: dict[str, _Held] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    async def serve(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        """Return the response, which of a stream is sent by then; raises Refused."""
        if not asked.request_id:
            asked = asked.named((await self._ask("completion:reserve", {}))["request_id"])
        request[ABOUT] = asked.request_id
        pattern = events.OF_REQUEST + asked.request_id
        async with (
            self._client.subscribe(pattern) as told,
            self._holding(request, asked, told) as report,
        ):
            try:
                if asked.stream:
                    return await self._stream(request, asked, told, report)
                return await self._whole(asked, told, report)
            except Refused as refused:
                refused.request_id = asked.request_id
                raise

    async def _whole(
        self, asked: Asked, told: Subscription, report: Mapping[str, Any] | None
    ) -> web.Response:
        envelope = await _end(told) if report is None else _envelope(report)
        answer = whole(envelope, await self._usage(envelope))
        return web.json_response(answer, headers=headers_of(asked.request_id))

    # --- holding -----------------------------------------------------------------------------

    @asynccontextmanager
    async def _holding(
        self, request: web.Request, asked: Asked, told: Subscription
    ) -> AsyncIterator[dict[str, Any] | None]:
        """Submit a request and hold it; cancel it where its last client leaves before its end.

        Yields the report of one that has ended before. A submission goes on when its client
        leaves: only then is it known whether the request is that client's at all.
        """
        name = f"submit {asked.request_id}"
        submitting = asyncio.create_task(self._submit(asked, told), name=name)
        gone = False
        try:
            yield await asyncio.shield(submitting)
        except (asyncio.CancelledError, ConnectionError):
            gone = True
            raise
        finally:
            if gone:
                # On its own: the one whose client leaves may be cancelled more than once.
                reason = request.get(CUT, LEFT)
                leaving = asyncio.create_task(self._leave(submitting, asked.request_id, reason))
                leaving.set_name(f"leave {asked.request_id}")
                self._leaving.add(leaving)
                leaving.add_done_callback(self._leaving.discard)
                await asyncio.shield(leaving)
            elif _holds(submitting):
                self._let_go(asked.request_id)

    def _hold(self, asked: Asked, *, runs_alone: bool = False) -> None:
        """Count a client; `runs_alone`: the request was running, with whom it may have."""
        request_id = asked.request_id
        alone = runs_alone and request_id not in self._held
        held = self._held.setdefault(request_id, _Held())
        held.clients += 1
        held.detached |= asked.detached or alone

    async def _leave(self, submitting: _Submitting, request_id: str, reason: str) -> None:
        await asyncio.wait([submitting])
        if _holds(submitting) and self._let_go(request_id):
            await self._cancel(request_id, reason)

    def _let_go(self, request_id: str) -> bool:
        """Count a client no more; returns whether nobody is left who wants the request."""
        held = self._held[request_id]
        held.clients -= 1
        if held.clients:
            return False
        del self._held[request_id]
        return not held.detached

    async def _give_up(self, request_id: str) -> None:
        """Cancel what goes on only for one whose stream has broken off."""
        held = self._held[request_id]
        if held.clients == 1 and not held.detached:
            await self._cancel(request_id, BROKEN)

    async def _cancel(self, request_id: str, reason: str) -> None:
        data = {"request_id": request_id, "by": BY, "reason": reason}
        await self._client.emit("completion:cancel", data)

    # --- submitting --------------------------------------------------------------------------

    async def _submit(self, asked: Asked, told: Subscription) -> dict[str, Any] | None:
        """Have the request accepted and hold it; returns its report where it has ended before."""
        reply = await self._client.emit("completion:async", asked.data)
        if "code" in reply:
            raise Refused(fault_of_reply(reply))
        if not reply.get("duplicate"):
            self._hold(asked)
            return None
        report = await self._ask("completion:request_status", {"request_id": asked.request_id})
        if asked.body_hash is None or report["metadata"].get(BODY_HASH) != asked.body_hash:
            raise bad_request(
                "this Idempotency-Key was used with another body; give each request its own",
                param="Idempotency-Key",
                code="idempotency_key_reused",
                status=422,
            )
        if report["status"] not in _FINAL:
            self._hold(asked, runs_alone=True)
            return None
        if report["status"] != "cancelled" or report["by"] != BY:
            return report
        # Nobody was there to take its answer; now somebody is.
        told.drain()
        again = {"request_id": asked.request_id, "by": BY, "reason": "its client came back"}
        await self._ask("completion:retry", again)
        self._hold(asked)
        return None

    async def _ask(self, name: str, data: Mapping[str, Any]) -> dict[str, Any]:
        reply = await self._client.emit(name, data)
        if "code" in reply:
            raise Refused(fault_of_reply(reply))
        return reply

    async def _usage(self, envelope: Mapping[str, Any]) -> dict[str, int] | None:
        """Return what the engine counted, where the provider itself tells no usage."""
        if envelope["response"].get("usage"):
            return None
        request_id = envelope["ksi"]["request_id"]
        report = await self._ask("completion:request_status", {"request_id": request_id})
        answered = [c for a in report["attempts"] for c in a["calls"] if c["outcome"] == "answered"]
        return usage_of(answered[-1]["usage"] if answered else None)

    # --- streaming ---------------------------------------------------------------------------

    async def _stream(
        self,
        request: web.Request,
        asked: Asked,
        told: Subscription,
        report: Mapping[str, Any] | None,
    ) -> web.StreamResponse:
        sink = Sink(request, headers_of(asked.request_id))
        story = Story(
            asked.request_id,
            model=asked.model,
            created=int(time.time()),
            include_usage=asked.include_usage,
        )
        try:
            fault = await self._told(story, sink, told, report)
        except Refused as refused:
            fault = refused.fault
        except ConnectionError:
            raise
        except Exception:  # a response that has begun can be ended only by its own means
            log.exception("a stream of the gateway failed")
            fault = internal()
        if fault is None:
            return await sink.close(done=True)
        if story.broken:
            await self._give_up(asked.request_id)
        if not sink.opened:
            raise Refused(fault)
        await sink.send([fault.body()])
        return await sink.close(done=False)

    async def _told(
        self, story: Story, sink: Sink, told: Subscription, report: Mapping[str, Any] | None
    ) -> Fault | None:
        """Send the whole answer but for its end; returns what it failed by."""
        if report is None:
            await self._follow(story, sink, told)
        envelope = story.envelope if report is None else _envelope(report)
        if envelope is not None:
            await sink.send(story.answer(envelope, await self._usage(envelope)))
        return story.fault

    async def _follow(self, story: Story, sink: Sink, told: Subscription) -> None:
        """Send chunks as they come, until the story is over."""
        while not story.over:
            batch = told.drain() or await _more(told, sink.due)
            if any(_is_call(event) for event in batch):
                sink.calling()
            chunks = [chunk for event in batch for chunk in story.tell(event)]
            if chunks:
                await sink.send(chunks)
            elif not batch:
                await sink.tick()


def _holds(submitting: _Submitting) -> bool:
    """Whether a submission was accepted, and what it put in had not ended before."""
    if submitting.cancelled() or submitting.exception() is not None:
        return False
    return submitting.result() is None


def _is_call(event: Event) -> bool:
    return event.name == events.PROGRESS and event.data["status"] in _CALLS


async def _more(told: Subscription, until: float) -> list[Event]:
    """Return the next events; none by `until`, the loop's time. Refused where no more can come."""
    try:
        async with asyncio.timeout_at(until):
            return [await anext(told)]
    except TimeoutError:
        return []
    except StopAsyncIteration:
        raise Refused(engine_ended()) from None


async def _end(told: Subscription) -> Mapping[str, Any]:
    """Return the result's envelope once it is there; Refused where the request ends otherwise."""
    async for event in told:
        if event.name == events.RESULT:
            envelope: Mapping[str, Any] = event.data["result"]
            return envelope
        if event.name in (events.ERROR, events.CANCELLED):
            raise Refused(fault_of_end(event.data))
    raise Refused(engine_ended())


def _envelope(report: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the result of a request that had ended before; Refused where it has none."""
    envelope: Mapping[str, Any] | None = report["result"]
    if envelope is not None:
        return envelope
    error = report["error"] or {}
    end = {"kind": error.get("kind"), "error": error.get("message")}
    if error.get("kind") in (None, ErrorKind.CANCELLED):
        end = {"by": report["by"], "reason": report["reason"]}
    raise Refused(ended_before(fault_of_end(end)))


def headers_of(request_id: str) -> dict[str, str]:
    """Return what tells the caller which request this is; `x-request-id` is OpenAI's own."""
    return {"X-Ksi-Request-Id": request_id, "x-request-id": request_id}
