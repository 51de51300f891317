"""Roles, and which one each event and each route needs.

Tables only: whoever asks is found out by `tokens`, and let through or not by `guard`. What no
table names is for nobody but an operator. Nothing in here does I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from ksi_tui.read_only import READING


class Role(StrEnum):
    """What a token may do; each may also do what the ones before it may."""

    VIEW = "view"  # look at everything, prompts and replies too
    SUBMIT = "submit"  # and put requests in
    OPERATE = "operate"  # and act on what others put in

    def covers(self, needed: Role) -> bool:
        """Return whether this role may do what `needed` may."""
        return _ORDER.index(self) >= _ORDER.index(needed)


_ORDER: Final = (Role.VIEW, Role.SUBMIT, Role.OPERATE)

LOCAL_ONLY: Final = frozenset({"provider:add"})
"""Events that no role may send over the network. `provider:add` names a variable of this
process's environment and an address to send its value to."""

_SUBMITTING = (
    "completion:async",
    "completion:batch",
    "completion:inject",
    "completion:reserve",
)
_OPERATING = (
    "checkpoint:restore",
    "completion:cancel",
    "completion:failed",
    "completion:reset_conversation",
    "completion:retry",
    "conversation:acquire_lock",
    "conversation:release_lock",
    "injection:batch",
    "injection:clear",
    "injection:execute",
    "injection:inject",
    "injection:process_result",
    "injection:queue",
    "provider:add",
    "provider:close",
    "provider:open",
    "provider:probe",
    "provider:reset",
    "queue:pause",
    "queue:resume",
    "system:context",
    "system:ready",
    "system:shutdown",
    "system:startup",
)

EVENT_ROLES: Mapping[str, Role] = MappingProxyType(
    dict.fromkeys(READING, Role.VIEW)
    | dict.fromkeys(_SUBMITTING, Role.SUBMIT)
    | dict.fromkeys(_OPERATING, Role.OPERATE)
)
"""The role that each event of the engine needs."""

OPEN_ROUTES: Final = frozenset({"/healthz", "/readyz"})
"""Routes that need no token: whoever supervises the process has none."""

_READING_ROUTES = frozenset(
    {"/events", "/hello", "/metrics", "/openapi.json", "/snapshot", "/v1/models"}
)
_GATEWAY = "/v1/"


def role_of_event(name: str) -> Role:
    """Return the role that an event needs; one that nobody knows is an operator's to be told."""
    return EVENT_ROLES.get(name, Role.OPERATE)


def role_of_route(method: str, route: str, event: str = "") -> Role:
    """Return the role that a route of the listener needs.

    `route` is as it was mounted (`/events/{name}`), `event` the name in it.
    """
    reads = method in ("GET", "HEAD")
    if route == "/events/{name}" and not reads:
        return role_of_event(event)
    if reads and (route in _READING_ROUTES or route.startswith("/v1/models/")):
        return Role.VIEW
    return Role.SUBMIT if route.startswith(_GATEWAY) else Role.OPERATE
