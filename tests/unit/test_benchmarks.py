"""The table of the benchmarks: each line has its loads, and says its figure, floor and verdict."""

from __future__ import annotations

import pytest

from tests.benchmarks import noise
from tests.benchmarks.__main__ import Run
from tests.benchmarks.lines import LINES, Line
from tests.benchmarks.load import LOADS


def test_every_load_is_one_and_is_looked_at() -> None:
    assert {load for line in LINES for load in line.loads} == set(LOADS)


def line(*, at_least: bool) -> Line:
    return Line(
        what="cats",
        loads=("a", "b"),
        figure=lambda a, b: float(a["n"] / b["n"]),
        floor=lambda a, _: float(a["n"]),
        floor_of="dogs alone",
        target=2,
        at_least=at_least,
    )


@pytest.mark.parametrize(
    ("at_least", "verdict"), [(True, "≥ 2      met"), (False, "≤ 2      NOT MET")]
)
def test_the_median_decides_and_the_floor_is_told(at_least: bool, verdict: str) -> None:
    run = Run(samples={"a": [{"n": 1}, {"n": 3}, {"n": 10}], "b": [{"n": 1}] * 3})
    good, told = run.told(line(at_least=at_least))
    assert good is at_least
    assert verdict in told
    assert "cats  (1 to 10; floor 3, dogs alone: 1.00 of it)" in told


def test_a_load_that_failed_is_told_and_fails() -> None:
    run = Run(samples={"a": [], "b": []}, missing={"b": "it broke"})
    good, told = run.told(line(at_least=True))
    assert not good
    assert "NOT RUN" in told
    assert "it broke" in told


def test_a_run_says_whether_the_machine_was_quiet() -> None:
    quiet = [{"wall_ms": 1.0 + n / 1000, "cpu_ms": 1.0} for n in range(20)]
    assert "noise: quiet" in noise.told(quiet)
    late = [{**each, "wall_ms": 9.0} for each in quiet[:5]]
    assert "NOISY" in noise.told([*late, *quiet[5:]])
