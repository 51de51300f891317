"""Calls that succeed, and calls that are cancelled, through a real worker and a real server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ksi_tui.engine.errors import ErrorKind, ProviderFault
from ksi_tui.engine.models import Usage
from ksi_tui.engine.providers.base import CallResult
from ksi_tui.engine.providers.litellm import LitellmProvider
from ksi_tui.engine.providers.pool import WorkerPool
from tests.servers.calling import BOUND_S, Observer, settings, spec
from tests.servers.misbehaving import MisbehavingServer, Seen
from tests.servers.modes import SENTENCE, USAGE
from tests.servers.modes_answers import ACCENTED

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("warm_workers"),
]

both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


async def answer(
    pool: WorkerPool, server: MisbehavingServer, mode: str, observer: Observer, **call: Any
) -> CallResult:
    provider = LitellmProvider(settings(server.base(mode)), pool)
    return await provider.call(spec(**call), observer)


@both
async def test_an_answer_brings_response_usage_and_price(
    pool: WorkerPool, server: MisbehavingServer, stream: bool
) -> None:
    observer = Observer()
    result = await answer(pool, server, "ok", observer, stream=stream)
    assert result.text.strip() == SENTENCE
    assert result.usage == Usage(input=12, cache_read=8, output=10, reasoning=4)
    assert result.raw_usage == USAGE
    assert result.cost == pytest.approx((12 * 0.15 + 8 * 0.075 + 14 * 0.6) / 1e6)
    assert result.cache_savings == pytest.approx(8 * (0.15 - 0.075) / 1e6)
    assert result.tool_schema_tokens == 0
    assert result.price_version is not None
    assert result.price_version.startswith("litellm 1.")
    choice = result.response["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["content"] == result.text
    assert result.response["object"] == "chat.completion"
    assert (observer.text, observer.closed) == (result.text if stream else "", [])


async def test_streaming_always_asks_for_usage(pool: WorkerPool, server: MisbehavingServer) -> None:
    await answer(pool, server, "ok", Observer())
    assert server.requests[-1].body["stream_options"] == {"include_usage": True}


@both
async def test_usage_that_was_not_told_is_counted_and_marked(
    pool: WorkerPool, server: MisbehavingServer, stream: bool
) -> None:
    result = await answer(pool, server, "no_usage", Observer(), stream=stream)
    assert result.raw_usage is None
    assert result.usage.estimated
    assert 5 <= result.usage.input <= 15
    assert 12 <= result.usage.output <= 20
    assert result.cost is not None


async def test_a_stream_without_done_but_with_a_finish_reason_is_whole(
    pool: WorkerPool, server: MisbehavingServer
) -> None:
    result = await answer(pool, server, "no_done", Observer())
    assert result.text.strip() == SENTENCE


async def test_a_model_without_a_price_is_unpriced(
    pool: WorkerPool, server: MisbehavingServer
) -> None:
    result = await answer(pool, server, "ok", Observer(), model="openai/home-made")
    assert (result.cost, result.price_version) == (None, None)


@both
async def test_tool_schemas_are_counted_by_tokenizer(
    pool: WorkerPool, server: MisbehavingServer, stream: bool
) -> None:
    def tools(words: int) -> list[dict[str, Any]]:
        function = {"name": "see", "description": "see " * words, "parameters": {"type": "object"}}
        return [{"type": "function", "function": function}]

    counted = [
        await answer(pool, server, "ok", Observer(), stream=stream, params={"tools": tools(words)})
        for words in (1, 1, 101)
    ]
    first, again, longer = [result.tool_schema_tokens for result in counted]
    assert first is not None
    assert again == first > 5
    # A hundred more words are a hundred more tokens, whatever their letters.
    assert longer == first + 100
    sent = server.requests[-1].body
    assert sent["tools"] == tools(101)
    assert not [name for name in sent if name.startswith("_")]


async def test_cache_reads_without_a_price_save_nobody_knows_what(
    pool: WorkerPool, server: MisbehavingServer
) -> None:
    result = await answer(pool, server, "ok", Observer(), model="openai/home-made")
    assert (result.usage.cache_read, result.cache_savings) == (8, None)


async def test_a_deployments_cache_reads_are_priced_as_its_base_model(
    pool: WorkerPool, server: MisbehavingServer
) -> None:
    call = {"model": "openai/home-made", "params": {"base_model": "gpt-4o-mini"}}
    result = await answer(pool, server, "ok", Observer(), **call)
    assert result.cache_savings == pytest.approx(8 * (0.15 - 0.075) / 1e6)


async def test_tools_of_a_call_that_breaks_are_counted_with_its_usage(
    pool: WorkerPool, server: MisbehavingServer
) -> None:
    tools = [{"type": "function", "function": {"name": "see", "parameters": {"type": "object"}}}]
    with pytest.raises(ProviderFault) as caught:
        await answer(pool, server, "cut", Observer(), params={"tools": tools})
    assert caught.value.usage is not None
    assert caught.value.tool_schema_tokens is not None
    assert 5 < caught.value.tool_schema_tokens < caught.value.usage.input


@both
async def test_a_model_that_repeats_itself_is_heard_out(
    pool: WorkerPool, server: MisbehavingServer, stream: bool
) -> None:
    result = await answer(pool, server, "repeat", Observer(), stream=stream)
    assert result.text == "word " * 150


@both
async def test_tool_calls_are_an_answer(
    pool: WorkerPool, server: MisbehavingServer, stream: bool
) -> None:
    observer = Observer()
    result = await answer(pool, server, "tools", observer, stream=stream)
    choice = result.response["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert [
        (call["id"], call["function"]["name"], call["function"]["arguments"])
        for call in choice["message"]["tool_calls"]
    ] == [("call_0", "weather", '{"city": "Paris"}'), ("call_1", "weather", '{"city": "Rome"}')]
    assert (result.text, observer.text) == ("", "")
    assert (observer.tokens > 0) is stream  # the reader sees that something comes


@both
async def test_a_refusal_is_an_answer(
    pool: WorkerPool, server: MisbehavingServer, stream: bool
) -> None:
    observer = Observer()
    result = await answer(pool, server, "refusal", observer, stream=stream)
    assert result.response["choices"][0]["message"]["refusal"] == "I can't help with that."
    assert result.text == "I can't help with that."
    assert observer.text == (result.text if stream else "")


@both
async def test_reasoning_is_kept_apart_from_the_text(
    pool: WorkerPool, server: MisbehavingServer, stream: bool
) -> None:
    observer = Observer()
    result = await answer(pool, server, "reasoning", observer, stream=stream)
    message = result.response["choices"][0]["message"]
    assert message["reasoning_content"] == "six by seven"
    assert (message["content"], result.text) == ("42", "42")
    assert observer.text == ("42" if stream else "")


@both
async def test_several_choices_are_all_kept(
    pool: WorkerPool, server: MisbehavingServer, stream: bool
) -> None:
    result = await answer(pool, server, "two", Observer(), stream=stream, params={"n": 2})
    choices = result.response["choices"]
    texts = [choice["message"]["content"].replace(" ", "") for choice in choices]
    assert texts == ["leftside", "rightside"]
    assert [choice["finish_reason"] for choice in choices] == ["stop", "stop"]


async def test_a_stream_cut_anywhere_brings_the_same_response(
    pool: WorkerPool, server: MisbehavingServer
) -> None:
    def told(result: CallResult) -> dict[str, Any]:
        return {name: value for name, value in result.response.items() if name != "created"}

    whole = told(await answer(pool, server, "chopped", Observer(), params={"n": 2}))
    first, second = (choice["message"] for choice in whole["choices"])
    assert first["content"] == ACCENTED
    assert first["reasoning_content"] == "where is that?"
    assert [(call["id"], call["function"]) for call in first["tool_calls"]] == [
        ("call_0", {"name": "weather", "arguments": '{"city": "Łódź"}'})
    ]
    assert second["content"] == "Inną odpowiedź."
    assert [choice["finish_reason"] for choice in whole["choices"]] == ["tool_calls", "stop"]
    for seed in range(1, 21):
        result = await answer(pool, server, f"chopped@{seed}", Observer(), params={"n": 2})
        assert told(result) == whole
        assert result.text == ACCENTED


async def test_a_fast_stream_is_gathered(pool: WorkerPool, server: MisbehavingServer) -> None:
    observer = Observer()
    result = await answer(pool, server, "ok", observer, params={"max_tokens": 1000})
    assert len(result.text.split()) == 1000
    assert observer.text == result.text
    assert observer.tokens == 1000
    assert observer.pieces[0][1] == 1  # the first is not kept back
    assert len(observer.pieces) < 250


async def test_parameters_of_provider_and_call_are_merged(
    pool: WorkerPool, server: MisbehavingServer
) -> None:
    ours = {"temperature": 0.1, "top_p": 0.5, "extra_body": {"a": 1, "b": 1}}
    theirs = {
        "temperature": 0.9,
        "extra_body": {"b": 2, "sim": {"words": 3}, "ksi": {"mcp_config_path": "x"}},
    }
    provider = LitellmProvider(settings(server.base("ok"), params=ours), pool)
    await provider.call(spec(params=theirs), Observer())
    body = server.requests[-1].body
    assert (body["temperature"], body["top_p"], body["a"], body["b"]) == (0.9, 0.5, 1, 2)
    assert "sim" not in body
    assert "ksi" not in body
    mcp = LitellmProvider(settings(server.base("ok"), supports_mcp=True), pool)
    await mcp.call(spec(params=theirs), Observer())
    assert server.requests[-1].body["ksi"] == {"mcp_config_path": "x"}


def turns(count: int, words: int) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return [
        {"role": roles[i % 2], "content": f"turn {i // 2} " + "word " * words}
        for i in range(count * 2)
    ]


async def test_history_goes_before_the_messages(
    pool: WorkerPool, server: MisbehavingServer
) -> None:
    history = turns(2, 1)
    await answer(pool, server, "ok", Observer(), history=history)
    assert server.requests[-1].body["messages"] == [*history, {"role": "user", "content": "hello"}]


async def test_the_oldest_pairs_are_dropped_where_the_window_asks_for_it(
    pool: WorkerPool, server: MisbehavingServer
) -> None:
    window = 16_385
    history = turns(10, 2000)  # ten pairs of about 4,000 tokens
    await answer(
        pool,
        server,
        "ok",
        Observer(),
        model="openai/gpt-3.5-turbo",
        history=history,
        params={"max_tokens": 3000},
    )
    sent = server.requests[-1].body["messages"]
    assert sent[-1] == {"role": "user", "content": "hello"}
    assert sent[:-1] == history[-6:]
    assert 3 * 4_000 + 3_000 < window < 4 * 4_000 + 3_000


async def test_room_for_the_reply_is_left_where_the_call_sets_no_limit(
    pool: WorkerPool, server: MisbehavingServer
) -> None:
    history = turns(10, 1000)  # ten pairs of about 2,000 tokens for a window of 16,385
    model = "openai/gpt-3.5-turbo"
    await answer(pool, server, "ok", Observer(), model=model, history=history)
    assert server.requests[-1].body["messages"][:-1] == history[-14:]


async def test_a_prompt_that_is_too_big_alone_goes_out_alone_and_is_refused_there(
    pool: WorkerPool, server: MisbehavingServer
) -> None:
    prompt = "word " * 17_000
    call = {"model": "openai/gpt-3.5-turbo", "history": turns(2, 1), "text": prompt}
    with pytest.raises(ProviderFault) as caught:
        await answer(pool, server, "400_context", Observer(), **call)
    assert caught.value.kind is ErrorKind.CONTEXT_WINDOW
    assert server.requests[-1].body["messages"] == [{"role": "user", "content": prompt}]


async def test_parts_that_litellm_cannot_count_do_not_end_the_conversation(
    pool: WorkerPool, server: MisbehavingServer
) -> None:
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    history = [
        {"role": "user", "content": [{"type": "text", "text": "listen"}, sound]},
        {"role": "assistant", "content": "a bell"},
    ]
    result = await answer(pool, server, "no_usage", Observer(), history=history)
    assert server.requests[-1].body["messages"][:2] == history
    assert result.usage.estimated
    assert result.usage.input > 256


async def test_the_history_of_an_unknown_model_is_sent_whole(
    pool: WorkerPool, server: MisbehavingServer
) -> None:
    history = turns(3, 20_000)
    await answer(pool, server, "ok", Observer(), model="openai/home-made", history=history)
    assert len(server.requests[-1].body["messages"]) == 7


async def test_tokens_and_windows_are_asked_of_a_worker(pool: WorkerPool) -> None:
    provider = LitellmProvider(settings("http://127.0.0.1:9/v1"), pool)
    short = await provider.count_tokens("gpt-4o-mini", [{"role": "user", "content": "hi"}])
    long = await provider.count_tokens("gpt-4o-mini", [{"role": "user", "content": "hi " * 99}])
    assert 0 < short < long - 90
    assert await provider.window("openai/gpt-4o-mini") == 128_000
    assert await provider.window("openai/home-made") is None


async def test_a_call_that_cannot_be_written_down_is_refused(pool: WorkerPool) -> None:
    provider = LitellmProvider(settings("http://127.0.0.1:9/v1"), pool)
    with pytest.raises(ProviderFault, match="cannot be written as JSON") as caught:
        await provider.call(spec(params={"logit_bias": {1, 2}}), Observer())
    assert caught.value.kind is ErrorKind.INVALID_REQUEST


async def cancelled(
    pool: WorkerPool, server: MisbehavingServer, mode: str, observer: Observer, stream: bool
) -> Seen:
    """Cancel a call once the server has it (and, when it streams words, some have come)."""
    before = len(server.requests)
    task = asyncio.create_task(answer(pool, server, mode, observer, stream=stream))
    async with asyncio.timeout(BOUND_S):
        await server.wait_for(lambda seen: len(seen) > before)
        if mode in ("stall", "drip@50") and stream:
            await observer.first.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await observer.ended.wait()
        return await server.ended(before)


@both
@pytest.mark.parametrize("mode", ["hang", "stall_first", "stall", "drip@50", "keepalive"])
async def test_a_cancel_closes_the_upstream_in_every_phase(
    pool: WorkerPool, server: MisbehavingServer, mode: str, stream: bool
) -> None:
    observer = Observer()
    seen = await cancelled(pool, server, mode, observer, stream)
    assert seen.closed  # by the client, not by its own end
    assert len(observer.closed) == 1
    closed = observer.closed[0]
    assert closed.confirmed
    assert 0 <= closed.after_ms < 5_000
    if observer.text:
        assert closed.usage is not None
        assert closed.usage.estimated
        assert closed.usage.output > 0
        assert closed.cost is not None
    else:
        assert (closed.usage, closed.cost) == (None, None)


async def test_a_cancel_at_once_closes_too(pool: WorkerPool, server: MisbehavingServer) -> None:
    observer = Observer()
    task = asyncio.create_task(answer(pool, server, "hang", observer))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(BOUND_S):
        await observer.ended.wait()
    assert [closed.confirmed for closed in observer.closed] == [True]


async def test_cancels_at_any_moment_of_an_answer_tell_one_end_each(
    pool: WorkerPool, server: MisbehavingServer
) -> None:
    """Cancel after 0, 1, 2 … turns of the loop, past the moment in which the answer arrives."""
    ends: list[str] = []
    for wait_ms in range(0, 40, 2):
        observer = Observer()
        task = asyncio.create_task(answer(pool, server, "ok", observer))
        await asyncio.wait({task}, timeout=wait_ms / 1000)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            async with asyncio.timeout(BOUND_S):
                await observer.ended.wait()
            ends.append("closed")
            assert [closed.confirmed for closed in observer.closed] == [True]
        else:
            ends.append("answered")
            assert observer.closed == []
    assert "closed" in ends
    await answer(pool, server, "ok", Observer())
    assert pool.workers[0].in_flight == 0


async def test_closing_a_provider_interrupts_its_calls_and_nobody_elses(
    pool: WorkerPool, server: MisbehavingServer
) -> None:
    observer = Observer()
    provider = LitellmProvider(settings(server.base("stall")), pool)
    task = asyncio.create_task(provider.call(spec(), observer))
    other = asyncio.create_task(answer(pool, server, "ok@50", Observer()))
    await observer.first.wait()
    await provider.aclose()
    with pytest.raises(ProviderFault) as caught:
        await task
    assert caught.value.kind is ErrorKind.DAEMON_RESTART
    assert observer.closed == []
    stalled = next(seen for seen in reversed(server.requests) if seen.mode == "stall")
    assert (await server.ended(stalled.number)).closed
    assert (await other).text.strip() == SENTENCE


MESSAGES_MODEL = "anthropic/claude-sonnet-4-5-20250929"


def messages_provider(
    pool: WorkerPool, server: MisbehavingServer, mode: str = "anthropic"
) -> LitellmProvider:
    """Return a provider of the Messages API, whose base has no version in its path."""
    return LitellmProvider(settings(server.base(mode).removesuffix("/v1")), pool)


@both
async def test_another_providers_shape_gives_the_same_buckets(
    pool: WorkerPool, server: MisbehavingServer, stream: bool
) -> None:
    provider, observer = messages_provider(pool, server), Observer()
    result = await provider.call(spec(model=MESSAGES_MODEL, stream=stream), observer)
    assert result.text == "forty two"
    assert observer.text == ("forty two" if stream else "")
    assert (result.usage.input, result.usage.cache_read, result.usage.cache_write) == (5, 60, 30)
    assert result.usage.output + result.usage.reasoning == 9
    assert not result.usage.estimated
    assert result.cost == pytest.approx((5 * 3 + 60 * 0.3 + 30 * 3.75 + 9 * 15) / 1e6)
    assert result.cache_savings == pytest.approx(60 * (3 - 0.3) / 1e6)
    message = result.response["choices"][0]["message"]
    assert message["reasoning_content"] == "six by seven"
    blocks = message["thinking_blocks"]
    assert [(b["thinking"], b["signature"]) for b in blocks] == [("six by seven", "s1")]


async def test_another_providers_truncated_stream_is_found_out(
    pool: WorkerPool, server: MisbehavingServer
) -> None:
    observer = Observer()
    provider = messages_provider(pool, server, "anthropic@cut")
    with pytest.raises(ProviderFault, match="without a finish reason") as caught:
        await provider.call(spec(model=MESSAGES_MODEL), observer)
    assert caught.value.kind is ErrorKind.PROVIDER_ERROR
    assert observer.text == "forty two"


async def test_another_providers_stream_is_closed_by_a_cancel(
    pool: WorkerPool, server: MisbehavingServer
) -> None:
    observer, before = Observer(), len(server.requests)
    provider = messages_provider(pool, server, "anthropic@stall")
    call = asyncio.create_task(provider.call(spec(model=MESSAGES_MODEL), observer))
    async with asyncio.timeout(BOUND_S):
        while observer.text != "forty two":
            observer.first.clear()
            await observer.first.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (await server.ended(before)).closed
    async with asyncio.timeout(BOUND_S):
        await observer.ended.wait()
    assert [closed.confirmed for closed in observer.closed] == [True]
