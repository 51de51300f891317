"""The collector does not walk again what a long collection has walked, until it thaws."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from ksi_tui import collector
from ksi_tui.collector import LONG_S, THAW_S, Collector


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.unfreeze()


def full_collection(watching: Collector, clock: Clock, seconds: float) -> None:
    """Let the watcher see a full collection of so many seconds."""
    watching("start", {"generation": 2})
    clock.now += seconds
    watching("stop", {"generation": 2})


def test_what_survives_a_long_full_collection_is_frozen_and_after_a_short_one_not() -> None:
    clock = Clock()
    watching = Collector(clock)
    frozen = gc.get_freeze_count()
    full_collection(watching, clock, LONG_S / 2)
    assert gc.get_freeze_count() == frozen
    full_collection(watching, clock, LONG_S * 2)
    assert gc.get_freeze_count() > frozen


def test_a_collection_of_the_young_freezes_nothing_however_long_it_takes() -> None:
    clock = Clock()
    watching = Collector(clock)
    frozen = gc.get_freeze_count()
    watching("start", {"generation": 1})
    clock.now += 1
    watching("stop", {"generation": 1})
    assert gc.get_freeze_count() == frozen


def test_after_an_hour_a_full_collection_walks_what_was_frozen_too() -> None:
    clock = Clock()
    watching = Collector(clock)
    full_collection(watching, clock, LONG_S * 2)
    clock.now += THAW_S
    watching("start", {"generation": 2})
    assert gc.get_freeze_count() == 0


def test_the_collector_is_watched_once_however_often_it_is_calmed() -> None:
    gc.callbacks[:] = []
    collector.calm()
    collector.calm()
    assert [type(each) for each in gc.callbacks] == [Collector]
    assert gc.get_threshold() == collector.THRESHOLDS
