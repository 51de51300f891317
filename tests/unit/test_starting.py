"""A signal while code is being loaded ends the program, wherever Python is just then."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ksi_tui.starting import as_python_has_them, end_by_signals

ROOT = Path(__file__).parents[2]
SITE = '''
"""At every import and at the end of the process: fork one that sends itself a signal there."""
import atexit, json, os, signal, sys, threading

NUMBER = signal.Signals(int(os.environ["NUMBER"]))
found = {}
forking = False

def interrupted(event, arguments):
    global forking
    if event != "import" or forking or threading.current_thread() is not threading.main_thread():
        return
    if "ksi_tui.cli" not in found and arguments[0] != "ksi_tui.cli":
        return  # `-m` itself, and what comes before a first word of ours can be heard
    forking = True
    found.setdefault(arguments[0], set()).add(told())
    forking = False

def told():
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.kill(os.getpid(), NUMBER)
    return 0

def at_the_end():
    found["the end"] = {told()}
    if not forking:
        with open(os.environ["TOLD"], "w") as file:
            json.dump({name: sorted(codes) for name, codes in found.items()}, file)

atexit.register(at_the_end)
sys.addaudithook(interrupted)
'''
SCRIPT = "import sys; from ksi_tui.__main__ import main; sys.exit(main())"
"""As installers write it for `ksi-tui`."""
IN_A_CALLBACK = """
import os, signal, weakref
from ksi_tui.starting import as_python_has_them, end_by_signals

class Thing: ...

thing = Thing()
watched = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.{number}))
end_by_signals()
del thing
print("it went on")
"""
NUMBERS = (signal.SIGINT, signal.SIGTERM)


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_signal_within_a_callback_ends_it_too(number: str) -> None:
    """There Python drops what a handler raises."""
    ended = subprocess.run(
        [sys.executable, "-c", IN_A_CALLBACK.format(number=number)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


@pytest.mark.parametrize(
    ("number", "way"),
    [("SIGINT", ["-m", "ksi_tui"]), ("SIGTERM", ["-c", SCRIPT])],
)
def test_a_signal_at_any_import_is_quiet_and_130_and_at_the_end_the_commands_own_code(
    tmp_path: Path, number: str, way: list[str]
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SITE)
    told = tmp_path / "told"
    ended = subprocess.run(
        [sys.executable, *way, "config", "check"],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "PYTHONPATH": f"{tmp_path}:{ROOT}",
            "NUMBER": str(int(signal.Signals[number])),
            "TOLD": str(told),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0
    assert "Traceback" not in ended.stderr
    assert "ignored" not in ended.stderr
    codes = json.loads(told.read_text())
    assert codes.pop("the end") == [0]
    assert {"ksi_tui.cli", "argparse", "ksi_tui.commands.settings", "pydantic"} <= codes.keys()
    # A command that has begun and takes no signal of its own is ended by SIGTERM as Python has it.
    meant = ([130],) if number == "SIGINT" else ([130], [-15])
    assert codes["ksi_tui.cli"] == codes["argparse"] == [130]
    assert {name: each for name, each in codes.items() if each not in meant} == {}


def test_afterwards_signals_mean_what_they_meant() -> None:
    before = [signal.getsignal(number) for number in NUMBERS]
    end_by_signals()
    during = [signal.getsignal(number) for number in NUMBERS]
    as_python_has_them()
    assert during[0] is during[1] is not before[0]
    assert [signal.getsignal(number) for number in NUMBERS] == before


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        end_by_signals()
        as_python_has_them()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_thread_has_no_say_over_signals() -> None:
    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=end_by_signals)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is before
