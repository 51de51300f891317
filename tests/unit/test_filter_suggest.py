"""Completion of a filter that is being typed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.engine.filter import FIELDS, suggest, wanted

NAMES = {
    "session": ["acme-42", "acme-7", "big acme"],
    "meta": ["customer", "my key"],
    "meta.customer": ["globex", "initech"],
}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("se", ["session:"]),
        ("a", ["agent:", "age>", "attempts>", "status:", "meta.", "latency>"]),
        ("to", ["tokens>"]),
        ("-sta", ["-status:"]),
        ("me", ["meta.", "attempts>"][:1]),
        ("meta.", ["meta.customer:", 'meta."my key":']),
        ("meta.cu", ["meta.customer:"]),
        ("meta.customer:", ["meta.customer:globex", "meta.customer:initech"]),
        ("meta.customer:gl", ["meta.customer:globex"]),
        ("session:acme", ["session:acme-42", "session:acme-7", 'session:"big acme"']),
        ("session:acme-42,7", ["session:acme-42,acme-7"]),
        ("-session=acme-4", ["-session=acme-42"]),
        ("status:can", ["status:cancelled", "status:cancelling"]),
        ("status:failed,no", ['status:failed,"no token"']),
        ("priority:b", ["priority:background"]),
        ("error:time", ["error:timeout"]),
        ("status:failed", []),
        ("agent:x", []),
        ("nothing", []),
    ],
)
def test_completes_the_last_term(text: str, found: list[str]) -> None:
    for before in ("", "acme ", '"a b" '):
        whole = before + text
        assert suggest(whole, len(whole), NAMES) == found
        asked = wanted(whole, len(whole))
        assert whole[asked.start : asked.end] == text


def test_completes_where_the_cursor_stands() -> None:
    text = "acme sess status:failed"
    assert suggest(text, 9, NAMES) == ["session:"]
    asked = wanted(text, 7)
    assert (asked.field, asked.prefix, text[asked.start : asked.end]) == ("", "se", "sess")


@pytest.mark.parametrize(
    ("text", "field", "prefix"),
    [
        ("", "", ""),
        ("sess", "", "sess"),
        ("session:ac", "session", "ac"),
        ("Session:ac", "session", "ac"),
        ("meta.", "meta", ""),
        ("meta.cu", "meta", "cu"),
        ("meta.Cu:gl", "meta.Cu", "gl"),
        ('session:"a b', "session", "a b"),
        ("session:a,b", "session", "b"),
    ],
)
def test_says_whose_names_it_wants(text: str, field: str, prefix: str) -> None:
    asked = wanted(text, len(text))
    assert (asked.field, asked.prefix) == (field, prefix)


def test_with_nothing_typed_every_field_is_offered() -> None:
    assert len(suggest("", 0, {})) == len(FIELDS)


@given(st.text(), st.integers(-3, 30))
def test_never_fails(text: str, cursor: int) -> None:
    asked = wanted(text, cursor)
    assert 0 <= asked.start <= asked.end <= len(text)
    assert len(suggest(text, cursor, NAMES)) <= 20
