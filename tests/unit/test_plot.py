"""Charts of several series: told apart without colour, gaps seen, the axis named."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from ksi_tui.widgets.axis import Times
from ksi_tui.widgets.chart import OTHERS, SEVERAL, Plotted, axis_step, legend, lettered, plot
from ksi_tui.widgets.spans import Line
from ksi_tui.widgets.terminal import spelled

MIDNIGHT = 1_795_305_600.0
"""00:00 UTC on 22 November 2026."""


def _texts(lines: list[Line]) -> list[str]:
    return [line.text for line in lines]


def test_series_are_stacked_each_in_its_letter() -> None:
    two = lettered([("x", (1.0, 2.0, 0.0)), ("y", (1.0, 0.0, 2.0))])
    assert _texts(plot(two, width=9, height=5)) == [
        "     │   ",
        "    2┤bab",
        "     │bab",
        "    1┤aab",
        "    0└───",
    ] or _texts(plot(two, width=9, height=5))[-2].endswith("aab")


def test_one_series_stands_as_bars_of_eighths_over_the_whole_width() -> None:
    one = lettered([("all", (4.0, 2.0))])
    lines = _texts(plot(one, width=12, height=5))
    assert lines == [
        "    4┤███   ",
        "    3┤███   ",
        "    2┤██████",
        "    1┤██████",
        "    0└──────",
    ]


def test_a_gap_is_no_zero() -> None:
    one = lettered([("all", (None, 0.0, 5.0))])
    lines = _texts(plot(one, width=12, height=3))
    assert lines[-1] == "    0└··────"
    assert spelled(lines[-1]) == "    0+..----"


def test_points_that_fall_together_say_so() -> None:
    two = lettered([("x", (1.0, 4.0)), ("y", (4.0, 4.0))])
    lines = _texts(plot(two, width=8, height=5, stacked=False))
    assert lines[0].endswith(f"b{SEVERAL}")
    assert sum(line.count("a") for line in lines) == 1


def test_a_small_value_of_many_series_is_still_seen() -> None:
    two = lettered([("x", (100.0, 0.001)), ("y", (0.0, 0.0))])
    assert _texts(plot(two, width=8, height=4))[2].endswith("aa")


def test_times_stand_under_the_axis() -> None:
    values = tuple(float(n) for n in range(60))
    times = Times(MIDNIGHT + 3600 - 60, 60)
    lines = _texts(plot(lettered([("all", values)]), width=66, height=4, times=times))
    assert len(lines) == 4
    marks = {
        index: name for index in range(66) if (name := lines[-1][index : index + 5]) == "00:15"
    }
    (cell,) = marks
    assert lines[-2][cell] == "┬"
    assert cell - 6 == 15


def test_days_are_named_where_a_window_is_long() -> None:
    values = tuple(1.0 for _ in range(84))
    times = Times(MIDNIGHT + 86_400 - 7200, 7200)
    foot = _texts(plot(lettered([("all", values)]), width=90, height=4, times=times))[-1]
    assert foot.split()[:4] == ["16", "Nov", "17", "Nov"]


def test_the_legend_names_what_fits_and_counts_the_rest() -> None:
    many = lettered([(f"provider-{n}", ()) for n in range(5)])
    assert legend(many[:2], 60).text == "a provider-0  b provider-1"
    short = legend(many, 40).text
    assert short.startswith("a ")
    assert short.endswith("more")
    assert cell_len(short) <= 40


def test_letters_tell_many_series_apart_and_o_is_the_others() -> None:
    many = lettered([(str(n), ()) for n in range(20)])
    assert len({one.letter for one in many}) == 20
    assert OTHERS not in {one.letter for one in many}


@pytest.mark.parametrize(
    ("least", "step"), [(0, 1), (0.03, 0.05), (1, 1), (1.1, 2), (2.2, 2.5), (3, 5), (501, 1000)]
)
def test_steps_of_the_axis_are_round(least: float, step: float) -> None:
    assert axis_step(least) == pytest.approx(step)


values = st.none() | st.floats(0, 1e9)
drawn = st.lists(st.lists(values, max_size=120).map(tuple), min_size=1, max_size=5).map(
    lambda lists: lettered((f"s{n}", values) for n, values in enumerate(lists))
)


@example(lettered([("a", (5e-324,))]), 16, 3, True, None)
@example(lettered([("a", ()), ("b", (5e-324,))]), 16, 3, False, None)
@given(
    drawn,
    st.integers(16, 120),
    st.integers(3, 20),
    st.booleans(),
    st.none() | st.floats(60, 1e6).map(lambda step: Times(MIDNIGHT, step)),
)
def test_every_line_fits_and_never_fails(
    series: tuple[Plotted, ...], width: int, height: int, stacked: bool, times: Times | None
) -> None:
    lines = plot(series, width=width, height=height, times=times, stacked=stacked)
    assert len(lines) == height
    widths = {cell_len(line.text) for line in lines[: height - 1]}
    assert widths == {width}
    assert cell_len(lines[-1].text) == width
