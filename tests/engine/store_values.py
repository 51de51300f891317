"""Write values for the tests of stores, with what a test does not care for filled in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ksi_tui.engine.models import (
    AttemptRecord,
    CallRecord,
    Outcome,
    RequestSpec,
    State,
    Usage,
    Verdict,
    VerdictKind,
)
from ksi_tui.engine.store.base import Accepted, Finished, Moved

T0 = 1_700_000_000.0
"""A moment in 2023, 20 s after a full minute."""


def spec(number: int, **fields: Any) -> RequestSpec:
    given = {"request_id": f"r-{number}", "session_id": f"s-{number}", "model": "gpt-4o"}
    if "messages" not in fields:
        given["prompt"] = f"prompt {number}"
    return RequestSpec(**{**given, **fields})


def accepted(number: int, *, at: float = T0, **fields: Any) -> Accepted:
    return Accepted(spec=spec(number, **fields), place=number, at=at, next_number=number + 1)


def moved(number: int, was: State, state: State, **fields: Any) -> Moved:
    given: dict[str, Any] = {
        "at": T0 + 1,
        "attempts": 0,
        "walks": 0,
        "interruptions": 0,
        "spent_s": 0.0,
    }
    return Moved(request_id=f"r-{number}", was=was, state=state, **{**given, **fields})


def started(number: int, *, at: float = T0 + 1) -> Moved:
    return moved(number, State.QUEUED, State.PROCESSING, at=at, started_at=at)


def finished(number: int, seq: int, state: State = State.COMPLETED, **fields: Any) -> Finished:
    given: dict[str, Any] = {
        "session_id": f"s-{number}",
        "was": State.PROCESSING,
        "at": T0 + 2.5,
        "attempts": 1,
        "walks": 1,
        "interruptions": 0,
        "spent_s": 1.5,
    }
    return Finished(request_id=f"r-{number}", state=state, finish_seq=seq, **{**given, **fields})


def attempt(number: int, walk: int = 1, **fields: Any) -> AttemptRecord:
    given: dict[str, Any] = {
        "started_at": T0 + walk,
        "finished_at": T0 + walk + 0.5,
        "verdicts": (Verdict(provider="openai", kind=VerdictKind.TAKEN, detail="first"),),
    }
    return AttemptRecord(request_id=f"r-{number}", attempt=walk, **{**given, **fields})


def call(number: int, **fields: Any) -> CallRecord:
    given: dict[str, Any] = {
        "attempt": 1,
        "ordinal": 1,
        "provider": "openai",
        "model": "gpt-4o",
        "agent_id": None,
        "session_id": f"s-{number}",
        "started_at": T0 + 1,
        "finished_at": T0 + 2.5,
        "outcome": Outcome.ANSWERED,
        "asked_model": "gpt-4o",
        "usage": Usage(input=10, output=20),
        "cost": 0.25,
    }
    return CallRecord(request_id=f"r-{number}", **{**given, **fields})


def envelope(text: str) -> Mapping[str, Any]:
    """A standard result envelope that answers `text`."""
    message = {"role": "assistant", "content": text}
    return {"ksi": {"provider": "openai"}, "response": {"choices": [{"message": message}]}}
