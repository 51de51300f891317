"""Answers the questions of the screens out of what a bundle holds, in the engine's own shapes.

What was asked when the bundle was made is answered as it was; lists are found anew in the
recorded rows. Whatever else is asked, and every event that acts, is refused in words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ksi_tui.engine.events import matches as fits
from ksi_tui.engine.filter import Facts, Filter, FilterError, matches, parse
from ksi_tui.engine.models import Priority, State
from ksi_tui.engine.views import Phase
from ksi_tui.incident import shapes
from ksi_tui.incident.bundle import Bundle
from ksi_tui.incident.errors import BundleError
from ksi_tui.incident.fitting import Shape, fitted
from ksi_tui.incident.gather import groups_question, key_of, series_question, session_question
from ksi_tui.incident.record_shapes import Record
from ksi_tui.incident.resample import resampled
from ksi_tui.read_only import READING

Data = Mapping[str, Any]
Reply = dict[str, Any]

RECORDING: Final = "this is a recording"
_SORTS: Final[Mapping[str, Callable[[Data], Any]]] = {
    "queued": lambda row: row["queued_at"],
    "finished": lambda row: row["finished_at"],
    "age": lambda row: row["age_s"],
    "session": lambda row: row["session_id"],
    "agent": lambda row: row["agent_id"],
    "model": lambda row: row["model"] or row["asked_model"],
    "provider": lambda row: row["provider"],
    "status": lambda row: row["status"],
    "attempts": lambda row: row["attempts"],
    "tokens": lambda row: row["tokens"],
    "cost": lambda row: row["cost"],
    "latency": lambda row: row["latency_ms"],
    "ttft": lambda row: row["ttft_ms"],
}
_NO_TRANSCRIPT: Final = "the recording does not hold this session's transcript"
_BY_NAME: Final = ("session", "agent", "model", "provider", "status")
_COLUMNS: Final = {"session": "session_id", "agent": "agent_id"}


class Answering:
    """The answers of one bundle; raises BundleError where a list of it is damaged."""

    def __init__(self, bundle: Bundle) -> None:
        self._answers = bundle.answers
        self._rows = _all(shapes.Row, bundle.requests, "requests")
        self._journal = _all(shapes.Entry, bundle.journal, "journal")
        self._records = {
            str(each["request_id"]): each for each in _all(Record, bundle.records, "records")
        }
        self._by_id = {str(row["request_id"]): row for row in self._rows}
        self._questions: dict[str, Callable[[Data], Reply]] = {
            "completion:request_status": self._request,
            "completion:requests": self._requests,
            "completion:names": self._names,
            "completion:provider_status": self._provider,
            "completion:series": self._series,
            "completion:session_status": self._session,
            "completion:token_usage": self._usage,
            "system:journal": self._entries,
        }

    def answer(self, name: str, data: Data) -> Reply:
        """Return the answer to a question, or its refusal."""
        answer = self._questions.get(name)
        if answer is not None:
            return answer(data)
        if name in READING:
            return _unknown(f"{name} was not asked when it was made")
        return {"error": f"{name} is off: {RECORDING}", "code": "conflict"}

    def _held(self, shape: Shape, question: tuple[str, Data]) -> Reply | None:
        """Return what the engine answered then; None: it was not asked."""
        held = self._answers.get(key_of(*question))
        if held is None:
            return None
        try:
            found: Reply = fitted(shape, held, question[0])
        except BundleError as error:
            return _unknown(f"it is damaged there ({error})")
        return found

    # --- requests --------------------------------------------------------------------------

    def _request(self, data: Data) -> Reply:
        request_id = str(data.get("request_id"))
        record = self._records.get(request_id)
        if record is not None:
            return {key: each for key, each in record.items() if key != "sent" or data.get("sent")}
        row = self._by_id.get(request_id)
        if row is None:
            return _unknown(f"it does not hold {request_id}")
        known = {name: row[name] for name in shapes.RECORD_OF_ROW}
        told = {**known, "requested_model": row["asked_model"]}
        found: Reply = fitted(Record, told, "a request")
        return found

    def _requests(self, data: Data) -> Reply:
        try:
            wanted = parse(str(data.get("filter") or ""))
        except FilterError as error:
            refused = {"error": error.message, "code": "invalid_request"}
            return refused | {"position": error.position}
        found = self._fitting(wanted)
        if data.get("ids_only"):
            return {"ids": [row["request_id"] for row in found], "total": len(found)}
        sort = str(data.get("sort") or "queued")
        descending = data.get("descending")
        if descending is None:
            descending = sort not in _BY_NAME
        ordered = _ordered(found, _SORTS.get(sort, _SORTS["queued"]), descending=bool(descending))
        offset, limit = int(data.get("offset") or 0), int(data.get("limit") or 100)
        return {
            "requests": ordered[offset : offset + limit],
            "total": len(found),
            "offset": offset,
            "sort": sort,
            "descending": descending,
        }

    def _fitting(self, wanted: Filter) -> list[Data]:
        return [row for row in self._rows if matches(wanted, _facts(row))]

    def _names(self, data: Data) -> Reply:
        field, prefix = str(data.get("field")), str(data.get("prefix") or "").lower()
        found: set[str] = set()
        for row in self._rows:
            if field.startswith("meta."):
                found.add(str(row["metadata"].get(field[5:], "")))
            elif field == "meta":
                found.update(map(str, row["metadata"]))
            elif field == "error":
                found.add(str((row["error"] or {}).get("kind", "")))
            else:
                found.add(str(row.get(_COLUMNS.get(field, field)) or ""))
        names = sorted(name for name in found if name and name.lower().startswith(prefix))
        return {"names": names[: int(data.get("limit") or 20)]}

    # --- sessions, providers, sums ---------------------------------------------------------

    def _session(self, data: Data) -> Reply:
        session_id = str(data.get("session_id"))
        held = self._held(shapes.Session, session_question(session_id))
        if held is None:
            held = self._session_of_rows(session_id)
        return {key: each for key, each in held.items() if key != "history" or data.get("history")}

    def _session_of_rows(self, session_id: str) -> Reply:
        rows = [row for row in self._rows if row["session_id"] == session_id]
        completions = [
            {name: row[name] for name in shapes.COMPLETION_OF_ROW}
            | {"completed_at": row["finished_at"]}
            for row in reversed(rows)
        ]
        waiting = sum(row["status"] == State.QUEUED for row in rows)
        told = {
            "session_id": session_id,
            "exists": bool(rows),
            "completions": completions,
            "queue": {"exists": bool(waiting), "queue_size": waiting, "is_empty": not waiting},
            "session": {"exists": bool(rows), "request_count": len(rows)},
            "history": {"turns": [{"role": "none", "text": _NO_TRANSCRIPT, "chars": 0}]},
        }
        found: Reply = fitted(shapes.Session, told, "a session")
        return found

    def _provider(self, data: Data) -> Reply:
        question = "completion:provider_status", {"provider": data.get("provider")}
        held = self._held(shapes.Provider, question)
        return _unknown("it does not hold that") if held is None else held

    def _series(self, data: Data) -> Reply:
        held = self._held(shapes.Series, series_question(data))
        if held is None:
            return _unknown("it does not hold this time")
        if "code" in held:
            return held
        try:
            return resampled(held, int(data.get("points") or 120))
        except ValueError as error:
            return _unknown(f"it is damaged there ({error})")

    def _usage(self, data: Data) -> Reply:
        by = data.get("by")
        asked = {key: value for key, value in data.items() if key not in ("limit",)}
        question = groups_question(data) if by else ("completion:token_usage", asked)
        held = self._held(shapes.Usage, question)
        if held is None:
            return _unknown("it does not hold these sums")
        if by and "code" not in held:
            groups = [each for each in held["groups"] if by in each]
            return {**held, "groups": groups[: int(data.get("limit") or 100)]}
        return held

    # --- the journal -----------------------------------------------------------------------

    def _entries(self, data: Data) -> Reply:
        before = float(data.get("before") or math.inf)
        found = [
            entry
            for entry in self._journal
            if fits(str(data.get("pattern") or "*"), entry["name"])
            and entry["seq"] < before
            and all(
                data.get(name) is None or _is_about(entry["data"], name, str(data[name]))
                for name in ("provider", "session_id", "request_id")
            )
        ]
        limit = int(data.get("limit") or 100)
        return {"entries": found[:limit], "more": len(found) > limit}


def _is_about(data: Data, name: str, wanted: str) -> bool:
    """Return whether an entry is about this one; a pause and an action name it otherwise."""
    scope = name.removesuffix("_id")
    paused = data.get("scope") == scope and data.get("id") == wanted
    acted_on = data.get("target") in (f"{scope}:{wanted}", wanted)
    return paused or acted_on or data.get(name) == wanted


def _unknown(what: str) -> Reply:
    return {"error": f"{RECORDING}; {what}", "code": "not_found"}


def _all(shape: Shape, found: Sequence[Data], part: str) -> list[Reply]:
    return [
        fitted(shape, each, f"{part}.jsonl, line {number}")
        for number, each in enumerate(found, start=1)
    ]


def _ordered(rows: Sequence[Data], by: Callable[[Data], Any], *, descending: bool) -> list[Data]:
    """Return the rows by a column; those without a value stand last either way.

    Rows that are alike stand as they came, or the other way round as the rest does.
    """
    known = [row for row in (reversed(rows) if descending else rows) if by(row) is not None]
    return [
        *sorted(known, key=by, reverse=descending),
        *(row for row in rows if by(row) is None),
    ]


def _facts(row: Data) -> Facts:
    error = row["error"] or {}
    return Facts(
        request_id=row["request_id"],
        session_id=row["session_id"],
        agent_id=row["agent_id"],
        asked_model=row["asked_model"],
        model=row["model"],
        provider=row["provider"],
        status=State(row["status"]),
        phase=Phase(row["phase"]) if row["phase"] else None,
        error_kind=error.get("kind"),
        error_message=error.get("message"),
        why=row["why"],
        priority=Priority(row["priority"]),
        metadata=row["metadata"],
        age_s=row["age_s"],
        tokens=row["tokens"],
        cost=row["cost"],
        attempts=row["attempts"],
        latency_s=_seconds(row["latency_ms"]),
        ttft_s=_seconds(row["ttft_ms"]),
    )


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
