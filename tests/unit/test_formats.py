"""Each kind of value is written one way: the rules of the target pictures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from ksi_tui.engine.views import CircuitLook, Level, Phase
from ksi_tui.widgets import fit, formats


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.3, "0.3s"),
        (2.94, "2.9s"),
        (9.96, "10s"),
        (34, "34s"),
        (59.6, "1m00s"),
        (252, "4m12s"),
        (7860, "2h11m"),
        (532_800, "6d4h"),
        (-1, "0.0s"),
    ],
)
def test_ages(seconds: float | None, text: str) -> None:
    assert formats.age(seconds) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(None, "–"), (3.2, "3ms"), (200, "0.2s"), (8100, "8.1s"), (30_000, "30s")],
)
def test_latencies(milliseconds: float | None, text: str) -> None:
    assert formats.latency(milliseconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(41, "0:41"), (40.2, "0:41"), (820, "13:40"), (3723, "1:02:03"), (-3, "0:00"), (None, "–")],
)
def test_countdowns_round_up_so_that_zero_means_over(seconds: float | None, text: str) -> None:
    assert formats.countdown(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (412, "412"),
        (999.6, "1.0k"),
        (3100, "3.1k"),
        (402_000, "402k"),
        (1_800_000, "1.8M"),
    ],
)
def test_counts(number: float, text: str) -> None:
    assert formats.count(number) == text


@given(st.floats(0, 9e14))
def test_a_count_never_takes_more_than_five_cells(number: float) -> None:
    assert cell_len(formats.count(number)) <= 5


@given(st.floats(0, 86400 * 999))
def test_an_age_never_takes_more_than_six_cells(seconds: float) -> None:
    assert cell_len(formats.age(seconds)) <= 6


@pytest.mark.parametrize(
    ("dollars", "text"),
    [
        (None, "unpriced"),
        (0.0, "$0.00"),
        (21.07, "$21.07"),
        (0.008, "$0.008"),
        (0.0069, "$0.0069"),
        (0.00042, "$0.00042"),
        (12_345.6, "$12,346"),
    ],
)
def test_money(dollars: float | None, text: str) -> None:
    assert formats.money(dollars) == text


def test_no_price_is_never_zero() -> None:
    assert formats.cost(41.2, 4) == "≥ $41.20 (4 unpriced)"
    assert formats.cost(0.0, 4) == "unpriced"
    assert formats.cost(0.0) == "$0.00"
    assert formats.per_hour(None, unpriced=True) == "unpr."
    assert formats.per_hour(2.954, unpriced=False) == "2.95"


@pytest.mark.parametrize(
    ("share", "text"),
    [(None, "–"), (0.0, "0%"), (0.001, "1%"), (0.714, "71%"), (0.999, "99%"), (1.0, "100%")],
)
def test_shares_are_never_rounded_to_all_or_nothing(share: float | None, text: str) -> None:
    assert formats.percent(share) == text


def test_a_moment_is_utc() -> None:
    assert formats.clock(1795317164.46) == "03:12:44"
    assert formats.clock(1795317164.46, tenths=True) == "03:12:44.4"


def test_every_state_has_a_glyph_of_one_cell_and_a_word() -> None:
    shown = [formats.phase(p) for p in Phase] + [formats.circuit(c) for c in CircuitLook]
    shown += [formats.verdict(level) for level in Level]
    for span in shown:
        glyph, _, word = span.text.partition(" ")
        assert cell_len(glyph) == 1
        assert word


def test_sparks_rise_from_zero() -> None:
    assert formats.spark((0, 1, 8), 3) == " ▁█"
    assert formats.spark((5, 5), 4) == "  ██"
    assert formats.spark((0, 0), 4) == "    "


def test_an_id_loses_its_middle_and_a_text_its_end() -> None:
    assert fit.middle("etl-nightly-eu-west-03", 14) == "etl-nightl…-03"
    assert fit.end("openai open, probe in 0:48", 12) == "openai open…"


@given(st.text(st.characters(codec="utf-8"), max_size=60), st.integers(0, 30))
def test_a_fitted_text_never_takes_more_cells_than_it_may(text: str, width: int) -> None:
    assert cell_len(fit.end(text, width)) <= width
    assert cell_len(fit.middle(text, width)) <= max(width, 0)
    assert cell_len(fit.pad(fit.end(text, width), width)) == width


@given(st.text(alphabet="ab 日é", max_size=80), st.integers(2, 20))
def test_wrapped_lines_fit_and_lose_nothing_but_blanks(text: str, width: int) -> None:
    lines = fit.wrap(text, width)
    assert all(cell_len(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
