"""`ksi-tui why`: why a request waits, down to its root, what happens by itself, what frees it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from ksi_tui.codec import plain
from ksi_tui.commands.output import write
from ksi_tui.commands.thin.line import NAME_CHARS, TEXT_CHARS, answered, conversed, refused
from ksi_tui.engine.views import Live, SnapshotQuery
from ksi_tui.exits import OK
from ksi_tui.remote.call import Call
from ksi_tui.widgets.clean import clean

_TOLD: Final = (
    "request_id",
    "session_id",
    "status",
    "why",
    "cause",
    "chain",
    "root",
    "cycle",
    "chain_text",
    "if_nobody_acts",
    "outlook",
    "moves",
    "error",
    "finished_at",
)


def execute(options: argparse.Namespace) -> int:
    """Print why a request is where it is."""
    return conversed(options, lambda call: _why(call, options))


async def _why(call: Call, options: argparse.Namespace) -> int:
    reply = await call.emit("completion:request_status", {"request_id": options.request})
    if refused(reply):
        return answered(reply, str, as_json=options.json)
    query = SnapshotQuery(
        active_limit=0,
        queue_limit=0,
        lock_limit=0,
        pause_limit=0,
        attention_limit=0,
        trend_points=1,
        request_id=options.request,
        explain=True,
    )
    live = (await call.snapshot(query)).live
    if options.json:
        found = {name: reply.get(name) for name in _TOLD}
        found["remedies"] = [plain(remedy) for remedy in live.remedies] if live else []
        write(f"{json.dumps(found)}\n")
    else:
        write("".join(f"{clean(each, TEXT_CHARS)}\n" for each in _lines(reply, live)))
    return OK


def _lines(reply: Mapping[str, Any], live: Live | None) -> Iterator[str]:
    name, status = str(reply["request_id"])[:NAME_CHARS], reply.get("status")
    why = f": {reply['why']}" if reply.get("why") else ""
    yield f"{name}  {status} in session {reply.get('session_id')}{why}"
    error = reply.get("error")
    if error:
        yield f"error: {error.get('kind')}: {error.get('message')}"
    if reply.get("finished_at"):
        yield f"ended {reply['finished_at']}; it waits for nothing"
        return
    if reply.get("chain_text"):
        yield f"root: {reply['chain_text']}"
    links: Sequence[Mapping[str, Any]] = reply.get("chain") or ()
    if len(links) > 1:
        yield "chain:"
        for link in links:
            inferred = "" if link.get("certain", True) else " (inferred)"
            yield f"  {link.get('request_id')}  {link.get('status')}: {link.get('why')}{inferred}"
    if reply.get("if_nobody_acts"):
        yield f"if nobody acts: {reply['if_nobody_acts']}"
    if live is not None and live.remedies:
        yield "what frees it, least harm first:"
        for remedy in live.remedies:
            frees = f": {remedy.frees}" if remedy.frees else ""
            hits = f"; also hits: {remedy.also_hits}" if remedy.also_hits else ""
            undo = f"; undo: {remedy.undo}" if remedy.undo else ""
            yield f"  {remedy.what}{frees}{hits}{undo}"
