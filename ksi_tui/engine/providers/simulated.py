"""A provider without network, key or price: for first runs, demonstrations, tests and benchmarks.

Everything it does follows from its seed, its options and the order of its calls.
It knows no clock of the engine and imports no provider SDK.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, NoReturn

from ksi_tui.config import ProviderSettings
from ksi_tui.engine.errors import ConfigError, ErrorKind, ProviderFault
from ksi_tui.engine.models import Message, Usage
from ksi_tui.engine.payload_errors import shown
from ksi_tui.engine.providers.base import CallObserver, CallResult, CallSpec, Closed

MODELS = ("sim/echo", "sim/slow", "sim/flaky", "sim/limited", "sim/cut", "sim/down", "sim/hang")

_SLOW_MS = 100.0
_FLAKY_EVERY = 3
_LIMITED_EVERY = 4
_WORDS_A_TURN = 64  # a long reply that streams at once lets the loop breathe after so many words
_MOST_CHOICES = 128
_PIECE = re.compile(r"\s*\S+")
_LOREM = (
    "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut "
    "labore et dolore magna aliqua enim ad minim veniam quis nostrud exercitation ullamco laboris "
    "nisi aliquip ex ea commodo consequat duis aute irure in reprehenderit voluptate velit esse "
    "cillum eu fugiat nulla pariatur excepteur sint occaecat cupidatat non proident sunt culpa qui "
    "officia deserunt mollit anim id est laborum"
)
_VOCABULARY = tuple(_LOREM.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class SimOptions:
    """How the simulation behaves; from the provider's `params`, overridden by `extra_body.sim`.

    `delay_ms` passes before the first token (None: as the model has it), then
    `tokens_per_s` are streamed (None: at once). `words` makes the reply prose of that
    length in place of the echo. After `silent_after` tokens a stream says nothing more and
    stays open (None: never). `retry_after_s` is what a 429 of `sim/limited` asks for.
    `behaves_like` is the one of MODELS that models of any name behave as, for rehearsals.
    """

    seed: int = 0
    delay_ms: float | None = None
    tokens_per_s: float | None = None
    words: int | None = None
    silent_after: int | None = None
    retry_after_s: float = 2.0
    behaves_like: str | None = None


_OPTION_NAMES = tuple(item.name for item in fields(SimOptions))


class SimulatedProvider:
    """Answers as its model says (`MODELS`); 'now and then' is decided by counting its calls."""

    def __init__(
        self,
        settings: ProviderSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.name = settings.name
        known = {key: settings.params[key] for key in _OPTION_NAMES if key in settings.params}
        try:
            self._options = _overridden(SimOptions(), known)
        except ConfigError as error:
            raise ConfigError(f"provider {self.name}: params: {error}") from None
        self._clock = clock
        self._sleep = sleep
        self._calls: Counter[str] = Counter()
        self._closed = asyncio.Event()

    async def call(self, spec: CallSpec, observer: CallObserver) -> CallResult:
        """Perform one call; raises ProviderFault as the model says."""
        options = self._options_of(spec)
        model = options.behaves_like or spec.model
        if model not in MODELS:
            raise ProviderFault(
                ErrorKind.MODEL_NOT_FOUND,
                f"no simulated model {spec.model!r}; allowed: {', '.join(MODELS)}",
                status=404,
            )
        progress = _Progress()
        try:
            return await self._answer(model, spec, options, observer, progress)
        except asyncio.CancelledError:
            usage = Usage(input=_input_words(spec), output=progress.words)
            observer.on_closed(Closed(after_ms=0.0, confirmed=True, usage=usage))
            raise

    async def aclose(self) -> None:
        """End the calls that would never answer; the others end by themselves."""
        self._closed.set()

    def _options_of(self, spec: CallSpec) -> SimOptions:
        extra = spec.params.get("extra_body")
        if not isinstance(extra, Mapping) or "sim" not in extra:
            return self._options
        try:
            return _overridden(self._options, extra["sim"])
        except ConfigError as error:
            raise ProviderFault(
                ErrorKind.INVALID_REQUEST, f"extra_body.sim: {error}", status=400
            ) from None

    async def _answer(
        self,
        model: str,
        spec: CallSpec,
        options: SimOptions,
        observer: CallObserver,
        progress: _Progress,
    ) -> CallResult:
        delay_ms = options.delay_ms
        if delay_ms is None:
            delay_ms = _SLOW_MS if model == "sim/slow" else 0.0
        if delay_ms > 0:
            await self._sleep(delay_ms / 1000)
        await self._fail_if_due(model, spec.model, options)
        text = _reply_text(spec, options)
        if model == "sim/cut":
            await self._cut(spec, text, options, observer, progress)
        if spec.stream or options.tokens_per_s:
            await self._play(
                _pieces(text), options, _say(spec, observer) if spec.stream else None, progress
            )
        return _result(spec, text)

    async def _fail_if_due(self, model: str, named: str, options: SimOptions) -> None:
        if model in ("sim/echo", "sim/slow", "sim/cut"):
            return
        self._calls[model] += 1
        turn = self._calls[model] + options.seed
        if model == "sim/down" or (model == "sim/flaky" and turn % _FLAKY_EVERY == 0):
            raise ProviderFault(
                ErrorKind.PROVIDER_ERROR, f"{named} is unavailable (simulated)", status=503
            )
        if model == "sim/limited" and turn % _LIMITED_EVERY == 0:
            raise ProviderFault(
                ErrorKind.API_RATE_LIMIT,
                "too many requests (simulated)",
                status=429,
                retry_after_s=options.retry_after_s,
            )
        if model == "sim/hang":
            await self._silence()

    async def _silence(self) -> NoReturn:
        """Say nothing until a clock or an operator ends the call, or the engine ends."""
        await self._closed.wait()
        raise ProviderFault(ErrorKind.DAEMON_RESTART, "the provider was closed")

    async def _cut(
        self,
        spec: CallSpec,
        text: str,
        options: SimOptions,
        observer: CallObserver,
        progress: _Progress,
    ) -> NoReturn:
        pieces = _pieces(text)
        half = pieces[: max(1, len(pieces) // 2)]
        await self._play(half, options, _say(spec, observer) if spec.stream else None, progress)
        raise ProviderFault(
            ErrorKind.NETWORK_ERROR,
            "the connection broke in mid-answer (simulated)",
            usage=Usage(input=_input_words(spec), output=len(half)),
        )

    async def _play(
        self,
        pieces: list[str],
        options: SimOptions,
        say: Callable[[str], None] | None,
        progress: _Progress,
    ) -> None:
        """Hand out the pieces at the asked pace, by absolute times so that it does not drift."""
        began = self._clock()
        for index, piece in enumerate(pieces):
            if index == options.silent_after:
                await self._silence()
            if options.tokens_per_s:
                wait = began + index / options.tokens_per_s - self._clock()
                if wait > 0:
                    await self._sleep(wait)
            elif index % _WORDS_A_TURN == _WORDS_A_TURN - 1:
                await self._sleep(0)
            progress.words += 1
            if say is not None:
                say(piece)


class _Progress:
    """How many words of one call's reply exist so far."""

    __slots__ = ("words",)

    def __init__(self) -> None:
        self.words = 0


def _overridden(options: SimOptions, values: Any) -> SimOptions:
    """Return the options with `values` put in; ConfigError says what is wrong and allowed."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"a table of {', '.join(_OPTION_NAMES)}; found {shown(values)}")
    for name, value in values.items():
        if name not in _OPTION_NAMES:
            raise ConfigError(f"unknown option {shown(name)}; allowed: {', '.join(_OPTION_NAMES)}")
        if name == "behaves_like":
            _check_behaviour(value)
            continue
        whole = name in ("seed", "words", "silent_after")
        number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        least = 1 if name == "words" else 0
        if value is None and name in ("delay_ms", "tokens_per_s", "words", "silent_after"):
            continue
        if not number or (name != "seed" and not least <= value < float("inf")):
            kind = "a whole number" if whole else "a number"
            raise ConfigError(f"{name} is {kind} of at least {least}; found {shown(value)}")
    return replace(options, **values)


def _check_behaviour(value: Any) -> None:
    if value is not None and value not in MODELS:
        raise ConfigError(f"behaves_like is one of {', '.join(MODELS)}; found {shown(value)}")


def _content_text(message: Message) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, Iterable):
        return ""
    texts = [part.get("text") for part in content if isinstance(part, Mapping)]
    return "".join(text for text in texts if isinstance(text, str))


def _last_user_text(spec: CallSpec) -> str:
    for message in reversed(spec.messages):
        if message.get("role") == "user":
            return _content_text(message)
    return ""


def _input_words(spec: CallSpec) -> int:
    words = 0
    for message in spec.history:
        words += len(_content_text(message).split())
    for message in spec.messages:
        words += len(_content_text(message).split())
    return words


def _reply_text(spec: CallSpec, options: SimOptions) -> str:
    asked = _last_user_text(spec)
    if options.words is not None:
        return _prose(options.words, options.seed ^ zlib.crc32(asked.encode("utf-8", "replace")))
    if not asked.strip():
        raise ProviderFault(
            ErrorKind.INVALID_REQUEST,
            "nothing to echo: the last user message holds no text",
            status=400,
        )
    return asked


def _prose(words: int, seed: int) -> str:
    """Return sentences of exactly so many words, the same for the same seed."""
    source = random.Random(seed)  # noqa: S311  (prose, not a secret)
    sentences: list[str] = []
    left = words
    while left > 0:
        chosen = source.choices(_VOCABULARY, k=min(left, source.randint(5, 14)))
        left -= len(chosen)
        sentences.append(" ".join(chosen).capitalize() + ".")
    return " ".join(sentences)


def _pieces(text: str) -> list[str]:
    """Return the words of `text` with the space before each; joined they are `text` again."""
    pieces = _PIECE.findall(text)
    rest = len(text) - sum(map(len, pieces))
    if rest and pieces:
        pieces[-1] += text[-rest:]
    return pieces


def _choices(spec: CallSpec) -> int:
    """Return how many replies are asked for; they are all the same."""
    asked = spec.params.get("n")
    return asked if isinstance(asked, int) and 1 <= asked <= _MOST_CHOICES else 1


def _say(spec: CallSpec, observer: CallObserver) -> Callable[[str], None]:
    """Return what takes the pieces of a stream: of all its choices where somebody follows it."""
    count, on_deltas = _choices(spec), spec.on_deltas
    if count == 1 or on_deltas is None:
        return lambda piece: observer.on_text(piece, count)

    def say(piece: str) -> None:
        each = [{"index": index, "delta": {"content": piece}} for index in range(count)]
        on_deltas(piece, count, each)

    return say


def _result(spec: CallSpec, text: str) -> CallResult:
    count = _choices(spec)
    usage = Usage(input=_input_words(spec), output=len(text.split()) * count)
    raw = {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
    }
    message = {"role": "assistant", "content": text}
    response = {
        "id": f"sim-{spec.request_id}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": spec.model,
        "choices": [
            {"index": index, "message": dict(message), "finish_reason": "stop"}
            for index in range(count)
        ],
        "usage": raw,
    }
    return CallResult(response=response, text=text, usage=usage, raw_usage=raw)
