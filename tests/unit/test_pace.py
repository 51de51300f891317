"""How often the screen is composed: what just missed a beat is shown between two."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ksi_tui.pace import Pace

PERIOD_S = 10
BUSY: Any = SimpleNamespace(idle=False)


def test_what_just_missed_a_beat_does_not_wait_for_the_next() -> None:
    now = 10.0
    pace = Pace(lambda: now)
    assert not pace.just_missed(PERIOD_S)  # nothing was composed yet
    assert pace.due(BUSY)
    now += PERIOD_S / 4
    assert pace.just_missed(PERIOD_S)


def test_what_comes_later_waits_for_the_beat_that_is_near() -> None:
    now = 10.0
    pace = Pace(lambda: now)
    pace.due(BUSY)
    now += PERIOD_S * 0.6
    assert not pace.just_missed(PERIOD_S)


def test_it_is_composed_between_two_beats_once_in_a_period() -> None:
    now = 10.0
    pace = Pace(lambda: now)
    composed = 0
    for step in range(100):  # ten periods, with a beat at every tenth step
        now = 10.0 + step
        if step % 10 == 0:
            pace.due(BUSY)
        if pace.just_missed(PERIOD_S):
            composed += 1
            pace.due(BUSY)
    assert composed == 10
