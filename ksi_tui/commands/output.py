"""What commands print: finished requests as lines, and the voice of the program on stderr.

Replies, errors and ids come from outside. In plain lines they pass the sanitiser, since
a line may end on a terminal by way of any pipe; in JSON lines everything beyond ASCII
is escaped, which is safe anywhere.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ksi_tui.engine.deeds import deed
from ksi_tui.streams import lost, silence
from ksi_tui.widgets.clean import clean, clean_block
from ksi_tui.widgets.formats import latency

_GLYPHS = {"completed": "√", "failed": "!", "cancelled": "×"}
_ID_CHARS = 200
_MESSAGE_CHARS = 2_000
_SAID_CHARS = 20_000
_PAUSES_TOLD = 5


def write(text: str) -> None:
    """Write to stdout; raises BrokenPipeError, and OutputLost for any other reason."""
    try:
        sys.stdout.write(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise lost(error) from None


def say(message: object) -> None:
    """Write a line to stderr, which is the program's voice beside the data."""
    try:
        sys.stderr.write(f"ksi-tui: {clean_block(str(message), _SAID_CHARS)}\n")
        sys.stderr.flush()
    except OSError:  # there is nobody left who could be told
        silence(sys.stderr)


def result_lines(records: Iterable[Mapping[str, Any]], *, as_json: bool) -> str:
    """Return finished requests as text, one line each."""
    line = json.dumps if as_json else plain_line
    return "".join(f"{line(record)}\n" for record in records)


def plain_line(record: Mapping[str, Any]) -> str:
    """Return a finished request as one readable line, safe for a terminal."""
    status = str(record["status"])
    head = f"{_GLYPHS.get(status, '?')} {clean(str(record['request_id']), _ID_CHARS)}"
    text = str(record["text"] or "")
    text = clean(text, len(text) + 1)
    if status == "completed":
        return f"{head}  {text}"
    error = record["error"] or {}
    kind = clean(str(error.get("kind") or ""), _ID_CHARS)
    message = clean(str(error.get("message") or ""), _MESSAGE_CHARS)
    spent = f" after {latency(record['latency_ms'])}" if record["latency_ms"] else ""
    why = f" ({kind})" if kind and kind != status else ""
    told = f": {message}" if message else ""
    return f"{head}  {status}{why}{spent}{told}" + (f"  [{text}]" if text else "")


def pauses_told(pauses: Sequence[Mapping[str, Any]]) -> str:
    """Return pauses as a sentence has them, the first few of many."""
    told = [_pause_told(pause) for pause in pauses[:_PAUSES_TOLD]]
    more = len(pauses) - len(told)
    return ", ".join(told) + (f" and {more} more" if more else "")


def _pause_told(pause: Mapping[str, Any]) -> str:
    what = pause["scope"] if pause["id"] is None else f"{pause['scope']} {pause['id']}"
    done = deed("paused", pause["by"], pause["reason"])
    return f"{what} ({done}, since {pause['since']})"


def columns(rows: Sequence[tuple[str, ...]], *, right: frozenset[int]) -> str:
    """Return rows as aligned columns, those in `right` to the right; the first is the heading."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return "".join(
        "  ".join(
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        + "\n"
        for row in rows
    )
