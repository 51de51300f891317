"""A paste is text: no byte of it may become a key."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st
from textual import events
from textual.message import Message

from ksi_tui.widgets.paste import END, QUIET_S, START, PasteFilter, PasteSafeParser

BODIES = st.lists(
    st.one_of(
        st.text(max_size=12),
        st.sampled_from(["\x1b", "\x1b[", "\x1b[31m", "\x1b[A", "\r", END, START, "\x1b[20", "q"]),
    ),
    max_size=12,
).map("".join)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def parser() -> tuple[PasteSafeParser, Clock]:
    clock, made = Clock(), PasteSafeParser()
    made._filter = PasteFilter(clock)
    return made, clock


def quiet(made: PasteSafeParser, clock: Clock) -> list[Message]:
    clock.now += QUIET_S
    return list(made.tick())


def cut(text: str, places: Iterable[int]) -> list[str]:
    edges = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[start:end] for start, end in pairwise(edges)]


@given(body=BODIES, places=st.lists(st.integers(0, 400), max_size=6))
@example(body="a\x1b\rq", places=[])
@example(body=f"a{END}\rq", places=[])
@example(body=f"a{END}\rq{START}b", places=[3])
@example(body="\x1b", places=[])
def test_no_byte_of_a_paste_is_a_key(body: str, places: list[int]) -> None:
    made, clock = parser()
    seen: list[Message] = []
    for piece in cut(f"{START}{body}{END}", places):
        seen += made.feed(piece)
    seen += quiet(made, clock)
    assert all(isinstance(message, events.Paste) for message in seen), seen
    pasted = "".join(m.text for m in seen if isinstance(m, events.Paste))
    plain = body.replace(END, "").replace("\x00", "")
    if "\x1b" not in plain:
        assert pasted == plain
    assert "\x1b" not in pasted


def test_keys_after_a_paste_are_keys() -> None:
    made, clock = parser()
    seen = [*made.feed(f"{START}text{END}q\x1b[A"), *quiet(made, clock)]
    assert [type(message) for message in seen] == [events.Paste, events.Key, events.Key]
    assert [m.key for m in seen[1:] if isinstance(m, events.Key)] == ["q", "up"]


def test_a_paste_is_told_when_the_terminal_is_quiet() -> None:
    made, clock = parser()
    assert list(made.feed(f"{START}text{END}")) == []
    assert made.holds
    clock.now += QUIET_S / 2
    assert list(made.tick()) == []
    (paste,) = quiet(made, clock)
    assert isinstance(paste, events.Paste)
    assert paste.text == "text"
    assert not made.holds


def test_keys_without_a_paste_are_not_delayed() -> None:
    made, _ = parser()
    assert [m.key for m in made.feed("ab\x1b[B") if isinstance(m, events.Key)] == ["a", "b", "down"]


def test_a_start_that_somebody_types_is_none() -> None:
    clock = Clock()
    typed = PasteFilter(clock)
    assert typed.feed("\x1b") == "\x1b"
    clock.now += QUIET_S * 2
    assert typed.feed("[200~\x1b[A") == "[200~\x1b[A"
