"""The chart: an axis from 0, labels, and bars that say no more than the numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from ksi_tui.widgets.chart import axis_top, chart


def test_a_steady_rate_fills_evenly_and_the_axis_starts_at_zero() -> None:
    lines = [line.text for line in chart([50.0] * 10, width=16, height=5)]
    assert lines[-1].startswith("    0└")
    assert lines[0].startswith("   50┤")
    assert lines[0].endswith("█" * 10)
    assert [line.split("┤")[0].strip() for line in lines[:-1]] == ["50", "38", "25", "12"]


def test_newest_stands_at_the_right_and_a_small_value_is_still_seen() -> None:
    lines = [line.text for line in chart([0, 0, 100, 0.1], width=16, height=3)]
    assert lines[-2].endswith("█▁")
    assert lines[0].endswith("█ ")


def test_nothing_draws_nothing() -> None:
    lines = [line.text for line in chart([], width=20, height=4)]
    assert len(lines) == 4
    assert "█" not in "".join(lines)


@given(st.lists(st.floats(0, 1e9), max_size=200), st.integers(12, 120), st.integers(2, 12))
def test_every_line_has_the_width_and_no_bar_passes_the_top(
    values: list[float], width: int, height: int
) -> None:
    lines = chart(values, width=width, height=height)
    assert len(lines) == height
    assert {cell_len(line.text) for line in lines} == {width}
    assert axis_top(values, height - 1) >= max(values, default=0)
