"""What can go wrong, as one tree and one table.

KsiError
├── ConfigError                   settings that cannot be used (exit code 2)
├── InputError                    what a command was given cannot be read (exit code 2)
├── EventError                    an event the engine refuses; carries a reply code
│   ├── InvalidRequest            invalid_request
│   │   └── FilterError           a filter that cannot be read; says where
│   ├── NotFound                  not_found
│   ├── NotReady                  not_ready
│   ├── QueueFull                 queue_full
│   ├── NoProvider                no_provider
│   ├── LockDenied                lock_denied
│   └── Conflict                  conflict
├── StoreError                    the database cannot serve
│   ├── NotADatabase              the file is none of ours; left untouched
│   ├── NewerDatabase             written by a later version; left untouched
│   ├── DatabaseOwned             another process runs an engine on it (exit code 3)
│   └── StoreUnavailable          full disk, read-only file, lost permission
└── ProviderFault                 a call that did not become an answer; carries an ErrorKind

The table `POLICY` says what follows from each kind of a call's failure. Nothing
else in the engine decides by error kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ksi_tui.engine.models import Usage


class ErrorKind(StrEnum):
    """Why a call, or a request as a whole, did not become an answer."""

    API_RATE_LIMIT = "api_rate_limit"
    QUOTA_EXCEEDED = "quota_exceeded"
    TIMEOUT = "timeout"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    NETWORK_ERROR = "network_error"
    PROVIDER_ERROR = "provider_error"
    AUTH_ERROR = "auth_error"
    MODEL_NOT_FOUND = "model_not_found"
    INVALID_REQUEST = "invalid_request"
    CONTEXT_WINDOW = "context_window"
    CONTENT_POLICY = "content_policy"
    TEMPORARY_FAILURE = "temporary_failure"
    LOCK_DENIED = "lock_denied"
    DAEMON_RESTART = "daemon_restart"
    WORKER_LOST = "worker_lost"
    CANCELLED = "cancelled"


class CircuitEffect(StrEnum):
    """What a failed call means to its provider's circuit."""

    NEUTRAL = "neutral"
    COUNTS = "counts"
    OPENS = "opens"


@dataclass(frozen=True, slots=True, kw_only=True)
class KindPolicy:
    """What follows from one kind of failure."""

    retried: bool
    fails_over: bool
    circuit: CircuitEffect
    cools_down: bool = False
    interruption: bool = False


def _policy(
    *,
    retried: bool = False,
    fails_over: bool = False,
    circuit: CircuitEffect = CircuitEffect.NEUTRAL,
) -> KindPolicy:
    return KindPolicy(retried=retried, fails_over=fails_over, circuit=circuit)


_INTERRUPTION = KindPolicy(
    retried=True, fails_over=False, circuit=CircuitEffect.NEUTRAL, interruption=True
)

POLICY: Mapping[ErrorKind, KindPolicy] = MappingProxyType(
    {
        ErrorKind.API_RATE_LIMIT: KindPolicy(
            retried=True, fails_over=True, circuit=CircuitEffect.NEUTRAL, cools_down=True
        ),
        ErrorKind.QUOTA_EXCEEDED: _policy(fails_over=True, circuit=CircuitEffect.OPENS),
        ErrorKind.TIMEOUT: _policy(retried=True, fails_over=True, circuit=CircuitEffect.COUNTS),
        ErrorKind.DEADLINE_EXCEEDED: _policy(),
        ErrorKind.NETWORK_ERROR: _policy(
            retried=True, fails_over=True, circuit=CircuitEffect.COUNTS
        ),
        ErrorKind.PROVIDER_ERROR: _policy(
            retried=True, fails_over=True, circuit=CircuitEffect.COUNTS
        ),
        ErrorKind.AUTH_ERROR: _policy(fails_over=True, circuit=CircuitEffect.OPENS),
        ErrorKind.MODEL_NOT_FOUND: _policy(fails_over=True),
        ErrorKind.INVALID_REQUEST: _policy(),
        ErrorKind.CONTEXT_WINDOW: _policy(),
        ErrorKind.CONTENT_POLICY: _policy(),
        ErrorKind.TEMPORARY_FAILURE: _policy(
            retried=True, fails_over=True, circuit=CircuitEffect.COUNTS
        ),
        ErrorKind.LOCK_DENIED: _policy(),
        ErrorKind.DAEMON_RESTART: _INTERRUPTION,
        ErrorKind.WORKER_LOST: _INTERRUPTION,
        ErrorKind.CANCELLED: _policy(),
    }
)
"""Contract section 4, one line a kind. `auth_error` opens for a 401 only: see `circuit_effect`."""


def circuit_effect(kind: ErrorKind, status: int | None) -> CircuitEffect:
    """Return what a failure does to the circuit; a 403 may concern one model: it is neutral."""
    if kind is ErrorKind.AUTH_ERROR and status == 403:
        return CircuitEffect.NEUTRAL
    return POLICY[kind].circuit


class KsiError(Exception):
    """Root of everything this project raises on purpose."""


class ConfigError(KsiError):
    """Settings that cannot be used; the message names file, key, found and allowed."""


class InputError(KsiError):
    """What a command was given, an argument or its input, cannot be read."""


class EventError(KsiError):
    """An event the engine refuses. `code` is the reply's machine-readable reason."""

    code: ClassVar[str] = "invalid_request"


class InvalidRequest(EventError):
    """The data is wrong; the message says what would be right."""

    code: ClassVar[str] = "invalid_request"


class FilterError(InvalidRequest):
    """A filter that cannot be read. `position` is the index of the character where it fails."""

    def __init__(self, position: int, message: str) -> None:
        super().__init__(message)
        self.position = position
        self.message = message


class NotFound(EventError):
    """No such request or provider."""

    code: ClassVar[str] = "not_found"


class NotReady(EventError):
    """The engine has not started, is ending, or cannot write."""

    code: ClassVar[str] = "not_ready"


class QueueFull(EventError):
    """A depth limit is reached; nothing accepted was dropped."""

    code: ClassVar[str] = "queue_full"


class NoProvider(EventError):
    """No configured provider serves the model."""

    code: ClassVar[str] = "no_provider"


class LockDenied(EventError):
    """Another agent holds the conversation lock."""

    code: ClassVar[str] = "lock_denied"


class Conflict(EventError):
    """The request's state does not allow what was asked."""

    code: ClassVar[str] = "conflict"


class StoreError(KsiError):
    """The database cannot serve."""


class NotADatabase(StoreError):
    """The file is not a database of this program."""


class NewerDatabase(StoreError):
    """The database was written by a later version of this program."""


class DatabaseOwned(StoreError):
    """Another process runs an engine on this database."""


class StoreUnavailable(StoreError):
    """The database cannot be written or read now."""


class ProviderFault(KsiError):
    """A call that did not become an answer.

    `status` is the HTTP status where there was one, `retry_after_s` the provider's
    wish in seconds, `usage` and `cost` what the call consumed before it failed
    (None: nothing known), `price_version` names the price list behind `cost`, and
    `tool_schema_tokens` is the part of the usage that its tools were (None: not counted).
    """

    def __init__(
        self,
        kind: ErrorKind,
        message: str,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
        usage: Usage | None = None,
        cost: float | None = None,
        price_version: str | None = None,
        tool_schema_tokens: int | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.status = status
        self.retry_after_s = retry_after_s
        self.usage = usage
        self.cost = cost
        self.price_version = price_version
        self.tool_schema_tokens = tool_schema_tokens
