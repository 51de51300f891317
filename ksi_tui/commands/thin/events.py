"""`ksi-tui emit` and `ksi-tui tail`: any event of the engine's, both ways."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any, Final

from ksi_tui.commands.output import write
from ksi_tui.commands.thin.given import stdin_text
from ksi_tui.commands.thin.line import NAME_CHARS, TEXT_CHARS, answered, conversed, telling_losses
from ksi_tui.engine.clock import iso, time_of_day
from ksi_tui.engine.errors import InputError
from ksi_tui.engine.events import LOST, OF_REQUEST, SNAPSHOT, Event
from ksi_tui.engine.gaps import gap
from ksi_tui.exits import OK
from ksi_tui.remote.call import Call
from ksi_tui.streams import flush_stdout
from ksi_tui.widgets.clean import clean

_FIRST: Final = ("request_id", "session_id", "provider", "status", "error", "reason")
_MOST_PATTERN: Final = 200 + len(OF_REQUEST)
_LEFT_OUT: Final = frozenset({"result", "partial_text", "text", "content"})


def execute(options: argparse.Namespace) -> int:
    """Send one event, or print what comes."""
    if options.command == "tail":
        if not 0 < len(options.pattern) <= _MOST_PATTERN:
            raise InputError(f"a pattern has 1 to {_MOST_PATTERN} characters, such as completion:*")
        return conversed(options, lambda call: _tail(call, options))
    data = _data(options.data)
    return conversed(options, lambda call: _emit(call, options, data))


def _data(given: str) -> dict[str, Any]:
    text = stdin_text() if given == "-" else given
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the data is not valid JSON: {error}") from None
    if not isinstance(found, dict):
        raise InputError(f"the data is a JSON object, found {type(found).__name__}")
    return found


async def _emit(call: Call, options: argparse.Namespace, data: Mapping[str, Any]) -> int:
    return answered(await call.emit(options.event, data), str, as_json=True)


async def _tail(call: Call, options: argparse.Namespace) -> int:
    left = options.count
    async with telling_losses(call):
        async for event in call.events(options.pattern):
            if event.name == SNAPSHOT and not options.json:
                continue
            write(_json(event) if options.json else _line(event))
            flush_stdout()
            if left is not None and event.name != SNAPSHOT:
                left -= 1
                if left == 0:
                    return OK
        raise call.unheard()


def _json(event: Event) -> str:
    told = {"seq": event.seq, "name": event.name, "data": event.data, "at": iso(event.at)}
    return f"{json.dumps(told)}\n"


def _line(event: Event) -> str:
    """Return an event as one readable line, without the texts of answers."""
    head = f"{time_of_day(event.at)}  {clean(event.name, NAME_CHARS)}"
    if event.name == LOST:
        return f"{head}  {clean(gap(event.data), TEXT_CHARS)}\n"
    short = {k: v for k, v in event.data.items() if k not in _LEFT_OUT and v is not None}
    order = [*(key for key in _FIRST if key in short), *(k for k in short if k not in _FIRST)]
    told = "  ".join(f"{key}={_value(short[key])}" for key in order)
    return f"{head}  {clean(told, TEXT_CHARS)}\n"


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
