"""The arithmetic of what is left as new."""

from __future__ import annotations

import dataclasses

from ksi_tui.client import Snapshot
from ksi_tui.screens.looked import MOST_SINGLE, Looked
from tests.ui.scripted import AT, busy, totals


def moment(failed: int, at: float = AT) -> Snapshot:
    return dataclasses.replace(busy(), at=at, totals=totals(failed_new=failed))


def new(looked: Looked, failed: int) -> int:
    return looked.left(moment(failed)).failed_new


def test_what_fails_after_a_look_is_new() -> None:
    looked = Looked()
    assert new(looked, 3) == 3
    looked.at_all(moment(3))
    assert (new(looked, 3), new(looked, 5)) == (0, 2)
    assert looked.at.has("any", AT)
    assert not looked.at.has("any", AT + 1)


def test_single_looks_count_once_and_not_what_was_seen_with_all() -> None:
    looked = Looked()
    assert new(looked, 0) == 0
    looked.at_one("a", AT + 1)
    looked.at_one("a", AT + 1)
    assert new(looked, 2) == 1
    looked.at_one("a", AT + 2)  # it failed again
    assert new(looked, 3) == 1
    looked.at_all(moment(3, AT + 5))
    looked.at_one("b", AT + 4)
    assert new(looked, 4) == 1


def test_a_failure_from_before_is_not_counted_off() -> None:
    looked = Looked()
    assert new(looked, 0) == 0
    looked.at_one("old", AT - 3600)
    assert new(looked, 2) == 2
    assert looked.at.has("old", AT - 3600)


def test_another_engine_counts_from_nothing() -> None:
    looked = Looked()
    looked.at_all(moment(9))
    assert new(looked, 1) == 1


def test_a_bounded_number_is_remembered() -> None:
    looked = Looked()
    for number in range(MOST_SINGLE + 5):
        looked.at_one(f"r-{number}", 1.0)
    assert len(looked.at.single) == MOST_SINGLE
