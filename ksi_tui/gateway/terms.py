"""How a request is to be treated, beside what it asks: session, agent, priority, deadline …

Read from `X-Ksi-*` headers, else from `ksi_*` names in the body's `metadata`, for clients that
can set no header. Ids are judged by the engine, which refuses them by name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ksi_tui.gateway.faults import bad_request

KEY: Final = "Idempotency-Key"
_METADATA: Final = "X-Ksi-Metadata"
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """`data` is what `completion:async` takes of it; `key` the caller's own id of the request.

    `detached`: the request goes on when its client leaves. `history`: the session's earlier
    turns go along, and this one joins them.
    """

    data: Mapping[str, Any]
    key: str | None
    detached: bool
    history: bool


def terms(headers: Mapping[str, str], metadata: Mapping[str, Any], user: str | None) -> Terms:
    """Return the terms of a request; Refused names the header that is wrong.

    `user` is the agent where nothing else names one.
    """
    if headers.get(KEY) == "":
        raise bad_request(f"{KEY}: the request's own id, or none", param=KEY)
    own = {name: value for name, value in metadata.items() if name not in _NAMES}
    given = {name: headers.get(header, metadata.get(name)) for name, (header, _) in _NAMES.items()}
    read = {
        name: _NAMES[name][1](_NAMES[name][0], value)
        for name, value in given.items()
        if value is not None
    }
    own |= _metadata(headers)
    history = read.get("ksi_history", False)
    named = {
        "session_id": read.get("ksi_session"),
        "agent_id": read.get("ksi_agent") or user or None,
        "priority": read.get("ksi_priority"),
        "timeout_s": read.get("ksi_timeout"),
        "metadata": own or None,
        "history": "session" if history else "none",
    }
    return Terms(
        data={name: value for name, value in named.items() if value is not None},
        key=headers.get(KEY),
        detached=read.get("ksi_detached", False),
        history=history,
    )


def header_names() -> tuple[str, ...]:
    """Return the names of the headers that terms are read from."""
    return (*(header for header, _ in _NAMES.values()), _METADATA)


def _metadata(headers: Mapping[str, str]) -> dict[str, Any]:
    text = headers.get(_METADATA)
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise bad_request(f"{_METADATA}: a JSON object", param=_METADATA)
    return found


def _text(_: str, value: Any) -> str:
    return str(value)


def _seconds(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise bad_request(f"{name}: seconds, as a number", param=name) from None


def _switch(name: str, value: Any) -> bool:
    word = str(value).strip().lower()
    if word not in _TRUE + _FALSE:
        raise bad_request(f"{name}: true or false", param=name)
    return word in _TRUE


def _history(name: str, value: Any) -> bool:
    if value not in ("session", "none"):
        raise bad_request(f"{name}: session or none", param=name)
    return bool(value == "session")


_NAMES: Final[Mapping[str, tuple[str, Callable[[str, Any], Any]]]] = {
    "ksi_session": ("X-Ksi-Session", _text),
    "ksi_agent": ("X-Ksi-Agent", _text),
    "ksi_priority": ("X-Ksi-Priority", _text),
    "ksi_timeout": ("X-Ksi-Timeout", _seconds),
    "ksi_history": ("X-Ksi-History", _history),
    "ksi_detached": ("X-Ksi-Detached", _switch),
}
"""Per name in `metadata`: the header that goes before it, and how its value is read."""
