"""A test double of the engine's lists: rows that answer `completion:requests` and `:names`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from ksi_tui.engine.filter import Facts, Filter, FilterError, matches, parse
from ksi_tui.engine.models import State
from ksi_tui.engine.views import Phase, Snapshot
from tests.ui.scripted import AT, ScriptedClient, busy

_KEYS = {
    "queued": "queued_at",
    "finished": "finished_at",
    "session": "session_id",
    "agent": "agent_id",
    "latency": "latency_ms",
    "ttft": "ttft_ms",
    "age": "age_s",
}


def found(request_id: str, **changes: Any) -> dict[str, Any]:
    """A row of `completion:requests`; a completed one unless told otherwise."""
    fields: dict[str, Any] = {
        "session_id": "acme-17",
        "agent_id": "a3",
        "status": "completed",
        "phase": "completed",
        "asked_model": "claude-sonnet-4-5",
        "model": "claude-sonnet-4-5",
        "provider": "anthropic",
        "priority": "normal",
        "attempts": 1,
        "max_attempts": 3,
        "queued_at": AT - 240,
        "started_at": AT - 239,
        "finished_at": AT - 235,
        "age_s": 240.0,
        "latency_ms": 4200.0,
        "ttft_ms": 700.0,
        "tokens": 412,
        "estimated": False,
        "cost": 0.0079,
        "unpriced": 0,
        "error": None,
        "why": "",
        "by": None,
        "reason": None,
        "metadata": {},
    }
    return {"request_id": request_id, **fields, **changes}


def waiting(request_id: str, **changes: Any) -> dict[str, Any]:
    """One that waits for a lock."""
    fields: dict[str, Any] = {
        "status": "queued",
        "phase": "waiting",
        "model": None,
        "provider": None,
        "attempts": 0,
        "started_at": None,
        "finished_at": None,
        "latency_ms": None,
        "ttft_ms": None,
        "tokens": None,
        "cost": None,
        "why": "lock held by a7, 0:41 left",
    }
    return found(request_id, **(fields | changes))


def failed(request_id: str, **changes: Any) -> dict[str, Any]:
    """One that failed."""
    error = {"kind": "timeout", "message": "no first token in 30 s"}
    fields = {"status": "failed", "phase": "failed", "error": error, "attempts": 3}
    return found(request_id, **(fields | changes))


def facts(row: Mapping[str, Any]) -> Facts:
    """What a filter may ask about a row."""
    error = row["error"] or {}
    return Facts(
        request_id=row["request_id"],
        session_id=row["session_id"],
        agent_id=row["agent_id"],
        asked_model=row["asked_model"],
        model=row["model"],
        provider=row["provider"],
        status=State(row["status"]),
        phase=Phase(row["phase"]),
        error_kind=error.get("kind"),
        error_message=error.get("message"),
        why=row["why"],
        metadata=row["metadata"],
        age_s=row["age_s"],
        tokens=row["tokens"],
        cost=row["cost"],
        attempts=row["attempts"],
    )


class ListClient(ScriptedClient):
    """Holds rows. While `gate` is closed a question about them stays open."""

    def __init__(self, rows: Sequence[dict[str, Any]], now: Snapshot | None = None) -> None:
        super().__init__(now or busy())
        self.rows = list(rows)
        self.gate = asyncio.Event()
        self.gate.set()
        self.refusal: str | None = None
        self.open_questions = 0
        self.most_open = 0
        self._facts: list[Facts] = []
        self._known: dict[tuple[str, str, bool], list[dict[str, Any]]] = {}
        self._known_of: list[dict[str, Any]] = []

    async def emit(self, name: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        data = dict(data or {})
        if name not in ("completion:requests", "completion:names"):
            return await super().emit(name, data)
        self.emitted.append((name, data))
        if name == "completion:names":
            return self._names(data)
        self.open_questions += 1
        self.most_open = max(self.most_open, self.open_questions)
        try:
            await self.gate.wait()
        finally:
            self.open_questions -= 1
        if self.refusal is not None:
            return {"error": self.refusal, "code": "not_ready"}
        return self._requests(data)

    def _names(self, data: Mapping[str, Any]) -> dict[str, Any]:
        key = {"session": "session_id", "agent": "agent_id"}.get(data["field"], data["field"])
        known = sorted({str(row[key]) for row in self.rows if row.get(key)})
        return {"names": [name for name in known if name.startswith(data["prefix"])]}

    def _requests(self, data: Mapping[str, Any]) -> dict[str, Any]:
        sort, descending = data.get("sort", "queued"), data.get("descending", True)
        if sort == "worst":
            sort, descending = "queued", False
        try:
            rows = self._found(data.get("filter", ""), _KEYS.get(sort, sort), descending)
        except FilterError as error:
            return {"error": error.message, "code": error.code, "position": error.position}
        if data.get("ids_only"):
            return {"ids": [row["request_id"] for row in rows][:10_000], "total": len(rows)}
        offset = data.get("offset", 0)
        return {
            "requests": rows[offset : offset + data.get("limit", 100)],
            "total": len(rows),
            "offset": offset,
            "sort": sort,
            "descending": descending,
        }

    def _found(self, text: str, key: str, descending: bool) -> list[dict[str, Any]]:
        """Find and order, once as long as the rows are the same: there may be 100,000."""
        if self.rows != self._known_of:
            self._known, self._known_of, self._facts = {}, list(self.rows), []
        asked = (text, key, descending)
        if asked not in self._known:
            wanted = parse(text)
            rows = self.rows if wanted.empty else self._fitting(wanted)
            known = [row for row in rows if row[key] is not None]
            unknown = [row for row in rows if row[key] is None]
            known.sort(key=lambda row: row[key], reverse=descending)
            self._known[asked] = [*known, *unknown]
        return self._known[asked]

    def _fitting(self, wanted: Filter) -> list[dict[str, Any]]:
        self._facts = self._facts or [facts(row) for row in self.rows]
        each = zip(self.rows, self._facts, strict=True)
        return [row for row, known in each if matches(wanted, known)]


@cache
def many(count: int) -> tuple[dict[str, Any], ...]:
    """So many rows, the last one queued last; every tenth failed, every hundredth waits."""
    rows = []
    for number in range(count):
        make = waiting if number % 100 == 0 else failed if number % 10 == 0 else found
        rows.append(
            make(
                f"r-{number}",
                session_id=f"s-{number % 1000}",
                queued_at=AT - (count - number),
                age_s=float(count - number),
                tokens=number + 1,
            )
        )
    return tuple(rows)
