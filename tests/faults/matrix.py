"""What has to happen under every fault of an upstream: the contract's table, and a row a fault.

Expectations only, from the contract and not from the engine's own table, so that a rule
that is changed in the engine alone is noticed. Nothing in here runs anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from ksi_tui.engine.errors import ErrorKind
from tests.servers.modes import SENTENCE, WORDS
from tests.servers.modes_answers import ACCENTED, HUGE_WORDS


class Effect(StrEnum):
    """What a call's end does to its provider's circuit."""

    CLOSES = "answered"
    NEUTRAL = "neutral"
    COUNTS = "counts"
    OPENS = "opens"


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the contract's table of errors (section 4)."""

    retried: bool
    fails_over: bool
    circuit: Effect


CONTRACT = {
    ErrorKind.API_RATE_LIMIT: Rule(True, True, Effect.NEUTRAL),
    ErrorKind.QUOTA_EXCEEDED: Rule(False, True, Effect.OPENS),
    ErrorKind.TIMEOUT: Rule(True, True, Effect.COUNTS),
    ErrorKind.DEADLINE_EXCEEDED: Rule(False, False, Effect.NEUTRAL),
    ErrorKind.NETWORK_ERROR: Rule(True, True, Effect.COUNTS),
    ErrorKind.PROVIDER_ERROR: Rule(True, True, Effect.COUNTS),
    ErrorKind.AUTH_ERROR: Rule(False, True, Effect.OPENS),
    ErrorKind.MODEL_NOT_FOUND: Rule(False, True, Effect.NEUTRAL),
    ErrorKind.INVALID_REQUEST: Rule(False, False, Effect.NEUTRAL),
    ErrorKind.CONTEXT_WINDOW: Rule(False, False, Effect.NEUTRAL),
    ErrorKind.CONTENT_POLICY: Rule(False, False, Effect.NEUTRAL),
    ErrorKind.TEMPORARY_FAILURE: Rule(True, True, Effect.COUNTS),
}
ANSWERED = Rule(False, False, Effect.CLOSES)

CLOCK_S = 4.0
"""The clocks of the engine that the hanging faults are played on: long enough for a first word."""
MAX_COOLDOWN_S = 2.0
MAX_ATTEMPTS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """How a call under a fault has to end. `kind` None: as an answer that says `said`.

    `said` is how the error's message begins. `broken` is the text that had come before it.
    `clock` is the one of the engine's clocks that ends the call. `wait_s` is the wait, at
    least, before it is tried again. `timeout_s` is asked for with the request. `rule` is the
    contract's unless the row is one of its exceptions.
    """

    kind: ErrorKind | None = None
    said: str = ""
    status: int | None = None
    broken: str = ""
    clock: str = ""
    wait_s: float = 0.0
    cools: bool = False
    timeout_s: float | None = None
    exception: Rule | None = None
    finish: tuple[str, ...] = ("stop",)
    estimated: bool = False

    @property
    def rule(self) -> Rule:
        """What follows from it."""
        if self.exception is not None:
            return self.exception
        return CONTRACT[self.kind] if self.kind is not None else ANSWERED

    @property
    def attempts(self) -> int:
        """How many attempts are spent where nobody else serves the model."""
        return MAX_ATTEMPTS if self.rule.retried else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One row: a mode of the misbehaving server, and how a call ends, unstreamed and streamed."""

    name: str
    mode: str
    ends: dict[bool, Ends] = field(hash=False)

    @property
    def hangs(self) -> bool:
        """Whether one of the engine's clocks has to end it."""
        return any(ends.clock for ends in self.ends.values())


@dataclass(frozen=True, slots=True)
class Case:
    """One fault, streamed or not, with a good provider behind the bad one or without."""

    fault: Fault
    streamed: bool
    followed: bool

    @property
    def ends(self) -> Ends:
        """How its bad call has to end."""
        return self.fault.ends[self.streamed]

    @property
    def model(self) -> str:
        """The name of its model, and of the bad provider that serves it."""
        word = "".join(c if c.isalnum() else "-" for c in self.fault.mode)
        return (
            f"{word}-{'stream' if self.streamed else 'whole'}-{'two' if self.followed else 'one'}"
        )


def _both(name: str, mode: str, kind: ErrorKind | None, said: str, **more: object) -> Fault:
    ends = Ends(kind=kind, said=said, **more)  # type: ignore[arg-type]
    return Fault(name=name, mode=mode, ends={False: ends, True: ends})


def _split(name: str, mode: str, whole: Ends | None, stream: Ends | None) -> Fault:
    ends = {False: whole, True: stream}
    return Fault(name=name, mode=mode, ends={k: v for k, v in ends.items() if v is not None})


def _streamed(name: str, mode: str, kind: ErrorKind | None, said: str, **more: object) -> Fault:
    return _split(name, mode, None, Ends(kind=kind, said=said, **more))  # type: ignore[arg-type]


K = ErrorKind
_FEW, _SOME = " ".join(WORDS[:3]) + " ", " ".join(WORDS[:5]) + " "
_NEUTRAL_403 = Rule(False, True, Effect.NEUTRAL)
_TOO_LATE = Rule(False, True, Effect.COUNTS)
_NO_JSON = "the server's answer is not valid JSON"
_NO_ANSWER = "the server's answer is no completion"
_EMPTY = Ends(kind=K.PROVIDER_ERROR, said="the reply is empty")
_WORDS = " ".join(WORDS)

STATUSES = (
    _both("400", "400", K.INVALID_REQUEST, "Unknown parameter", status=400),
    _both("400 that nothing explains", "400_html", K.INVALID_REQUEST, "the server", status=400),
    _both("400 context window, by code", "400_context", K.CONTEXT_WINDOW, "This", status=400),
    _both("400 context window, by text", "400_window", K.CONTEXT_WINDOW, "This", status=400),
    _both("400 content policy, by code", "400_policy", K.CONTENT_POLICY, "Your", status=400),
    _both("400 content policy, by text", "400_filter", K.CONTENT_POLICY, "The prompt", status=400),
    _both("401", "401", K.AUTH_ERROR, "Incorrect API key", status=401),
    _both("402", "402", K.QUOTA_EXCEEDED, "Payment required.", status=402),
    _both("403", "403", K.AUTH_ERROR, "You are not", status=403, exception=_NEUTRAL_403),
    _both("404", "404", K.MODEL_NOT_FOUND, "The model", status=404),
    _both("408", "408", K.TIMEOUT, "Request timeout.", status=408),
    _both("409", "409", K.TEMPORARY_FAILURE, "Conflict.", status=409),
    _both("413", "413", K.INVALID_REQUEST, "Request too large.", status=413),
    _both("418", "418", K.TEMPORARY_FAILURE, "I'm a teapot.", status=418),
    _both("422", "422", K.INVALID_REQUEST, "messages: field required", status=422),
    _both("429", "429", K.API_RATE_LIMIT, "Rate limit", status=429),
    _both(
        "429, Retry-After 1",
        "429@1",
        K.API_RATE_LIMIT,
        "Rate limit",
        status=429,
        wait_s=1,
        cools=True,
    ),
    _both(
        "429, Retry-After a date in 2 s",
        "429_date@2",
        K.API_RATE_LIMIT,
        "Rate limit",
        status=429,
        wait_s=0.5,
        cools=True,
    ),
    _both(
        "429, Retry-After over max_cooldown_s",
        "429@100000",
        K.API_RATE_LIMIT,
        "Rate limit",
        status=429,
        wait_s=MAX_COOLDOWN_S,
        cools=True,
    ),
    _both("429 insufficient_quota", "429_quota", K.QUOTA_EXCEEDED, "You exceeded", status=429),
    _both("500", "500", K.PROVIDER_ERROR, "The server had an error", status=500),
    _both("500 without a body", "500_bare", K.PROVIDER_ERROR, "", status=500),
    _both("501", "501", K.PROVIDER_ERROR, "Not implemented.", status=501),
    _both("502", "502", K.PROVIDER_ERROR, "Bad gateway.", status=502),
    _both("502 with a web page", "html_502", K.PROVIDER_ERROR, "the server answ", status=502),
    _both("503", "503", K.PROVIDER_ERROR, "The engine is", status=503),
    _both("503, Retry-After 1", "503@1", K.PROVIDER_ERROR, "The engine", status=503, wait_s=1),
    _both(
        "503, Retry-After a date in 3 s",
        "503_date@3",
        K.PROVIDER_ERROR,
        "The engine",
        status=503,
        wait_s=1.5,
    ),
    _both(
        "503, Retry-After past the deadline",
        "503@100000",
        K.PROVIDER_ERROR,
        "The engine",
        status=503,
        exception=_TOO_LATE,
    ),
    _both("504", "504", K.TIMEOUT, "Gateway timeout.", status=504),
    _both("529", "529", K.PROVIDER_ERROR, "Overloaded.", status=529),
)

CONNECTIONS = (
    _both("connection refused", "refused", K.NETWORK_ERROR, "Cannot connect to host"),
    _both("no such host", "dns", K.NETWORK_ERROR, "Cannot connect to host"),
    _both("reset before headers", "reset", K.NETWORK_ERROR, "Server disconnected"),
    _both("closed before headers", "hangup", K.NETWORK_ERROR, "Server disconnected"),
    _both("cut before the first token", "cut_first", K.NETWORK_ERROR, "Response payload"),
    _split(
        "cut after the first token",
        "cut",
        Ends(kind=K.NETWORK_ERROR, said="Response payload"),
        Ends(kind=K.NETWORK_ERROR, said="Response payload", broken=_SOME),
    ),
)

CLOCKS = (
    _split(
        "no headers, ever",
        "hang",
        Ends(kind=K.TIMEOUT, said="no reply in", clock="reply"),
        Ends(kind=K.TIMEOUT, said="no first token in", clock="first token"),
    ),
    _streamed(
        "headers, then silence", "stall_first", K.TIMEOUT, "no first token in", clock="first token"
    ),
    _split(
        "half a body, then silence",
        "stall_body",
        Ends(kind=K.TIMEOUT, said="no reply in", clock="reply"),
        None,
    ),
    _streamed(
        "five words, then silence",
        "stall",
        K.TIMEOUT,
        "no further token in",
        clock="idle",
        broken=_SOME,
    ),
    _streamed(
        "keep-alive comments for ever",
        "keepalive",
        K.TIMEOUT,
        "no first token in",
        clock="first token",
    ),
    _split(
        "blanks for ever",
        "blanks",
        Ends(kind=K.TIMEOUT, said="no reply in", clock="reply"),
        None,
    ),
    _streamed(
        "words without end, past the deadline",
        "drip@20",
        K.DEADLINE_EXCEEDED,
        "not answered within timeout_s = 4 s",
        clock="deadline",
        timeout_s=4.0,
        broken="The ",
    ),
    _split(
        "no headers, past the deadline",
        "hang@deadline",
        Ends(
            kind=K.DEADLINE_EXCEEDED,
            said="not answered within timeout_s = 4 s",
            clock="deadline",
            timeout_s=4.0,
        ),
        Ends(
            kind=K.DEADLINE_EXCEEDED,
            said="not answered within timeout_s = 4 s",
            clock="deadline",
            timeout_s=4.0,
        ),
    ),
)

ANSWERS_OF_NO_USE = (
    _both("an error with status 200", "error_first", K.PROVIDER_ERROR, "The server is"),
    _both("an error 429 with status 200", "error_first@429", K.API_RATE_LIMIT, "The server is"),
    _streamed(
        "an error frame in mid-stream",
        "error_frame",
        K.PROVIDER_ERROR,
        "The server is",
        broken=_FEW,
    ),
    _streamed(
        "an error frame 429 in mid-stream",
        "error_frame@429",
        K.API_RATE_LIMIT,
        "The server is",
        broken=_FEW,
    ),
    _split(
        "bad JSON",
        "bad_json",
        Ends(kind=K.PROVIDER_ERROR, said=_NO_JSON),
        Ends(kind=K.PROVIDER_ERROR, said=_NO_JSON, broken=_FEW),
    ),
    _streamed(
        "a clean end without a finish reason",
        "truncated",
        K.PROVIDER_ERROR,
        "the stream ended without a finish reason",
        broken=_SOME,
    ),
    _streamed(
        "[DONE] without a finish reason",
        "truncated_done",
        K.PROVIDER_ERROR,
        "the stream ended without a finish reason",
        broken=_SOME,
    ),
    _streamed(
        "[DONE] in the middle of a tool call",
        "tools_cut",
        K.PROVIDER_ERROR,
        "the stream ended without a finish reason",
    ),
    _streamed(
        "a choice without a finish reason",
        "two_cut",
        K.PROVIDER_ERROR,
        "the stream ended without a finish reason",
        broken=WORDS[0],
    ),
    _both("an empty reply", "empty", K.PROVIDER_ERROR, "the reply is empty"),
    _both("an empty reply, content_filter", "filtered", K.CONTENT_POLICY, "the provider's filter"),
    _split("no choices", "no_choices", replace(_EMPTY, said="the reply has no choices"), _EMPTY),
    _split("choices: null", "null_choices", replace(_EMPTY, said=_NO_ANSWER), _EMPTY),
    _split("a web page with status 200", "html", replace(_EMPTY, said="the server answ"), _EMPTY),
    _split("{}", "nothing", replace(_EMPTY, said=_NO_ANSWER), _EMPTY),
    _split("no body", "no_body", replace(_EMPTY, said=_NO_JSON), _EMPTY),
    _split("comments, then the end", "comments", replace(_EMPTY, said=_NO_ANSWER), _EMPTY),
)

ANSWERS = (
    _both("a whole answer", "ok", None, _WORDS),
    _both("one byte at a time, letters split", "bytes", None, ACCENTED),
    _both("comments between the words", "commented", None, SENTENCE),
    _streamed("no [DONE]", "no_done", None, _WORDS, estimated=True),
    _both("no usage", "no_usage", None, _WORDS, estimated=True),
    _both("usage: null", "usage_null", None, _WORDS, estimated=True),
    _streamed("usage with the finish reason", "usage_with_finish", None, _WORDS),
    _streamed("usage on every chunk", "usage_every_chunk", None, _WORDS),
    _streamed("the finish reason twice", "finish_twice", None, _WORDS),
    _both("finish reason length", "length", None, _WORDS, finish=("length",)),
    _both("150 chunks alike", "repeat", None, "word " * 150),
    _both("a chunk of a megabyte", "huge", None, "".join(f"w{n} " for n in range(HUGE_WORDS))),
    _both("tool calls", "tools", None, "", finish=("tool_calls",)),
    _both("text and a tool call", "text_and_tools", None, "Let me see.", finish=("tool_calls",)),
    _both("a refusal", "refusal", None, "I can't help with that."),
    _both("reasoning", "reasoning", None, "42"),
    _both("two choices", "two", None, "left side", finish=("stop", "stop")),
)

FAULTS = (*STATUSES, *CONNECTIONS, *CLOCKS, *ANSWERS_OF_NO_USE, *ANSWERS)


def cases(*, hanging: bool) -> list[Case]:
    """Return every case of the faults that one of the engine's clocks ends, or of the others."""
    return [
        Case(fault, streamed, followed)
        for fault in FAULTS
        if fault.hangs is hanging
        for streamed in fault.ends
        for followed in (False, True)
    ]
