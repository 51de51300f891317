"""The simulated provider does what its models say, the same every time, and tells its end once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ksi_tui.config import SIMULATED, ProviderSettings
from ksi_tui.engine.errors import ConfigError, ErrorKind, ProviderFault
from ksi_tui.engine.models import Usage
from ksi_tui.engine.providers.base import CallSpec, Closed
from ksi_tui.engine.providers.simulated import MODELS, SimulatedProvider


class Observer:
    def __init__(self) -> None:
        self.texts: list[str] = []
        self.tokens = 0
        self.closed: list[Closed] = []

    def on_text(self, text: str, tokens: int) -> None:
        self.texts.append(text)
        self.tokens += tokens

    def on_closed(self, closed: Closed) -> None:
        self.closed.append(closed)

    @property
    def text(self) -> str:
        return "".join(self.texts)


class FakeTime:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.naps: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        if seconds:
            self.naps.append(seconds)
        self.now += seconds


def provider(time: FakeTime | None = None, **params: Any) -> SimulatedProvider:
    settings = SIMULATED.model_copy(update={"params": params})
    if time is None:
        return SimulatedProvider(settings)
    return SimulatedProvider(settings, clock=time.clock, sleep=time.sleep)


def spec(
    model: str = "sim/echo", text: str = "one two  three", stream: bool = True, **sim: Any
) -> CallSpec:
    return CallSpec(
        request_id="r-1",
        provider="simulated",
        model=model,
        messages=[{"role": "system", "content": "be brief"}, {"role": "user", "content": text}],
        stream=stream,
        params={"extra_body": {"sim": sim}} if sim else {},
    )


async def fault_of(one: SimulatedProvider, call: CallSpec, observer: Observer) -> ProviderFault:
    with pytest.raises(ProviderFault) as caught:
        await one.call(call, observer)
    return caught.value


async def test_echo_streams_the_last_user_message_word_by_word() -> None:
    observer = Observer()
    result = await provider().call(spec(), observer)
    assert observer.texts == ["one", " two", "  three"]
    assert observer.tokens == 3
    assert result.text == "one two  three"
    assert result.usage == Usage(input=5, output=3)
    assert result.cost is None
    assert result.response["choices"][0]["message"]["content"] == result.text
    assert result.response["choices"][0]["finish_reason"] == "stop"
    assert observer.closed == []


@pytest.mark.parametrize("text", [" leading", "trailing \n", "a\n\nb", "x" * 5000, "wörter ünd 😀"])
async def test_the_pieces_of_any_text_are_that_text(text: str) -> None:
    observer = Observer()
    result = await provider().call(spec(text=text), observer)
    assert observer.text == result.text == text


async def test_an_unstreamed_call_tells_no_pieces() -> None:
    observer = Observer()
    result = await provider().call(spec(stream=False), observer)
    assert (observer.texts, result.text) == ([], "one two  three")


async def test_history_counts_as_input_and_content_may_have_parts() -> None:
    parts = [{"type": "text", "text": "two words"}, {"type": "image_url", "image_url": {}}]
    call = CallSpec(
        request_id="r",
        provider="simulated",
        model="sim/echo",
        history=[{"role": "user", "content": "three more words"}],
        messages=[{"role": "user", "content": parts}],
    )
    result = await provider().call(call, Observer())
    assert (result.text, result.usage.input) == ("two words", 5)


@pytest.mark.parametrize("text", ["", "  \n"])
async def test_nothing_to_echo_is_the_callers_error(text: str) -> None:
    fault = await fault_of(provider(), spec(text=text), Observer())
    assert fault.kind is ErrorKind.INVALID_REQUEST


async def test_slow_takes_its_time_and_as_long_as_it_is_told() -> None:
    time = FakeTime()
    one = provider(time)
    await one.call(spec("sim/slow"), Observer())
    await one.call(spec("sim/slow", delay_ms=7000), Observer())
    await one.call(spec("sim/echo"), Observer())
    assert time.naps == [0.1, 7.0]


async def test_words_come_at_the_asked_pace_without_drift() -> None:
    time = FakeTime()
    await provider(time).call(spec(words=101, tokens_per_s=20), Observer())
    assert time.now == pytest.approx(5.0)
    assert len(time.naps) == 100


async def test_an_unstreamed_call_takes_as_long_as_its_words() -> None:
    time = FakeTime()
    await provider(time).call(spec(words=11, tokens_per_s=10, stream=False), Observer())
    assert time.now == pytest.approx(1.0)


async def test_prose_has_the_asked_length_and_depends_on_seed_and_prompt_only() -> None:
    async def prose(seed: int, text: str) -> str:
        result = await provider(seed=seed).call(spec(text=text, words=40), Observer())
        assert result.usage.output == len(result.text.split()) == 40
        return result.text

    first = await prose(1, "a")
    assert first == await prose(1, "a")
    assert first != await prose(2, "a")
    assert first != await prose(1, "b")


async def outcomes(model: str, count: int, **params: Any) -> list[int | None]:
    one = provider(**params)
    found: list[int | None] = []
    for _ in range(count):
        try:
            await one.call(spec(model), Observer())
            found.append(None)
        except ProviderFault as fault:
            found.append(fault.status)
    return found


async def test_flaky_fails_every_third_call() -> None:
    assert await outcomes("sim/flaky", 7) == [None, None, 503, None, None, 503, None]
    assert await outcomes("sim/flaky", 3, seed=1) == [None, 503, None]


async def test_limited_asks_to_wait_now_and_then() -> None:
    assert await outcomes("sim/limited", 5) == [None, None, None, 429, None]
    fault = await fault_of(provider(seed=3, retry_after_s=9), spec("sim/limited"), Observer())
    assert (fault.kind, fault.retry_after_s) == (ErrorKind.API_RATE_LIMIT, 9)


async def test_down_always_fails() -> None:
    assert await outcomes("sim/down", 3) == [503, 503, 503]


async def test_cut_breaks_in_the_middle() -> None:
    observer = Observer()
    fault = await fault_of(provider(), spec("sim/cut", text="a b c d e f"), observer)
    assert fault.kind is ErrorKind.NETWORK_ERROR
    assert observer.text == "a b c"
    assert fault.usage == Usage(input=8, output=3)
    assert observer.closed == []


async def test_an_unknown_model_is_told_which_there_are() -> None:
    fault = await fault_of(provider(), spec("sim/nope"), Observer())
    assert fault.kind is ErrorKind.MODEL_NOT_FOUND
    assert all(model in fault.message for model in MODELS)


@pytest.mark.parametrize(
    ("sim", "said"),
    [
        ({"wrods": 3}, "unknown option 'wrods'; allowed: seed, delay_ms"),
        ({"words": 0}, "words is a whole number of at least 1; found 0"),
        ({"words": 2.5}, "words is a whole number"),
        ({"delay_ms": "soon"}, "delay_ms is a number of at least 0; found 'soon'"),
        ({"delay_ms": float("inf")}, "delay_ms is a number"),
        ({"tokens_per_s": True}, "tokens_per_s is a number"),
    ],
)
async def test_a_wrong_option_says_what_is_right(sim: dict[str, Any], said: str) -> None:
    fault = await fault_of(provider(), spec(**sim), Observer())
    assert fault.kind is ErrorKind.INVALID_REQUEST
    assert said in fault.message


def test_wrong_settings_are_refused_at_once() -> None:
    settings = ProviderSettings(name="s1", kind="simulated", params={"words": "many"})
    with pytest.raises(ConfigError, match="provider s1: params: words is a whole number"):
        SimulatedProvider(settings)


async def test_settings_hold_unless_the_call_says_otherwise() -> None:
    one = provider(words=4, temperature=0.2)
    assert len((await one.call(spec(), Observer())).text.split()) == 4
    assert len((await one.call(spec(words=6), Observer())).text.split()) == 6
    assert (await one.call(spec(words=None), Observer())).text == "one two  three"


async def cancelled(one: SimulatedProvider, call: CallSpec, observer: Observer) -> None:
    task = asyncio.create_task(one.call(call, observer))
    await asyncio.sleep(0)  # the call runs until it waits
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancelled_stream_tells_once_what_it_consumed() -> None:
    observer = Observer()
    await cancelled(provider(), spec(words=50, tokens_per_s=0.001), observer)
    assert len(observer.closed) == 1
    closed = observer.closed[0]
    assert closed.confirmed
    assert closed.usage == Usage(input=5, output=1)


async def test_hang_answers_never_but_can_be_cancelled() -> None:
    observer = Observer()
    await cancelled(provider(), spec("sim/hang"), observer)
    assert [closed.confirmed for closed in observer.closed] == [True]


async def test_closing_the_provider_ends_what_hangs() -> None:
    one = provider()
    task = asyncio.create_task(one.call(spec("sim/hang"), Observer()))
    await asyncio.sleep(0)
    await one.aclose()
    with pytest.raises(ProviderFault) as caught:
        await task
    assert caught.value.kind is ErrorKind.DAEMON_RESTART
