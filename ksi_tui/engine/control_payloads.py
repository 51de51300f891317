"""The edge for operators: what the controls' events may carry.

Shapes and their faults only; what a control does is in `controls`, `provider_controls` and
`reported`.
"""

from __future__ import annotations

import re
from typing import Any, Self

from pydantic import AliasChoices, Field, field_validator, model_validator

from ksi_tui.config import ProviderSettings
from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import PauseScope
from ksi_tui.engine.payload_errors import shown
from ksi_tui.engine.payloads import Flag, Id, Note, Payload, Seconds


class QueueScope(Payload):
    """Data of `queue:pause` and `queue:resume`."""

    scope: PauseScope
    id: Id | None = None
    reason: Note | None = None
    by: Id | None = None

    @model_validator(mode="after")
    def _whom(self) -> Self:
        if self.scope is PauseScope.ENGINE and self.id is not None:
            raise ValueError("scope engine takes no id; the scopes session and provider do")
        if self.scope is not PauseScope.ENGINE and self.id is None:
            raise ValueError(f"id is missing: scope {self.scope} needs the {self.scope}'s name")
        return self


class ForceCircuit(Payload):
    """Data of `provider:open` and `provider:close`; without `for_s` until somebody ends it."""

    provider: Id
    reason: Note | None = None
    by: Id | None = None
    for_s: Seconds | None = None


class ResetCircuit(Payload):
    """Data of `provider:reset`; with `keep_statistics` it ends what holds the circuit, no more.

    `for_s` is taken as with its two relatives; a reset has no end.
    """

    provider: Id
    keep_statistics: Flag = False
    reason: Note | None = None
    by: Id | None = None
    for_s: Seconds | None = None


class Probe(Payload):
    """Data of `provider:probe`."""

    provider: Id
    by: Id | None = None


class AddProvider(ProviderSettings):
    """Data of `provider:add`: what a `[[providers]]` entry holds, and who adds it."""

    reason: Note | None = None
    by: Id | None = None

    @field_validator("api_key_env")
    @classmethod
    def _names_a_variable(cls, name: str | None) -> str | None:
        # The text is not repeated: somebody may have given the key itself.
        if name is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError("names the environment variable that holds the key, not the key")
        return name

    @property
    def settings(self) -> ProviderSettings:
        """The provider's settings alone."""
        given = {name: getattr(self, name) for name in ProviderSettings.model_fields}
        return ProviderSettings.model_construct(**given)


class ResetConversation(Payload):
    """Data of `completion:reset_conversation`."""

    session_id: Id = Field(validation_alias=AliasChoices("session_id", "conversation_id"))
    reason: Note | None = None
    by: Id | None = None


class ReportedFailure(Payload):
    """Data of `completion:failed`. `completion_data` is the request as `completion:async` data.

    The older service had that in `completion_data.data`.
    """

    request_id: Id
    reason: ErrorKind
    message: Note
    completion_data: dict[str, Any] | None = None

    @field_validator("reason", mode="before")
    @classmethod
    def _old_words(cls, reason: Any) -> ErrorKind:
        word = re.sub(r"[\s-]+", "_", reason.strip().lower()) if isinstance(reason, str) else ""
        try:
            return OLD_WORDS.get(word) or ErrorKind(word)
        except ValueError:
            kinds = ", ".join(ErrorKind)
            words = ", ".join(sorted(OLD_WORDS))
            raise ValueError(
                f"{shown(reason)} is no error kind; allowed are {kinds}, "
                f"and the older words {words}"
            ) from None

    @field_validator("completion_data")
    @classmethod
    def _unwrapped(cls, given: dict[str, Any] | None) -> dict[str, Any] | None:
        data = (given or {}).get("data")
        return data if isinstance(data, dict) else given

    @model_validator(mode="after")
    def _one_request(self) -> Self:
        named = (self.completion_data or {}).get("request_id")
        if named is not None and named != self.request_id:
            raise ValueError(
                f"completion_data.request_id is {shown(named)}, request_id is {self.request_id!r};"
                " they are one request"
            )
        return self


_OLD_WORDS_OF = {
    ErrorKind.API_RATE_LIMIT: (
        "rate_limit",
        "rate_limited",
        "rate_limit_error",
        "rate_limit_exceeded",
        "throttled",
        "too_many_requests",
    ),
    ErrorKind.QUOTA_EXCEEDED: ("insufficient_quota", "out_of_quota", "quota"),
    ErrorKind.TIMEOUT: ("request_timeout", "timed_out", "time_out", "timeout_error"),
    ErrorKind.DEADLINE_EXCEEDED: ("deadline",),
    ErrorKind.NETWORK_ERROR: (
        "connection_error",
        "connection_lost",
        "connection_refused",
        "connection_reset",
        "dns_error",
        "network",
        "network_failure",
    ),
    ErrorKind.PROVIDER_ERROR: (
        "api_error",
        "bad_gateway",
        "internal_server_error",
        "overloaded",
        "overloaded_error",
        "server_error",
        "service_unavailable",
        "unavailable",
    ),
    ErrorKind.AUTH_ERROR: (
        "authentication",
        "authentication_error",
        "forbidden",
        "invalid_api_key",
        "permission_denied",
        "unauthorized",
    ),
    ErrorKind.MODEL_NOT_FOUND: ("no_such_model", "unknown_model"),
    ErrorKind.INVALID_REQUEST: ("bad_request", "invalid_request_error", "validation_error"),
    ErrorKind.CONTEXT_WINDOW: (
        "context_length",
        "context_length_exceeded",
        "context_window_exceeded",
    ),
    ErrorKind.CONTENT_POLICY: (
        "content_filter",
        "content_filtered",
        "content_policy_violation",
        "safety",
    ),
    ErrorKind.TEMPORARY_FAILURE: ("temporary", "temporary_error", "transient", "transient_error"),
    ErrorKind.LOCK_DENIED: ("conversation_locked", "locked"),
    ErrorKind.DAEMON_RESTART: ("engine_restart", "interrupted", "restart", "service_restart"),
    ErrorKind.WORKER_LOST: ("worker_crashed", "worker_died"),
    ErrorKind.CANCELLED: ("aborted", "canceled"),
}

OLD_WORDS = {word: kind for kind, words in _OLD_WORDS_OF.items() for word in words}
"""Words of older services for an error kind."""
