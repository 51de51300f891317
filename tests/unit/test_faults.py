"""Every way in which a call fails has its kind, a clean sentence, and the wait it asks for."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.providers.evidence import evidence_of
from ksi_tui.engine.providers.faults import (
    LONGEST_MESSAGE,
    Evidence,
    classify,
    clean_message,
    message_in,
    retry_after_s,
)

NOW = 1_700_000_000.0
ANSWER = {"content-type": "application/json"}


def evidence(**changes: Any) -> Evidence:
    return Evidence(**{"text": "it failed", **changes})


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ErrorKind.INVALID_REQUEST),
        (401, ErrorKind.AUTH_ERROR),
        (402, ErrorKind.QUOTA_EXCEEDED),
        (403, ErrorKind.AUTH_ERROR),
        (404, ErrorKind.MODEL_NOT_FOUND),
        (408, ErrorKind.TIMEOUT),
        (409, ErrorKind.TEMPORARY_FAILURE),
        (413, ErrorKind.INVALID_REQUEST),
        (418, ErrorKind.TEMPORARY_FAILURE),
        (422, ErrorKind.INVALID_REQUEST),
        (429, ErrorKind.API_RATE_LIMIT),
        (500, ErrorKind.PROVIDER_ERROR),
        (502, ErrorKind.PROVIDER_ERROR),
        (503, ErrorKind.PROVIDER_ERROR),
        (504, ErrorKind.TIMEOUT),
        (529, ErrorKind.PROVIDER_ERROR),
    ],
)
def test_a_real_status_decides_whatever_the_sdk_made_of_it(status: int, kind: ErrorKind) -> None:
    fault = classify(evidence(status=status, said_status=500, headers=ANSWER), now=NOW)
    assert (fault.kind, fault.status) == (kind, status)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"status": 429, "code": "insufficient_quota"}, ErrorKind.QUOTA_EXCEEDED),
        ({"status": 429, "text": "You exceeded your current quota"}, ErrorKind.QUOTA_EXCEEDED),
        ({"status": 400, "text": "Your credit balance is too low"}, ErrorKind.QUOTA_EXCEEDED),
        ({"status": 402, "text": "Insufficient Balance"}, ErrorKind.QUOTA_EXCEEDED),
        ({"status": 400, "code": "context_length_exceeded"}, ErrorKind.CONTEXT_WINDOW),
        ({"status": 400, "text": "prompt is too long: 9 > 8"}, ErrorKind.CONTEXT_WINDOW),
        (
            {"status": 400, "names": frozenset({"ContextWindowExceededError"})},
            ErrorKind.CONTEXT_WINDOW,
        ),
        ({"status": 400, "code": "content_policy_violation"}, ErrorKind.CONTENT_POLICY),
        (
            {"status": 400, "names": frozenset({"ContentPolicyViolationError"})},
            ErrorKind.CONTENT_POLICY,
        ),
        ({"status": 400, "names": frozenset({"AuthenticationError"})}, ErrorKind.AUTH_ERROR),
    ],
)
def test_statuses_that_mean_several_things_are_told_apart(
    changes: dict[str, Any], kind: ErrorKind
) -> None:
    assert classify(evidence(headers=ANSWER, **changes), now=NOW).kind is kind


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"said_status": 500, "broken": "Server disconnected"}, ErrorKind.NETWORK_ERROR),
        ({"said_status": 408, "causes": frozenset({"TimeoutError"})}, ErrorKind.TIMEOUT),
        (
            {"said_status": 500, "broken": "x", "causes": frozenset({"TimeoutError"})},
            ErrorKind.TIMEOUT,
        ),
        ({"said_status": 500}, ErrorKind.PROVIDER_ERROR),
        ({"said_status": 500, "mid_stream": True}, ErrorKind.PROVIDER_ERROR),
        ({"said_status": 400, "mid_stream": True}, ErrorKind.PROVIDER_ERROR),
        ({"said_status": 429, "mid_stream": True}, ErrorKind.API_RATE_LIMIT),
        ({"said_status": 500, "mid_stream": True, "code": "429"}, ErrorKind.API_RATE_LIMIT),
        (
            {"said_status": 500, "mid_stream": True, "code": "rate_limit_error"},
            ErrorKind.API_RATE_LIMIT,
        ),
        ({"said_status": 500, "mid_stream": True, "broken": "x"}, ErrorKind.NETWORK_ERROR),
        ({"said_status": 400}, ErrorKind.INVALID_REQUEST),
        ({"said_status": 401}, ErrorKind.AUTH_ERROR),
        ({"said_status": 500, "code": "429 error"}, ErrorKind.API_RATE_LIMIT),
        ({"said_status": 500, "code": "rate_limit_error"}, ErrorKind.API_RATE_LIMIT),
        ({"said_status": 500, "code": "insufficient_quota"}, ErrorKind.QUOTA_EXCEEDED),
        ({"said_status": 500, "code": "401"}, ErrorKind.AUTH_ERROR),
        ({"said_status": 500, "mid_stream": True, "code": "401"}, ErrorKind.PROVIDER_ERROR),
        ({"names": frozenset({"APIError"})}, ErrorKind.PROVIDER_ERROR),
        ({}, ErrorKind.TEMPORARY_FAILURE),
    ],
)
def test_without_an_answer_the_causes_decide_and_no_status_is_invented(
    changes: dict[str, Any], kind: ErrorKind
) -> None:
    fault = classify(evidence(**changes), now=NOW)
    assert (fault.kind, fault.status) == (kind, None)


def test_a_broken_connection_speaks_for_itself() -> None:
    fault = classify(
        evidence(text="Connection error.", said_status=500, broken="Server disconnected"), now=NOW
    )
    assert fault.message == "Server disconnected"


def test_a_refused_connection_names_no_object_of_the_program() -> None:
    said = "Cannot connect to host localhost:9 ssl:<ssl.SSLContext object at 0x7f> [refused]"
    fault = classify(evidence(said_status=500, broken=said), now=NOW)
    assert fault.message == "Cannot connect to host localhost:9: [refused]"


def test_an_answer_without_choices_is_told_without_the_sdks_words() -> None:
    said = "LiteLLM: provider returned 'choices' that is not a list (NoneType). Raw keys: ['id']"
    fault = classify(evidence(said_status=500, text=said), now=NOW)
    assert fault.message == "the server's answer is no completion: it has no list of choices"


def test_a_fault_without_any_text_still_says_something() -> None:
    assert classify(evidence(text=" ", status=503), now=NOW).message == (
        "the call failed: provider error"
    )


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": format_datetime(datetime.fromtimestamp(NOW + 90, UTC), usegmt=True)}, 90),
        ({"retry-after": format_datetime(datetime.fromtimestamp(NOW - 90, UTC), usegmt=True)}, 0),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 -0000"}, 30),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": ""}, None),
    ],
)
def test_the_wait_is_read_from_seconds_and_from_dates(
    headers: dict[str, str], wait: float | None
) -> None:
    assert retry_after_s(headers, now=NOW) == wait


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (
            "litellm.InternalServerError: InternalServerError: OpenAIException - Connection error.",
            "Connection error.",
        ),
        ("litellm.Timeout: Timeout Error: OpenAIException - Request timeout.", "Request timeout."),
        (
            'litellm.RateLimitError: AnthropicException - {"type":"error","error":'
            '{"type":"rate_limit_error","message":"Slow down."}}',
            "Slow down.",
        ),
        (
            'litellm.BadRequestError: AnthropicException - b\'{"error": {"message": "No."}}\'',
            "No.",
        ),
        ("Error code: 500 - {'error': 'python repr'}", "{'error': 'python repr'}"),
        (
            "litellm.NotFoundError: No such model. Received Model Group=x\nAvailable Model Group",
            "No such model.",
        ),
        (
            "AnthropicException - Server disconnected. Handle with `litellm.X`.",
            "Server disconnected.",
        ),
        ("two\nlines\t and   spaces ", "two lines and spaces"),
        ("<!DOCTYPE html><title>Sign in</title>", "the server answered with a web page: Sign in"),
        ("<html><body>hm", "the server answered with a web page"),
        (
            "Empty or invalid response from LLM endpoint. Received: 'pong'",
            "the server's answer is no completion: 'pong'",
        ),
    ],
)
def test_messages_are_one_clean_sentence(raw: str, clean: str) -> None:
    assert clean_message(raw) == clean


@given(st.text(max_size=3000))
def test_any_text_gives_one_bounded_line(text: str) -> None:
    message = clean_message(text)
    assert len(message) <= LONGEST_MESSAGE
    assert "\n" not in message


def test_a_sentence_is_found_in_the_usual_error_bodies() -> None:
    assert message_in({"error": {"message": "a"}}) == "a"
    assert message_in({"error": "b"}) == "b"
    assert message_in({"message": "c", "code": 3}) == "c"
    assert message_in({"detail": "d"}) == "d"
    assert message_in({"other": "e"}) is None
    assert message_in(["f"]) is None


class Response:
    def __init__(self, status: int, headers: dict[str, str]) -> None:
        self.status_code = status
        self.headers = headers


class Http(Exception):
    def __init__(self, status: int, headers: dict[str, str], body: Any = None) -> None:
        super().__init__(f"error {status}")
        self.response = Response(status, headers)
        self.body = body


class RateLimitError(Exception):
    status_code = 429


def raised(outer: BaseException, inner: BaseException) -> BaseException:
    try:
        try:
            raise inner
        except type(inner):
            raise outer  # noqa: B904  (as litellm does it)
    except type(outer) as error:
        return error


def test_the_answer_is_taken_from_the_innermost_error() -> None:
    inner = Http(413, {"retry-after": "3"}, {"message": "Request too large.", "code": "too_large"})
    found = evidence_of(
        raised(RateLimitError("litellm.RateLimitError: x"), inner), mid_stream=False
    )
    assert (found.status, found.said_status) == (413, 429)
    assert (found.text, found.code) == ("Request too large.", "too_large")
    fault = classify(found, now=NOW)
    assert (fault.kind, fault.retry_after_s) == (ErrorKind.INVALID_REQUEST, 3.0)


def test_an_invented_answer_has_no_headers_and_is_none() -> None:
    found = evidence_of(Http(500, {}), mid_stream=False)
    assert (found.status, found.headers) == (None, {})


def test_a_wrapper_speaks_with_the_words_of_what_it_carries() -> None:
    wrapper = RateLimitError("outside")
    wrapper.original_exception = ValueError("inside")  # type: ignore[attr-defined]
    assert evidence_of(wrapper, mid_stream=True).text == "inside"


def test_a_broken_connection_is_found_by_its_bases() -> None:
    found = evidence_of(
        raised(RuntimeError("call failed"), ConnectionResetError("reset by peer")), mid_stream=False
    )
    assert found.broken == "reset by peer"
    assert classify(found, now=NOW).kind is ErrorKind.NETWORK_ERROR


def test_errors_that_cause_each_other_in_a_ring_end() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__context__, two.__context__ = two, one
    assert evidence_of(one, mid_stream=False).text == "one"
