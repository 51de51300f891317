"""A signal while code is being loaded ends the program, wherever Python is just then."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ksi_tui.starting import ended_by_signals

IN_A_CALLBACK = """
import os, signal, weakref
from ksi_tui.starting import ended_by_signals

class Thing: ...

thing = Thing()
watched = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.{number}))
with ended_by_signals():
    del thing
    print("it went on")
"""


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_signal_within_a_callback_ends_it_too(number: str) -> None:
    """There Python drops what a handler raises."""
    ended = subprocess.run(
        [sys.executable, "-c", IN_A_CALLBACK.format(number=number)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_afterwards_signals_mean_what_they_meant() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with ended_by_signals():
        assert signal.getsignal(signal.SIGTERM) is not before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_thread_has_no_say_over_signals() -> None:
    entered: list[bool] = []

    def enter() -> None:
        with ended_by_signals():
            entered.append(True)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered == [True]
