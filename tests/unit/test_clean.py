"""The sanitiser: nothing that acts on a terminal survives, and what is harmless stays."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.widgets.clean import UNSAFE, clean, clean_block
from ksi_tui.widgets.terminal import spelled, without_unsafe

HOSTILE = {
    "csi": "\x1b[31mred",
    "osc 52 writes the clipboard": "\x1b]52;c;ZXZpbA==\x07",
    "osc 0 sets the title": "\x1b]0;evil\x07",
    "c1 csi": "\x9b31m",
    "del": "a\x7fb",
    "bidi override": "abc\u202edef",
    "bidi isolate": "\u2066x\u2069",
    "arabic letter mark": "a\u061cb",
    "zero width": "a\u200bd\u200cm\u200din",
    "byte order mark": "\ufeffa",
    "tag characters": "a\U000e0041\U000e007f",
    "lone surrogate": "a\ud800b",
    "variation selector": "a\ufe0f",
    "supplementary selector": "a\U000e0100",
    "null": "a\x00b",
    "soft hyphen": "ad\u00admin",
    "blank braille": "a\u2800b",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_loses_every_acting_character(text: str) -> None:
    assert not UNSAFE.search(clean(text, 200))
    assert not UNSAFE.search(clean_block(text, 200).replace("\n", ""))
    assert not UNSAFE.search(without_unsafe(text))


@given(st.text(st.characters(), max_size=300), st.integers(1, 80))
def test_any_text_becomes_one_safe_line_within_the_limit(text: str, limit: int) -> None:
    shown = clean(text, limit)
    assert not UNSAFE.search(shown)
    assert len(shown) <= limit
    assert all(unicodedata.category(char)[0] != "C" for char in shown)
    shown.encode("utf-8")


@given(st.text(st.characters(), max_size=200))
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    once = clean(text, 500)
    assert clean(once, 500) == once


@pytest.mark.parametrize("text", ["plain", "Grüße aus Köln", "日本語", "42 °C", "naïve – “x” → y"])
def test_harmless_text_stays(text: str) -> None:
    assert clean(text, 100) == text


def test_line_ends_become_a_space_or_stay_lines() -> None:
    assert clean("a\r\nb\tc", 50) == "a b c"
    assert clean_block("a\r\nb\tc\u2028d", 50) == "a\nb    c\nd"


def test_a_cut_text_says_so() -> None:
    assert clean("x" * 100, 10) == "x" * 9 + "…"
    assert clean("x" * 10, 10) == "x" * 10
    assert clean("\u200b" * 10_000 + "tail", 10).endswith("…")


def test_combining_marks_do_not_pile_up() -> None:
    assert len(clean("e" + "\u0301" * 50, 100)) == 3


def test_markup_is_text_like_any_other() -> None:
    assert clean("[@click=app.quit]x[/nope]", 60) == "[@click=app.quit]x[/nope]"


def test_the_ascii_spelling_keeps_the_width() -> None:
    line = "► running ○ · √ × ● ▲ ■ ▼ – … ≥ → ┌─┐│└┘ ▁▂▃▄▅▆▇█"
    assert spelled(line).isascii()
    assert len(spelled(line)) == len(line)
    assert spelled("日本") == "日本"
