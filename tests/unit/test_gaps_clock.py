"""The engine's clock does not jump with the wall clock; patience with workers and its end."""

from __future__ import annotations

import time

import pytest

from ksi_tui.engine.clock import steady_clock
from ksi_tui.engine.worker_health import PATIENCE, WorkerHealth


@pytest.mark.parametrize("stands_still", [False, True], ids=["boottime", "monotonic"])
def test_the_clock_begins_at_the_wall_clock_and_a_corrected_one_moves_nothing(
    monkeypatch: pytest.MonkeyPatch, stands_still: bool
) -> None:
    wall, passed = [1_000.0], [7.0]
    monkeypatch.setattr(time, "time", lambda: wall[0])
    if stands_still:  # in a sleep, where the system has no other
        monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
        monkeypatch.setattr(time, "monotonic", lambda: passed[0])
    else:
        monkeypatch.setattr(time, "CLOCK_BOOTTIME", 70, raising=False)
        monkeypatch.setattr(time, "clock_gettime", lambda which: {70: passed}[which][0])
    clock = steady_clock()
    assert clock() == 1_000.0
    wall[0] += 86_400
    assert clock() == 1_000.0
    passed[0] += 2.5
    assert clock() == 1_002.5


def test_a_worker_that_starts_brings_all_patience_back() -> None:
    workers = WorkerHealth(lambda: True)
    for _ in range(PATIENCE):
        workers.lost("died")
    assert not workers.patient
    workers.started()
    assert workers.patient
    assert workers.text == "provider worker starting"


def test_a_lost_worker_is_named_with_how_often_and_why() -> None:
    workers = WorkerHealth(lambda: True)
    workers.lost("it was ended by SIGKILL")
    workers.lost("exit code 3")
    assert workers.text == "provider worker starting again, lost 2x: exit code 3"
