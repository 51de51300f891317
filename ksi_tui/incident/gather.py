"""Asks an engine everything that a bundle holds beside the frames.

Only questions, never a change. What is asked is bounded: the newest requests first, those
that are unfinished or failed in full.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ksi_tui.client import EngineClient, SnapshotQuery
from ksi_tui.incident.codec import plain

MOST_REQUESTS = 5000
"""How many requests a bundle lists."""
MOST_RECORDS = 500
"""Of how many requests it holds the whole record; unfinished and failed ones first."""
MOST_ENTRIES = 2000
"""How many rare happenings it holds."""
_PAGE = 1000
_FIRST = {"failed": 1, "cancelled": 2, "completed": 3}
_WINDOWS_H = (0.25, 1.0, 24.0, 168.0)
_SPLITS: tuple[str | None, ...] = (None, "model", "provider")
_GROUPS = ("agent", "model", "provider", "session", "minute", "hour", "day")

Data = dict[str, Any]


def key_of(event: str, data: Mapping[str, Any]) -> str:
    """Return the name under which a bundle keeps the answer to a question."""
    return f"{event} {json.dumps(data, sort_keys=True)}"


def _questions(providers: Sequence[str], sessions: Sequence[str]) -> Iterator[tuple[str, Data]]:
    """Yield what screens ask of the engine as a whole, as they ask it."""
    yield "completion:status", {}
    yield "completion:provider_status", {}
    yield "completion:retry_status", {}
    yield "completion:models", {}
    yield "completion:token_usage", {}
    for name in providers:
        yield "completion:provider_status", {"provider": name}
    for session_id in sessions:
        yield "completion:session_status", {"session_id": session_id}
        yield "completion:token_usage", {"session_id": session_id}
    for hours in _WINDOWS_H:
        for split in _SPLITS:
            data: Data = {"hours": hours} if split is None else {"hours": hours, "by": split}
            yield "completion:series", data
        for group in _GROUPS:
            yield "completion:token_usage", {"hours": hours, "by": group}


async def requests_since(client: EngineClient, since: str) -> list[Data]:
    """Return the rows of unfinished requests, and of those that finished from `since` on.

    `since` is ISO 8601 UTC; at most `MOST_REQUESTS`, the newest of each kind.
    """
    unfinished = await _rows(client, "", filter="status:queued,processing,retrying")
    ended = await _rows(client, since, filter="status:completed,failed,cancelled", sort="finished")
    return [*unfinished, *ended][:MOST_REQUESTS]


async def _rows(client: EngineClient, since: str, **asked: Any) -> list[Data]:
    rows: list[Data] = []
    while len(rows) < MOST_REQUESTS:
        question = {**asked, "descending": True, "offset": len(rows), "limit": _PAGE}
        page = (await client.emit("completion:requests", question)).get("requests") or []
        fresh = [row for row in page if (row["finished_at"] or since) >= since]
        rows += fresh
        if len(page) < _PAGE or len(fresh) < len(page):
            break
    return rows


async def records_of(client: EngineClient, rows: Sequence[Data]) -> list[Data]:
    """Return the whole records of the requests that matter most."""
    worst = sorted(rows, key=lambda row: _FIRST.get(str(row["status"]), 0))[:MOST_RECORDS]
    records = []
    for row in worst:
        reply = await client.emit("completion:request_status", {"request_id": row["request_id"]})
        if "code" not in reply:
            records.append(reply)
    return records


def lives_of(client: EngineClient, rows: Sequence[Data]) -> list[Data]:
    """Return what is known of the unfinished requests right now: phase, chain, remedies."""
    lives: list[Data] = []
    for row in rows:
        if row["finished_at"] is None and len(lives) < MOST_RECORDS:
            query = SnapshotQuery(
                active_limit=0,
                queue_limit=0,
                lock_limit=0,
                pause_limit=0,
                trend_points=1,
                request_id=str(row["request_id"]),
            )
            live = client.snapshot(query).live
            if live is not None:
                lives.append(plain(live))
    return lives


async def answers_of(client: EngineClient, rows: Sequence[Data]) -> dict[str, Data]:
    """Return the engine's answers to what screens ask, by `key_of`."""
    providers = [view.name for view in client.snapshot(SnapshotQuery()).providers]
    sessions = list(dict.fromkeys(str(row["session_id"]) for row in rows))[:MOST_RECORDS]
    answers = {}
    for event, data in _questions(providers, sessions):
        reply = await client.emit(event, data)
        if "code" not in reply:
            answers[key_of(event, data)] = reply
    return answers


async def journal_of(client: EngineClient) -> list[Data]:
    """Return the newest rare happenings, newest first."""
    reply = await client.emit("system:journal", {"limit": 1000})
    entries = list(reply.get("entries") or [])
    while reply.get("more") and len(entries) < MOST_ENTRIES:
        reply = await client.emit("system:journal", {"limit": 1000, "before": entries[-1]["seq"]})
        entries += reply.get("entries") or []
    return entries[:MOST_ENTRIES]
