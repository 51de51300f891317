"""What goes wrong, as OpenAI's clients understand it: a status, and `{"error": {…}}`.

One table from the engine's reply codes and error kinds; nothing else in the gateway decides
a status. What only the operator may know (whose key was refused) is not told to a caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from ksi_tui.engine.errors import ErrorKind, KsiError

RETRY_AFTER_S: Final = 2.0
"""When to ask again where neither the engine nor a provider can tell."""
MESSAGE_CHARS: Final = 2_000
CLIENT_GONE: Final = 499
"""No status of the standard: nginx's for a request that was closed before its answer."""

_BAD: Final = "invalid_request_error"
_SERVER: Final = "server_error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One error as it is sent. `retry_after_s` None: no header says when to ask again."""

    status: int
    type: str
    code: str
    message: str
    param: str | None = None
    retry_after_s: float | None = None

    def body(self) -> dict[str, Any]:
        """Return it in OpenAI's shape."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.code,
            }
        }


class Refused(KsiError):
    """A request of the gateway that ends with a fault."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault
        self.request_id: str | None = None
        """The request that ended so; None where none was accepted."""


def bad_request(
    message: str, *, param: str | None = None, code: str = "invalid_request", status: int = 400
) -> Refused:
    """Return the refusal of what a caller sent."""
    fault = Fault(status=status, type=_BAD, code=code, message=_short(message), param=param)
    return Refused(fault)


_KINDS: Final[Mapping[str, tuple[int, str, str, str | None]]] = {
    ErrorKind.API_RATE_LIMIT: (429, "rate_limit_error", "rate_limit_exceeded", None),
    ErrorKind.QUOTA_EXCEEDED: (429, "insufficient_quota", "insufficient_quota", None),
    ErrorKind.TIMEOUT: (504, "timeout_error", "timeout", None),
    ErrorKind.DEADLINE_EXCEEDED: (408, "timeout_error", "deadline_exceeded", None),
    ErrorKind.NETWORK_ERROR: (502, _SERVER, "network_error", None),
    ErrorKind.PROVIDER_ERROR: (502, _SERVER, "provider_error", None),
    ErrorKind.AUTH_ERROR: (502, _SERVER, "provider_auth_error", None),
    ErrorKind.MODEL_NOT_FOUND: (404, _BAD, "model_not_found", "model"),
    ErrorKind.INVALID_REQUEST: (400, _BAD, "invalid_request", None),
    ErrorKind.CONTEXT_WINDOW: (400, _BAD, "context_length_exceeded", "messages"),
    ErrorKind.CONTENT_POLICY: (400, _BAD, "content_policy_violation", "messages"),
    ErrorKind.TEMPORARY_FAILURE: (502, _SERVER, "temporary_failure", None),
    ErrorKind.LOCK_DENIED: (409, _BAD, "lock_denied", None),
    ErrorKind.DAEMON_RESTART: (503, _SERVER, "interrupted", None),
    ErrorKind.WORKER_LOST: (503, _SERVER, "interrupted", None),
    ErrorKind.CANCELLED: (CLIENT_GONE, "cancelled", "cancelled", None),
}
"""Per error kind: status, type, code and the parameter to blame."""

_CODES: Final[Mapping[str, tuple[int, str, str, str | None]]] = {
    "invalid_request": (400, _BAD, "invalid_request", None),
    "not_found": (404, _BAD, "not_found", None),
    "not_ready": (503, _SERVER, "not_ready", None),
    "queue_full": (429, "rate_limit_error", "queue_full", None),
    "no_provider": (404, _BAD, "model_not_found", "model"),
    "lock_denied": (409, _BAD, "lock_denied", None),
    "conflict": (409, _BAD, "conflict", None),
}
"""The same per code of a reply that refuses an event."""
_ASK_AGAIN: Final = ("rate_limit_exceeded", "queue_full", "not_ready", "interrupted")


def statuses() -> tuple[int, ...]:
    """Return every status that a request may end with once its body was read, in order."""
    known = (*_KINDS.values(), *_CODES.values())
    return tuple(sorted({status for status, *_ in known}))


def fault_of_kind(kind: str, message: str, retry_after_s: float | None = None) -> Fault:
    """Return the fault of a request that failed with an error kind."""
    known = _KINDS.get(kind, _KINDS[ErrorKind.TEMPORARY_FAILURE])
    if kind == ErrorKind.AUTH_ERROR:
        message = "a provider refused the credentials that this service is set up with"
    return _fault(known, message, retry_after_s)


def fault_of_reply(reply: Mapping[str, Any]) -> Fault:
    """Return the fault of an event that the engine refused."""
    known = _CODES.get(str(reply.get("code")), _CODES["not_ready"])
    return _fault(known, str(reply.get("error") or ""), None)


def fault_of_end(data: Mapping[str, Any]) -> Fault:
    """Return the fault of a request that ended without an answer, by its final event's data."""
    if "kind" in data:
        wait = data.get("retry_after_s")
        return fault_of_kind(str(data["kind"]), str(data.get("error") or ""), wait)
    by, reason = data.get("by"), data.get("reason")
    text = "the request was cancelled" + (f" by {by}" if by else "")
    return fault_of_kind(ErrorKind.CANCELLED, f"{text}: {reason}" if reason else text)


def ended_before(fault: Fault) -> Fault:
    """Return the fault of a request that had ended so before its key came again: no wait helps."""
    text = (
        "the request of this Idempotency-Key has ended and does not run again, asking again takes "
        f"a new key; it ended so: {fault.message}"
    )
    return replace(fault, message=_short(text), retry_after_s=None)


def engine_ended() -> Fault:
    """Return the fault of a request that was still open when the engine ended."""
    return _fault(_CODES["not_ready"], "the engine has ended before the request was answered", None)


def broken_off() -> Fault:
    """Return the fault of an answer that failed after a part of it had been sent."""
    text = (
        "the answer broke off after a part of it had been sent, and what was sent cannot be taken "
        "back; ask again"
    )
    return Fault(status=502, type=_SERVER, code="stream_interrupted", message=text)


def internal() -> Fault:
    """Return the fault of an error of the gateway itself; the log tells more."""
    return Fault(status=500, type=_SERVER, code="internal_error", message="internal error")


def _fault(
    known: tuple[int, str, str, str | None], message: str, retry_after_s: float | None
) -> Fault:
    status, type_, code, param = known
    if code in _ASK_AGAIN and retry_after_s is None:
        retry_after_s = RETRY_AFTER_S
    return Fault(
        status=status,
        type=type_,
        code=code,
        message=_short(message),
        param=param,
        retry_after_s=retry_after_s if status in (429, 503) else None,
    )


def _short(message: str) -> str:
    return message if len(message) <= MESSAGE_CHARS else f"{message[: MESSAGE_CHARS - 1]}…"
