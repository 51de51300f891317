"""Text that goes past the SDK's and litellm's objects: what it is, what it never is, and when."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import APIError, AsyncOpenAI

from ksi_tui.engine.providers.assembly import Assembly
from ksi_tui.engine.providers.deltas import Deltas
from ksi_tui.engine.providers.plain_text import PlainText, text_of
from ksi_tui.engine.providers.watched import WatchedStream

HEAD = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def chunk(delta: Any, **more: Any) -> dict[str, Any]:
    """Return a chunk of one choice; `more` goes into the choice."""
    return {**HEAD, "choices": [{"index": 0, "delta": delta, "finish_reason": None, **more}]}


@pytest.mark.parametrize(
    "plain",
    [
        chunk({"content": "a"}),
        chunk({"content": "a", "role": "assistant"}),
        chunk({"content": "a", "refusal": None, "tool_calls": None}, logprobs=None),
        {**chunk({"content": "a"}), "usage": None, "obfuscation": "xyz", "service_tier": "default"},
        {"choices": [{"delta": {"content": "a"}}]},
    ],
)
def test_more_text_of_the_only_choice_is_plain(plain: dict[str, Any]) -> None:
    assert text_of(plain) == "a"


@pytest.mark.parametrize(
    "other",
    [
        chunk({"content": ""}),
        chunk({"content": None}),
        chunk({"content": ["a"]}),
        chunk({"content": "a", "reasoning_content": "b"}),
        chunk({"content": "a", "role": "tool"}),
        chunk({"content": "a", "tool_calls": []}),
        chunk({"content": "a"}, finish_reason="stop"),
        chunk({"content": "a"}, logprobs={"content": []}),
        chunk({"content": "a"}, content_filter_results={}),
        chunk({"content": "a"}, index=1),
        {**chunk({"content": "a"}), "usage": {"prompt_tokens": 1}},
        {**chunk({"content": "a"}), "error": {"message": "no"}},
        {**HEAD, "choices": [chunk({"content": "a"})["choices"][0]] * 2},
        {**HEAD, "choices": []},
        {**HEAD, "choices": "a"},
        {**HEAD, "choices": ["a"]},
        chunk("a"),
        HEAD,
        ["a"],
        None,
    ],
)
def test_what_says_anything_else_is_not(other: Any) -> None:
    assert text_of(other) is None


_VALUES: st.SearchStrategy[Any] = (
    st.none() | st.text(max_size=3) | st.just("assistant") | st.just([]) | st.integers(0, 1)
)
_NAMES = ("role", "content", "reasoning_content", "refusal", "tool_calls", "function_call")
_CHOICES = st.fixed_dictionaries(
    {"delta": st.dictionaries(st.sampled_from(_NAMES), _VALUES, max_size=3)},
    optional={"index": st.integers(0, 1), "finish_reason": st.sampled_from((None, "stop"))},
)


@given(st.fixed_dictionaries({"choices": st.lists(_CHOICES, max_size=2)}))
def test_what_goes_past_adds_to_the_answer_what_the_whole_chunk_would(whole: Any) -> None:
    text = text_of(whole)
    if text is None:
        return
    short = {"choices": [{"delta": {"content": text}}]}
    one, other = Assembly("m"), Assembly("m")
    assert one.add(whole) == other.add(short)
    assert one.response() == other.response()
    mine, theirs = Deltas(), Deltas()
    mine.add(whole)
    theirs.add(short)
    assert mine._pieces == theirs._pieces


async def _watched(*frames: Any) -> tuple[list[Any], list[str], WatchedStream]:
    """Read frames as the SDK streams them; returns what litellm sees, and the texts that it not."""
    body = b"".join(b"data: %b\n\n" % json.dumps(frame).encode() for frame in frames)
    head = {"Content-Type": "text/event-stream"}
    upstream = httpx.MockTransport(lambda _: httpx.Response(200, content=body, headers=head))
    texts: list[str] = []
    async with (
        httpx.AsyncClient(transport=upstream) as http,
        AsyncOpenAI(api_key="none", base_url="http://local", http_client=http) as client,
    ):
        asked: Any = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": True}
        stream: Any = await client.chat.completions.create(**asked)
        watched = WatchedStream(stream, lambda *_: None, texts.append)
        seen = [each async for each in watched]
        await watched.aclose()
        assert stream.response.is_closed
    return seen, texts, watched


async def test_the_sdks_streams_give_text_without_objects_but_for_the_first_and_the_last() -> None:
    words = [chunk({"content": word}) for word in ("one ", "two ", "three")]
    seen, texts, watched = await _watched(*words, chunk({}, finish_reason="stop"))
    assert texts == ["two ", "three"], "the SDK has changed: its streams go the slow way"
    assert [each.choices[0].delta.content for each in seen] == ["one ", None]
    assert watched.finish_reasons == {0: "stop"}
    assert not any(isinstance(each, PlainText) for each in seen)


async def test_an_error_in_the_middle_is_still_the_sdks() -> None:
    words = [chunk({"content": word}) for word in ("one ", "two ")]
    with pytest.raises(APIError, match="overloaded"):
        await _watched(*words, {"error": {"message": "overloaded"}})
