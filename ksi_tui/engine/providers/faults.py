"""From what a failed call left behind to an error kind and one clean sentence.

Pure: it is given status, class names, headers and text, and imports no provider SDK.
The rules are the contract's table of errors; what litellm makes of each fault was
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

    `status` and `headers` are those of a real HTTP answer; `said_status` is what the SDK
    says, which invents a 500 where none came. `names` are the class names of the error and
    its bases, `causes` those of everything behind it. `broken` is what the connection's own
    error says. `mid_stream` is set when the answer had begun.
    """

    text: str
    status: int | None = None
    said_status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    code: str | None = None
    names: frozenset[str] = frozenset()
    causes: frozenset[str] = frozenset()
    broken: str | None = None
    mid_stream: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """How a failed call is booked. `status` is None where the upstream sent none."""

    kind: ErrorKind
    message: str
    status: int | None = None
    retry_after_s: float | None = None


BROKEN_CAUSES = frozenset(
    {
        "BrokenPipeError",
        "ClientConnectionError",
        "ClientPayloadError",
        "ConnectError",
        "ConnectionError",
        "IncompleteReadError",
        "ReadError",
        "RemoteProtocolError",
        "WriteError",
        "gaierror",
    }
)
"""Classes, and bases of classes, that mean a connection which did not come about or broke."""

_TIMEOUT_CAUSES = frozenset({"Timeout", "TimeoutError", "TimeoutException"})
_BY_STATUS = {
    401: ErrorKind.AUTH_ERROR,
    402: ErrorKind.QUOTA_EXCEEDED,
    403: ErrorKind.AUTH_ERROR,
    404: ErrorKind.MODEL_NOT_FOUND,
    408: ErrorKind.TIMEOUT,
    429: ErrorKind.API_RATE_LIMIT,
    504: ErrorKind.TIMEOUT,
}
_CALLERS_OWN = (400, 413, 422)
"""The statuses of the caller's own errors; any other 4xx is not recognised."""
_QUOTA = re.compile(
    r"insufficient_quota|exceeded your current quota|billing_(?:hard_limit|not_active)"
    r"|credit balance is too low|insufficient (?:credits|balance|funds)",
    re.IGNORECASE,
)
_LIMITED = re.compile(r"\b429\b|rate_limit", re.IGNORECASE)
_STATUS_WORD = re.compile(r"\b[45]\d\d\b")
_WINDOW = re.compile(
    r"context_length_exceeded|context window|maximum context length|prompt is too long"
    r"|input is too long|exceeds? the (?:model'?s )?(?:maximum )?(?:context|number of tokens)",
    re.IGNORECASE,
)
_POLICY = re.compile(
    r"content[_ ]policy|content_filter|content management policy|safety system"
    r"|flagged as potentially violating",
    re.IGNORECASE,
)


def classify(evidence: Evidence, *, now: float) -> Fault:
    """Return kind, message, status and wait of a failed call; `now` is epoch seconds."""
    kind = _kind(evidence)
    return Fault(
        kind=kind,
        message=_message(kind, evidence) or f"the call failed: {kind.value.replace('_', ' ')}",
        status=evidence.status,
        retry_after_s=retry_after_s(evidence.headers, now=now),
    )


def _message(kind: ErrorKind, evidence: Evidence) -> str:
    if kind is ErrorKind.NETWORK_ERROR and evidence.broken:
        return clean_message(_SSL_OBJECT.sub(":", evidence.broken))
    message = clean_message(evidence.text)
    if kind is ErrorKind.PROVIDER_ERROR and message.startswith(_JSON_COMPLAINTS):
        return f"the server's answer is not valid JSON: {message}"
    return message


def _kind(evidence: Evidence) -> ErrorKind:
    if evidence.status is not None:
        return _kind_of_status(evidence.status, evidence)
    if evidence.causes & _TIMEOUT_CAUSES:
        return ErrorKind.TIMEOUT
    if evidence.broken is not None:
        return ErrorKind.NETWORK_ERROR
    code = evidence.code or ""  # that of an error which came with status 200
    if evidence.said_status == 429 or _LIMITED.search(code) or _QUOTA.search(code):
        return _kind_of_status(429, evidence)
    if evidence.mid_stream:
        return ErrorKind.PROVIDER_ERROR
    if (status := _STATUS_WORD.search(code)) is not None:
        return _kind_of_status(int(status[0]), evidence)
    if evidence.said_status is not None:
        return _kind_of_status(evidence.said_status, evidence)
    told = "APIError" in evidence.names
    return ErrorKind.PROVIDER_ERROR if told else ErrorKind.TEMPORARY_FAILURE


def _kind_of_status(status: int, evidence: Evidence) -> ErrorKind:
    words = f"{evidence.code or ''} {evidence.text}"
    if status in (400, 402, 403, 429) and _QUOTA.search(words):
        return ErrorKind.QUOTA_EXCEEDED
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if not 400 <= status < 500:
        return ErrorKind.PROVIDER_ERROR
    if "AuthenticationError" in evidence.names:  # some providers refuse a bad key with a 400
        return ErrorKind.AUTH_ERROR
    if "ContextWindowExceededError" in evidence.names or _WINDOW.search(words):
        return ErrorKind.CONTEXT_WINDOW
    if "ContentPolicyViolationError" in evidence.names or _POLICY.search(words):
        return ErrorKind.CONTENT_POLICY
    return ErrorKind.INVALID_REQUEST if status in _CALLERS_OWN else ErrorKind.TEMPORARY_FAILURE


def retry_after_s(headers: Mapping[str, str], *, now: float) -> float | None:
    """Return the wait that `Retry-After` asks for, in seconds from `now`; None without one.

    RFC 9110, 10.2.3: a number of seconds or an HTTP date. `retry-after-ms`, which some
    providers send beside it, is the more exact one and goes first.
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
    r"(?:[A-Z]\w*(?:Error|Exception|Timeout)|Timeout(?: Error)?|LiteLLM|Error code: \d{3})"
    r"\s*(?:[:\-]\s*)+"
)
_TAIL = re.compile(
    r"\s*(?:Received Model Group=|Available Model Group|LiteLLM Retried:|Handle with `litellm"
    r"|LiteLLM Default Request Timeout|Original exception: \w+: |Error_str:"
    r"|Traceback \(most recent call last\)|For more information check:).*",
    re.DOTALL,
)
_NOT_AN_ANSWER = re.compile(
    r"(?:Empty or invalid response from LLM endpoint|Unable to get json response)"
    r".*?(?:Received|Original Response): (?P<body>.*)",
    re.DOTALL,
)
_NO_CHOICES = "provider returned 'choices' that is not a list"
_SSL_OBJECT = re.compile(r" ssl:(?:<[^>]*>|\w+)")
_PAGE = re.compile(r"<(?:!doctype|html|head|body)\b", re.IGNORECASE)
_TITLE = re.compile(r"<(title|h1)\b[^>]*>(?P<title>.*?)</\1", re.IGNORECASE | re.DOTALL)
_JSON_COMPLAINTS = (
    "Expecting ",
    "Extra data",
    "Unterminated string",
    "Invalid control char",
    "'utf-8' codec can't decode",
)
_SPACES = re.compile(r"\s+")
_LONGEST_QUOTE = 120


def clean_message(text: str) -> str:
    """Return one line without the SDK's prefixes and tails, at most `LONGEST_MESSAGE` long."""
    previous = None
    while previous != text:
        previous = text
        text = _PREFIX.sub("", text)
    if _PAGE.search(text):
        title = _TITLE.search(text)
        text = "the server answered with a web page"
        text += f": {_shortened(title['title'], _LONGEST_QUOTE)}" if title else ""
    elif strange := _NOT_AN_ANSWER.search(text):
        text = f"the server's answer is no completion: {strange['body'][:_LONGEST_QUOTE]}"
    elif _NO_CHOICES in text:
        text = "the server's answer is no completion: it has no list of choices"
    else:
        text = _inner_message(text) or _TAIL.sub("", text)
    return _shortened(text, LONGEST_MESSAGE)


def _shortened(text: str, longest: int) -> str:
    text = _SPACES.sub(" ", text).strip()
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _inner_message(text: str) -> str | None:
    """Return the sentence inside a provider's JSON error body, when `text` holds one."""
    start = text.find("{")
    if start < 0:
        return None
    try:
        body, _ = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    return message_in(body)


def message_in(body: Any) -> str | None:
    """Return the sentence in an error body of any of the usual shapes, else None."""
    for _ in range(4):
        if isinstance(body, str):
            return body or None
        if not isinstance(body, Mapping):
            return None
        body = next((body[k] for k in ("error", "message", "detail") if body.get(k)), None)
    return None
