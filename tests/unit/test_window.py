"""How much of a transcript a model's window holds: whole turns, the newest, never the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.engine.models import Message
from ksi_tui.engine.providers.tokens import Tokens


class OneTokenAWord:
    """Stands for litellm: a word is a token, and the window is what the test says."""

    def __init__(self, window: int | None) -> None:
        self.window = window

    def token_counter(self, *, messages: Sequence[Any] | None = None, **more: Any) -> int:
        texts = [str(m["content"]) for m in messages or ()] + [str(more.get("tools") or "")]
        return sum(len(text.split()) for text in texts)

    def get_model_info(self, _: str) -> dict[str, Any]:
        if self.window is None:
            raise ValueError("not mapped")
        return {"max_input_tokens": self.window}


def tokens(window: int | None) -> Tokens:
    return Tokens(OneTokenAWord(window), "0")


def words(count: int) -> str:
    return "longword " * count


def pair(asked: int, replied: int) -> list[Message]:
    return [
        {"role": "user", "content": words(asked)},
        {"role": "assistant", "content": words(replied)},
    ]


def length(messages: Sequence[Message]) -> int:
    return sum(len(str(message["content"]).split()) for message in messages)


SIZES = st.integers(1, 400)


@given(
    pairs=st.lists(st.tuples(SIZES, SIZES), max_size=12),
    prompt=st.integers(1, 3000),
    window=st.integers(1, 4000),
    reply=st.integers(0, 1000),
)
def test_the_newest_whole_pairs_that_fit_are_sent_before_the_prompt(
    pairs: list[tuple[int, int]], prompt: int, window: int, reply: int
) -> None:
    history = [message for sizes in pairs for message in pair(*sizes)]
    asked: list[Message] = [{"role": "user", "content": words(prompt)}]
    sent = tokens(window).fitted("m", history, asked, reply_tokens=reply)
    assert sent[-1:] == asked
    kept = sent[:-1]
    assert len(kept) % 2 == 0
    assert kept == history[len(history) - len(kept) :]
    room = window - (reply or window // 8)
    assert not kept or length(sent) <= room
    if len(kept) < len(history):
        one_more = history[len(history) - len(kept) - 2 :]
        assert length(one_more) + prompt > room


def test_a_prompt_that_is_too_big_alone_is_sent_alone() -> None:
    asked: list[Message] = [{"role": "user", "content": words(5000)}]
    assert tokens(100).fitted("m", pair(1, 1), asked) == asked


def test_without_a_known_window_everything_is_sent() -> None:
    history = pair(9_000, 9_000)
    assert tokens(None).fitted("m", history, []) == history


def test_parts_that_cannot_be_counted_have_a_flat_price_and_stay() -> None:
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    text = {"type": "text", "text": "listen"}
    message: Message = {"role": "user", "content": [text, sound]}
    counting = tokens(10_000)
    alone = counting.count("m", messages=[{"role": "user", "content": [text]}])
    assert counting.count("m", messages=[message]) == alone + 256
    assert counting.fitted("m", [message], []) == [message]
    assert counting.fitted("m", [message], [], reply_tokens=9_800) == []
