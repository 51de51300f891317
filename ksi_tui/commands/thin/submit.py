"""`ksi-tui submit`: one prompt to the engine that runs, its reply awaited where asked for.

The request has its name before it is sent, so that a broken line never makes two of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, Final

from ksi_tui.commands.output import result_lines, say, write
from ksi_tui.commands.thin.given import stdin_text
from ksi_tui.commands.thin.line import NAME_CHARS, answered, conversed, refused, telling_losses
from ksi_tui.engine import events
from ksi_tui.engine.errors import InputError
from ksi_tui.engine.events import OF_REQUEST, Event, Subscription
from ksi_tui.exits import OK, SOME_FAILED
from ksi_tui.remote.asking import new_request_id
from ksi_tui.remote.call import Call
from ksi_tui.remote.errors import Refused
from ksi_tui.streams import flush_stdout
from ksi_tui.widgets.clean import clean, clean_block

_ENDS: Final = (events.RESULT, events.ERROR, events.CANCELLED)
_GAPS: Final = (events.SNAPSHOT, events.LOST)
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
    return stdin_text().rstrip("\n") if given == "-" else given


async def _submit(call: Call, options: argparse.Namespace, data: Mapping[str, Any]) -> int:
    if not (options.wait or options.stream):
        reply = await call.emit("completion:async", data)
        _tell_of_a_twin(reply, options)
        return answered(reply, _accepted, as_json=options.json)
    # Named here, so that it is followed before its first word can come.
    data = {"request_id": new_request_id(), **data}
    told = call.events(f"{OF_REQUEST}{data['request_id']}")
    reply = await call.emit("completion:async", data)
    if refused(reply):
        return answered(reply, _accepted, as_json=options.json)
    _tell_of_a_twin(reply, options)
    request_id = str(reply["request_id"])
    shown = _Shown() if options.stream else None
    async with telling_losses(call):
        record = await _ended(call, told, request_id, shown)
    if record is None:
        say(f"{request_id} has ended, and its record is not kept any more")
        return SOME_FAILED
    return _told(record, options, shown)


def _tell_of_a_twin(reply: Mapping[str, Any], options: argparse.Namespace) -> None:
    """Say that a name which was given is that of an earlier request, whatever that was asked."""
    if options.id is not None and reply.get("duplicate"):
        say(f"{options.id} was there before: what it was asked then counts, and nothing was sent")


def _accepted(reply: Mapping[str, Any]) -> str:
    return f"{clean(str(reply['request_id']), NAME_CHARS)}\n"


async def _ended(
    call: Call, told: Subscription, request_id: str, shown: _Shown | None
) -> Mapping[str, Any] | None:
    """Show a request as it goes and return its record once it has ended; None where it is gone."""
    async for event in told:
        if shown is not None:
            shown.take(event)
        ends = event.name in _ENDS
        if not ends and event.name not in _GAPS:
            continue
        found = await call.emit("completion:results", {"request_ids": [request_id]})
        records = found.get("results") or ()
        if records:
            record: Mapping[str, Any] = records[0]
            return record
        if ends and not refused(found):
            return None
    raise Refused(f"{request_id} was accepted, and cannot be followed: {call.unheard()}")


def _told(record: Mapping[str, Any], options: argparse.Namespace, shown: _Shown | None) -> int:
    completed = record["status"] == "completed"
    if options.json:
        write(result_lines([record], as_json=True))
    elif shown is not None:
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
        self._pieces: list[str] = []
        self._call: tuple[int, int] | None = None
        self._held_back = ""
        self._gap = False

    def take(self, event: Event) -> None:
        """Print what an event adds to the text; after a gap nothing, until all of it is known."""
        match event.name:
            case events.SNAPSHOT:
                so_far = event.data.get("request")
                if so_far is not None and so_far["call"] is not None:
                    self._of((so_far["attempt"], so_far["call"]))
                    self._gap = False
                    self._grow_to(so_far["text"])
            case events.DELTA:
                self._of((event.data["attempt"], event.data["call"]))
                texts = [
                    each["delta"].get("content") or ""
                    for each in event.data["choices"]
                    if each["index"] == 0
                ]
                if not self._gap:
                    self._grow("".join(texts))
            case events.LOST:
                self._gap = True

    def whole(self, text: str) -> None:
        """Print what is missing of the whole text, and end its line."""
        self._grow_to(text)
        self._write(self._held_back + "\n")

    def _of(self, call: tuple[int, int]) -> None:
        """Begin anew where another call answers: what stands there was of one that broke off."""
        if self._call not in (None, call):
            self._again()
            self._gap = False
        self._call = call

    def _grow_to(self, text: str) -> None:
        stands = "".join(self._pieces)
        if not text.startswith(stands):
            self._again()
            stands = ""
        self._grow(text[len(stands) :])

    def _grow(self, piece: str) -> None:
        if not piece:
            return
        self._pieces.append(piece)
        fresh = self._held_back + piece
        self._held_back = "\r" if fresh.endswith("\r") else ""  # the half of a line's end
        self._write(fresh.removesuffix("\r"))

    def _again(self) -> None:
        if self._pieces:
            self._write("\n")
            say("the call broke off; the answer begins again")
        self._pieces.clear()
        self._held_back = ""

    def _write(self, text: str) -> None:
        write(clean_block(text, len(text) * 4 + 1))
        flush_stdout()
