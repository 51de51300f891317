"""Asks an engine everything that a bundle holds beside the frames.

Only questions, never a change, and as the screens ask them. What is asked is bounded, and
what matters most comes first: what runs, what waits longest, what failed last. Between any
two questions the loop is free.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from ksi_tui.client import EngineClient, Snapshot, SnapshotQuery
from ksi_tui.codec import plain

KINDS: Final = (
    ("status:processing,retrying", "queued", True, 1000),
    ("status:queued", "queued", False, 1000),  # those that have waited longest
    ("status:failed", "finished", True, 1000),
    ("status:completed,cancelled", "finished", True, 2000),
)
"""What requests are listed: filter, order, whether the largest first, how many at most."""
MOST_RECORDS: Final = 1000
"""Of how many requests a bundle holds the whole record."""
MOST_LIVES: Final = 300
"""Of how many unfinished requests it holds why they wait, down to the root."""
MOST_SESSIONS: Final = 300
MOST_ENTRIES: Final = 2000
"""How many rare happenings it holds; and as many changes of circuits from before."""
SERIES_POINTS: Final = 300
GROUPS_LIMIT: Final = 500
CIRCUIT: Final = "provider:circuit"
_PAGE: Final = 500
_WINDOWS_H: Final = (0.25, 1.0, 6.0, 24.0, 168.0)
_SPLITS: Final[tuple[Mapping[str, Any], ...]] = (
    {},
    {"by": "model"},
    {"by": "provider"},
    {"by": "provider", "limit": 50},
)
_GROUPS: Final = ("agent", "model", "provider", "minute", "hour", "day")

Data = dict[str, Any]
Tell = Callable[[str], None]
Question = tuple[str, Data]


def key_of(event: str, data: Mapping[str, Any]) -> str:
    """Return the name under which a bundle keeps the answer to a question."""
    return f"{event} {json.dumps(data, sort_keys=True)}"


def series_question(data: Mapping[str, Any]) -> Question:
    """Return the question whose answer holds that of another: the one with the most points."""
    kept = {name: data[name] for name in ("by", "limit") if data.get(name) is not None}
    asked = {"hours": float(data["hours"]), "points": SERIES_POINTS, **kept}
    return "completion:series", asked


def groups_question(data: Mapping[str, Any]) -> Question:
    """Return the question whose answer holds that of another about groups: the longest one."""
    asked: Data = {"by": data["by"], "limit": GROUPS_LIMIT}
    if data.get("hours") is not None:
        asked["hours"] = float(data["hours"])
    return "completion:token_usage", asked


def session_question(session_id: str) -> Question:
    """Return the question about a session whose answer holds every other's."""
    return "completion:session_status", {"session_id": session_id, "history": True}


def _questions(providers: Iterable[str], sessions: Iterable[str]) -> Iterator[Question]:
    """Yield what screens ask of the engine as a whole, of a provider and of a session."""
    yield "completion:token_usage", {}
    yield groups_question({"by": "session"})
    for hours in _WINDOWS_H:
        for split in _SPLITS:
            yield series_question({"hours": hours, **split})
        for group in _GROUPS:
            yield groups_question({"hours": hours, "by": group})
    for name in providers:
        yield "completion:provider_status", {"provider": name}
    for session_id in sessions:
        yield session_question(session_id)
        yield "completion:token_usage", {"session_id": session_id}


async def requests_since(client: EngineClient, since: str, tell: Tell) -> list[Data]:
    """Return the rows of unfinished requests, and of those that ended from `since` on.

    `since` is ISO 8601 UTC; at most as many as `KINDS` say, oldest first.
    """
    found: dict[str, Data] = {}
    for wanted, sort, descending, most in KINDS:
        offset = 0
        while offset < most:
            tell(f"requests: {len(found):,}")
            question = {"filter": wanted, "sort": sort, "descending": descending}
            limit = min(_PAGE, most - offset)
            page = await _emit(
                client, "completion:requests", question | {"offset": offset, "limit": limit}
            )
            rows = page.get("requests") or []
            fresh = [row for row in rows if (row["finished_at"] or since) >= since]
            found |= {str(row["request_id"]): row for row in fresh}
            offset += len(rows)
            if len(rows) < limit or len(fresh) < len(rows):
                break
    return sorted(found.values(), key=lambda row: str(row["queued_at"]))


async def _emit(client: EngineClient, event: str, data: Mapping[str, Any]) -> Data:
    reply = await client.emit(event, data)
    await asyncio.sleep(0)  # an answer from memory did not let go of the loop
    return {} if "code" in reply else reply


def chosen(rows: Sequence[Data], snapshot: Snapshot) -> list[str]:
    """Return the requests that matter most: in sight, with an error, unfinished, the newest."""
    listed = {str(row["request_id"]): row for row in rows}
    in_sight = [view.request_id for view in snapshot.active]
    in_sight += [view.head_id for view in snapshot.queues[: MOST_LIVES // 2]]
    in_sight += [view.request_id for view in snapshot.attention if view.request_id]
    newest = [*reversed(listed)]
    failed = [each for each in newest if listed[each].get("error")]
    unfinished = [each for each in newest if not listed[each]["finished_at"]]
    wanted = [*in_sight, *failed[: MOST_RECORDS // 2], *unfinished[: MOST_RECORDS // 4], *newest]
    return list(dict.fromkeys(wanted))[:MOST_RECORDS]


async def records_of(client: EngineClient, ids: Sequence[str], tell: Tell) -> list[Data]:
    """Return the whole records of requests, and what each was sent with."""
    records = []
    for count, request_id in enumerate(ids):
        if count % 20 == 0:
            tell(f"records: {count:,} of {len(ids):,}")
        asked = {"request_id": request_id, "sent": True}
        if reply := await _emit(client, "completion:request_status", asked):
            records.append(reply)
    return records


async def lives_of(client: EngineClient, ids: Sequence[str], tell: Tell) -> list[Data]:
    """Return why unfinished requests are where they are now: chain, remedies, who else waits."""
    lives: list[Data] = []
    for request_id in ids:
        if len(lives) == MOST_LIVES:
            break
        query = SnapshotQuery(
            active_limit=0,
            queue_limit=0,
            lock_limit=0,
            pause_limit=0,
            attention_limit=0,
            trend_points=1,
            request_id=request_id,
            explain=True,
        )
        live = client.snapshot(query).live
        if live is not None:
            tell(f"why they wait: {len(lives):,}")
            lives.append(plain(live))
        await asyncio.sleep(0)
    return lives


async def answers_of(
    client: EngineClient, snapshot: Snapshot, rows: Sequence[Data], tell: Tell
) -> dict[str, Data]:
    """Return the engine's answers to what screens ask, by `key_of`."""
    providers = [view.name for view in snapshot.providers]
    in_sight = [
        *(view.session_id for view in snapshot.active),
        *(view.session_id for view in snapshot.queues),
        *(view.session_id for view in snapshot.locks),
    ]
    named = dict.fromkeys([*in_sight, *(str(row["session_id"]) for row in reversed(rows))])
    answers: dict[str, Data] = {}
    for event, data in _questions(providers, list(named)[:MOST_SESSIONS]):
        tell(f"sums and sessions: {len(answers):,}")
        if reply := await _emit(client, event, data):
            answers[key_of(event, data)] = reply
    return answers


async def journal_since(client: EngineClient, since: str, tell: Tell) -> list[Data]:
    """Return the rare happenings from `since` on (ISO 8601 UTC), newest first.

    Those of circuits are told from before, too.
    """
    tell("the journal")
    entries = await _entries(client, {}, since)
    circuits = await _entries(client, {"pattern": CIRCUIT}, "")
    known = {entry["seq"] for entry in entries}
    both = [*entries, *(entry for entry in circuits if entry["seq"] not in known)]
    return sorted(both, key=lambda entry: -int(entry["seq"]))


async def _entries(client: EngineClient, asked: Data, since: str) -> list[Data]:
    entries: list[Data] = []
    while len(entries) < MOST_ENTRIES:
        before = {"before": entries[-1]["seq"]} if entries else {}
        reply = await _emit(client, "system:journal", {**asked, "limit": _PAGE, **before})
        page = [entry for entry in reply.get("entries") or () if entry["at"] >= since]
        entries += page
        if not reply.get("more") or len(page) < _PAGE:
            break
    return entries[:MOST_ENTRIES]
