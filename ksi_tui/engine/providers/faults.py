"""From what a failed call left behind to the error kind and one clean sentence.

Pure: it is given status, class names, headers and text, and imports no provider SDK.
The rules follow the contract's table of errors; what litellm makes of each fault was
measured with its version 1.106.2.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from ksi_tui.engine.errors import ErrorKind

LONGEST_MESSAGE = 500
"""Characters of a fault's message at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a failed call left behind.

    `names` are the class names of the exception and of its bases, `causes` those along
    its chain of causes. `headers` are those of a real HTTP answer, empty when none came.
    `mid_stream` is set when the answer had begun.
    """

    text: str
    names: frozenset[str] = frozenset()
    causes: frozenset[str] = frozenset()
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    code: str | None = None
    mid_stream: bool = False

    @property
    def answered(self) -> bool:
        """Whether an HTTP answer came at all."""
        return bool(self.headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """How a failed call is booked. `status` is None where the upstream sent none."""

    kind: ErrorKind
    message: str
    status: int | None = None
    retry_after_s: float | None = None


_QUOTA = re.compile(
    r"insufficient_quota|exceeded your current quota|billing_hard_limit|billing_not_active"
    r"|credit balance is too low|insufficient (?:credits|balance|funds)",
    re.IGNORECASE,
)
_WINDOW = re.compile(
    r"context_length_exceeded|context[ _]window|maximum context length|context length"
    r"|prompt is too long|input is too long|too many (?:input )?tokens|exceeds? the (?:model'?s )?"
    r"(?:maximum )?(?:context|number of tokens)",
    re.IGNORECASE,
)
_POLICY = re.compile(
    r"content_policy|content policy|content_filter|content management policy|responsible ?ai"
    r"|flagged as potentially violating|safety system",
    re.IGNORECASE,
)
_TIMED_OUT = re.compile(r"\btimed? ?out\b|\btimeout\b", re.IGNORECASE)
_BROKEN = re.compile(
    r"connection (?:error|reset|refused|closed|aborted|lost)|cannot connect|connect call failed"
    r"|server disconnected|name or service not known|nodename nor servname|getaddrinfo"
    r"|temporary failure in name resolution|name resolution|peer closed"
    r"|incomplete (?:chunked )?read|payload is not completed|transferencodingerror"
    r"|not enough data|broken pipe|ssl"
    r"|network is unreachable|no route to host",
    re.IGNORECASE,
)
_BROKEN_CAUSES = frozenset(
    {
        "ClientConnectorError",
        "ClientConnectionError",
        "ClientConnectorDNSError",
        "ClientOSError",
        "ClientPayloadError",
        "ConnectError",
        "ConnectionError",
        "ConnectionRefusedError",
        "ConnectionResetError",
        "BrokenPipeError",
        "ReadError",
        "RemoteProtocolError",
        "ServerDisconnectedError",
        "TransferEncodingError",
        "WriteError",
        "gaierror",
    }
)
_TIMEOUT_CAUSES = frozenset(
    {"TimeoutError", "TimeoutException", "ReadTimeout", "ConnectTimeout", "PoolTimeout"}
)
_BY_STATUS = {
    401: ErrorKind.AUTH_ERROR,
    403: ErrorKind.AUTH_ERROR,
    404: ErrorKind.MODEL_NOT_FOUND,
    408: ErrorKind.TIMEOUT,
    429: ErrorKind.API_RATE_LIMIT,
    504: ErrorKind.TIMEOUT,
}


def classify(evidence: Evidence, *, now: float) -> Fault:
    """Return the kind, message, status and wait of a failed call; `now` is epoch seconds."""
    kind = _kind(evidence)
    status = evidence.status if _status_is_real(evidence, kind) else None
    return Fault(
        kind=kind,
        message=clean_message(evidence.text) or _SPOKEN[kind],
        status=status,
        retry_after_s=retry_after_s(evidence.headers, now=now),
    )


def _kind(evidence: Evidence) -> ErrorKind:
    words = f"{evidence.code or ''} {evidence.text}"
    status = evidence.status
    if evidence.mid_stream and status not in (408, 429, 504):
        return _broken_kind(evidence, otherwise=ErrorKind.PROVIDER_ERROR)
    if status == 429:
        return ErrorKind.QUOTA_EXCEEDED if _QUOTA.search(words) else ErrorKind.API_RATE_LIMIT
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status is not None and 400 <= status < 500:
        return _refused_kind(evidence, words)
    if evidence.answered and status is not None and status >= 500:
        return ErrorKind.PROVIDER_ERROR
    return _broken_kind(
        evidence,
        otherwise=ErrorKind.PROVIDER_ERROR if status else ErrorKind.TEMPORARY_FAILURE,
    )


def _refused_kind(evidence: Evidence, words: str) -> ErrorKind:
    if "ContextWindowExceededError" in evidence.names or _WINDOW.search(words):
        return ErrorKind.CONTEXT_WINDOW
    if "ContentPolicyViolationError" in evidence.names or _POLICY.search(words):
        return ErrorKind.CONTENT_POLICY
    return ErrorKind.INVALID_REQUEST


def _broken_kind(evidence: Evidence, *, otherwise: ErrorKind) -> ErrorKind:
    """Tell a silent upstream from a broken connection; both come without an HTTP answer."""
    if evidence.causes & _TIMEOUT_CAUSES:
        return ErrorKind.TIMEOUT
    if evidence.causes & _BROKEN_CAUSES or _BROKEN.search(evidence.text):
        return ErrorKind.NETWORK_ERROR
    return ErrorKind.TIMEOUT if _TIMED_OUT.search(evidence.text) else otherwise


def _status_is_real(evidence: Evidence, kind: ErrorKind) -> bool:
    """Whether the upstream itself sent the status: litellm invents a 500 where no answer came."""
    if evidence.status is None or kind is ErrorKind.NETWORK_ERROR:
        return False
    return evidence.answered or evidence.status < 500


def retry_after_s(headers: Mapping[str, str], *, now: float) -> float | None:
    """Return the wait that `Retry-After` asks for, in seconds from `now`; None without one.

    RFC 9110, 10.2.3: a number of seconds or an HTTP date. `retry-after-ms` goes first.
    """
    found = {name.lower(): value for name, value in headers.items()}
    milliseconds = _number(found.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    asked = found.get("retry-after")
    seconds = _number(asked)
    if seconds is not None or not asked:
        return seconds
    try:
        moment = parsedate_to_datetime(asked)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.fromtimestamp(now, UTC)).total_seconds())


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


_PREFIX = re.compile(
    r"^\s*(?:litellm\.)?(?:exceptions\.)?"
    r"(?:[A-Z]\w*(?:Error|Exception|Timeout)|Timeout|APIError|Error code: \d{3})\s*(?:[:\-]\s*)+"
)
_ROUTE = re.compile(r"^\s*[A-Za-z_]+Exception\s*[:\-]\s*")
_TAIL = re.compile(
    r"\s*(?:Received Model Group=|Available Model Group Fallbacks=|LiteLLM Retried:"
    r"|model=\S+ api_base=|LiteLLM Default Request Timeout"
    r"|Original exception: \w+: |Traceback \(most recent call last\)).*",
    re.DOTALL,
)
_SPOKEN = {kind: f"the call failed ({kind.value.replace('_', ' ')})" for kind in ErrorKind}
_SPACES = re.compile(r"\s+")
_TAGS = re.compile(r"<[^>]{0,500}>")


def clean_message(text: str) -> str:
    """Return one line without the SDK's prefixes and tails, at most `LONGEST_MESSAGE` long."""
    previous = None
    while previous != text:
        previous = text
        text = _ROUTE.sub("", _PREFIX.sub("", text))
    text = _TAIL.sub("", text)
    text = _inner_message(text) or text
    if "<html" in text.lower() or "<!doctype" in text.lower():
        text = "the server answered with a web page: " + _TAGS.sub(" ", text)
    text = _SPACES.sub(" ", text).strip()
    return text if len(text) <= LONGEST_MESSAGE else text[: LONGEST_MESSAGE - 1] + "…"


def _inner_message(text: str) -> str | None:
    """Return the message inside a provider's JSON error body, when `text` holds one."""
    start = text.find("{")
    if start < 0:
        return None
    try:
        body, _ = json.JSONDecoder().raw_decode(text[start:])
    except (ValueError, RecursionError):
        return None
    return message_in(body)


def message_in(body: Any) -> str | None:
    """Return the human sentence in an error body of any of the usual shapes, else None."""
    for _ in range(4):
        if isinstance(body, str):
            return body or None
        if not isinstance(body, Mapping):
            return None
        body = next((body[k] for k in ("error", "message", "detail") if body.get(k)), None)
    return None


_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
_SECRET_LOOK = re.compile(r"\b(?:sk|pk|gsk|xai|key)-[A-Za-z0-9_\-]{12,}|\bBearer\s+[^\s\"',]+")


class Secrets:
    """Knows the environment's secret values by the names of their variables, and takes them out."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        found = [(value, name) for name, value in environ.items() if _SECRET_NAME.search(name)]
        # The longest goes first, so that a key within another leaves no rest behind.
        self._known = sorted((p for p in found if len(p[0]) >= 6), key=lambda p: -len(p[0]))

    def scrubbed(self, text: str) -> str:
        """Return `text` with secrets replaced by their names, and what looks like one hidden."""
        for value, name in self._known:
            text = text.replace(value, f"[{name}]")
        return _SECRET_LOOK.sub("[key]", text)


def evidence_of(error: BaseException, *, mid_stream: bool) -> Evidence:
    """Return what an exception of the SDK tells; knows attributes by name, not its classes."""
    original = getattr(error, "original_exception", None)
    source = original if isinstance(original, BaseException) else error
    headers = getattr(source, "litellm_response_headers", None) or {}
    code = getattr(source, "code", None)
    return Evidence(
        text=str(getattr(source, "message", None) or source),
        names=frozenset(base.__name__ for base in type(source).__mro__),
        causes=frozenset(_cause_names(error)),
        status=_status_of(source),
        headers={str(name): str(value) for name, value in dict(headers).items()},
        code=str(code) if code else None,
        mid_stream=mid_stream,
    )


def _status_of(error: BaseException) -> int | None:
    status = getattr(error, "status_code", None)
    try:
        return int(status) if status is not None else None
    except (TypeError, ValueError):
        return None


def _cause_names(error: BaseException) -> set[str]:
    names: set[str] = set()
    seen: set[int] = set()
    waiting: list[Any] = [error]
    while waiting:
        found = waiting.pop()
        if not isinstance(found, BaseException) or id(found) in seen:
            continue
        seen.add(id(found))
        names.update(base.__name__ for base in type(found).__mro__)
        waiting += [
            found.__cause__,
            found.__context__,
            getattr(found, "original_exception", None),
        ]
    return names
