"""`ksi-tui submit`: one prompt to the engine that runs, its reply awaited where asked for.

The request has its name before it is sent, so that a broken line never makes two of it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from ksi_tui.commands.output import result_lines, say, write
from ksi_tui.commands.thin.line import NAME_CHARS, answered, conversed, refused, telling_losses
from ksi_tui.engine.errors import InputError
from ksi_tui.engine.events import CANCELLED, ERROR, LOST, RESULT, SNAPSHOT, Subscription
from ksi_tui.engine.views import SnapshotQuery
from ksi_tui.exits import OK, SOME_FAILED
from ksi_tui.remote.call import Call
from ksi_tui.remote.errors import LineFault
from ksi_tui.widgets.clean import clean, clean_block

_ENDS: Final = (RESULT, ERROR, CANCELLED)
_GAPS: Final = (SNAPSHOT, LOST)
_PIECE_S: Final = 0.1
_GIVEN: Final = {
    "model": "model",
    "session": "session_id",
    "agent": "agent_id",
    "priority": "priority",
    "system": "system",
    "id": "request_id",
}


def execute(options: argparse.Namespace) -> int:
    """Submit; returns 0 once accepted, or with --wait when it completed."""
    if options.stream and options.json:
        raise InputError(
            "--stream prints the reply as it comes; --json prints it whole, at its end"
        )
    data = {"prompt": _prompt(options.prompt)}
    for option, key in _GIVEN.items():
        if (value := getattr(options, option)) is not None:
            data[key] = value
    return conversed(options, lambda call: _submit(call, options, data))


def _prompt(given: str) -> str:
    if given != "-":
        return given
    if sys.stdin is None:
        raise InputError("cannot read stdin: it is closed")
    try:
        return sys.stdin.buffer.read().decode().rstrip("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"stdin is not UTF-8 text (byte {error.start + 1})") from None


async def _submit(call: Call, options: argparse.Namespace, data: Mapping[str, Any]) -> int:
    waits = options.wait or options.stream
    wakes = call.events("completion:*") if waits else None
    reply = await call.emit("completion:async", data)
    if wakes is None or refused(reply):
        return answered(reply, _accepted, as_json=options.json)
    request_id = str(reply["request_id"])
    shown = _Shown()
    async with telling_losses(call):
        pieces = None
        if options.stream:
            pieces = asyncio.create_task(shown.follow(call, request_id), name="pieces")
        try:
            record = await _ended(call, wakes, request_id)
        finally:
            if pieces is not None:
                pieces.cancel()
                with suppress(asyncio.CancelledError):
                    await pieces
    if record is None:
        say(f"{request_id} has ended, and its record is not kept any more")
        return SOME_FAILED
    return _told(record, options, shown)


def _accepted(reply: Mapping[str, Any]) -> str:
    return f"{clean(str(reply['request_id']), NAME_CHARS)}\n"


async def _ended(call: Call, wakes: Subscription, request_id: str) -> Mapping[str, Any] | None:
    """Return the record of a request once it has ended; None where it is gone."""
    async for event in wakes:
        mine = event.name in _ENDS and event.data.get("request_id") == request_id
        if not mine and event.name not in _GAPS:
            continue
        found = await call.emit("completion:results", {"request_ids": [request_id]})
        records = found.get("results") or ()
        if records:
            record: Mapping[str, Any] = records[0]
            return record
        if mine and not refused(found):
            return None
    return None


def _told(record: Mapping[str, Any], options: argparse.Namespace, shown: _Shown) -> int:
    completed = record["status"] == "completed"
    if options.json:
        write(result_lines([record], as_json=True))
    elif options.stream:
        shown.whole(str(record["text"] or ""))
    elif completed:
        text = str(record["text"] or "")
        write(f"{clean_block(text, len(text) + 1)}\n")
    if completed:
        return OK
    error = record["error"] or {}
    kind, message = error.get("kind"), error.get("message")
    why = ": ".join(str(part) for part in (kind, message) if part and part != record["status"])
    say(f"{record['request_id']} {record['status']}" + (f": {why}" if why else ""))
    return SOME_FAILED


class _Shown:
    """The part of a reply that stands on stdout already."""

    def __init__(self) -> None:
        self._text = ""

    async def follow(self, call: Call, request_id: str) -> None:
        """Print the text of a request as it grows, until cancelled."""
        query = SnapshotQuery(
            active_limit=0,
            queue_limit=0,
            lock_limit=0,
            pause_limit=0,
            attention_limit=0,
            trend_points=1,
            request_id=request_id,
        )
        while True:
            with suppress(LineFault):  # what is lost is told, and the end waited for
                live = (await call.snapshot(query)).live
                if live is not None and live.text:
                    self._grow(live.text.removesuffix("\r"))
            await asyncio.sleep(_PIECE_S)

    def _grow(self, text: str) -> None:
        if not text.startswith(self._text):
            self._again()
        fresh = text[len(self._text) :]
        self._text = text
        write(clean_block(fresh, len(fresh) * 4 + 1))
        sys.stdout.flush()

    def _again(self) -> None:
        """The answer begins anew: what stands there was of a call that broke."""
        if self._text:
            write("\n")
            sys.stdout.flush()
            say("the call broke off; the answer begins again")
        self._text = ""

    def whole(self, text: str) -> None:
        """Print what is missing of the whole text, and end its line."""
        self._grow(text)
        write("\n")
