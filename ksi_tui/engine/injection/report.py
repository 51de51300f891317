"""Injections as replies tell them: each by itself, and what one request had to do with them.

Reads only; the texts are given as they are, to be cleaned where they are shown.
"""

from __future__ import annotations

from typing import Any

from ksi_tui.engine.clock import iso
from ksi_tui.engine.injection.policy import Injection, plain
from ksi_tui.engine.store.records import StoredRequest


def described(injection: Injection) -> dict[str, Any]:
    """Return an injection as replies give it."""
    return {
        "injection_id": injection.injection_id,
        "session_id": injection.session_id,
        "source_request_id": injection.source_id,
        "request_id": injection.request_id,
        "state": str(injection.state),
        "mode": str(injection.mode),
        "position": str(injection.position),
        "trigger_type": injection.trigger_type,
        "follow_up_guidance": injection.follow_up_guidance,
        "content": injection.content,
        "created_at": iso(injection.created_at),
        "expires_at": iso(injection.expires_at),
        "blocked": None if injection.blocked is None else plain(injection.blocked),
    }


def injection_report(stored: StoredRequest) -> dict[str, Any]:
    """Return what is in a request's prompt, where its result went, and what it asked for."""
    spec = stored.spec
    return {
        "injection_config": None if spec.injection is None else plain(spec.injection),
        "circuit_breaker_config": None if spec.chain is None else plain(spec.chain),
        "injections": {
            "received": [described(each) for each in _received(stored)],
            "sent": [described(each) for each in _sent(stored)],
        },
    }


def injection_timeline(stored: StoredRequest) -> list[tuple[float | None, str, str]]:
    """Return when what was injected into a request, and its result into others."""
    return [
        *((each.bound_at, "injection", _into_it(each)) for each in _received(stored)),
        *((each.created_at, *_out_of_it(each)) for each in _sent(stored)),
    ]


def _received(stored: StoredRequest) -> list[Injection]:
    return [each for each in stored.injections if each.request_id == stored.spec.request_id]


def _sent(stored: StoredRequest) -> list[Injection]:
    return [each for each in stored.injections if each.source_id == stored.spec.request_id]


def _into_it(injection: Injection) -> str:
    return f"{injection.source_id or 'given by hand'}, {injection.position}"


def _out_of_it(injection: Injection) -> tuple[str, str]:
    if injection.blocked is not None:
        return "injection blocked", f"into {injection.session_id}: {injection.blocked.text()}"
    return "injected", f"into {injection.session_id}, {injection.mode}, {injection.position}"
