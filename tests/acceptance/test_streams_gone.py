"""Standard streams that are closed, full or gone: told in one line, and never in anybody's file."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ksi_tui.door.place import answers, socket_of
from tests.acceptance.conftest import BOUND_S, Machine
from tests.acceptance.test_lifetime import states, until

FULL = Path("/dev/full")
HANG = '{"prompt": "x", "request_id": "r-hang", "model": "sim/hang"}\n'


def test_streams_that_were_closed_take_nothing_and_stand_in_nobodys_way(machine: Machine) -> None:
    """Else the database would be opened as stdout, and what is printed would land in it."""
    file = machine.file("in", ["hello"])
    line = f"exec '{sys.executable}' -m ksi_tui run '{file}' >&- 2>&- <&-"
    done = subprocess.run(
        ["/bin/sh", "-c", line], env=machine.environ, cwd=machine.home, timeout=BOUND_S, check=False
    )
    assert done.returncode == 0
    assert states(machine) == {"completed": 1}


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full (Linux)")
def test_a_full_disk_behind_stdout_is_one_line(machine: Machine) -> None:
    file = machine.file("in", ["hello"])
    with FULL.open("w") as full:
        ran = machine.run("run", file, stdout=full)
        reported = machine.run("results", stdout=full)
    told = "ksi-tui: cannot write to stdout: No space left on device\n"
    assert (ran.code, ran.err) == (130, told)
    assert (reported.code, reported.err) == (2, told)
    assert [record["text"] for record in machine.run("results", "--json").records] == ["hello"]


def test_a_run_whose_terminal_goes_drains_and_what_is_left_goes_on(machine: Machine) -> None:
    machine.configure(grace_s=0.1)
    (machine.home / "in").write_text(HANG)
    control, end = pty.openpty()
    process = machine.start("run", "in", stdin=end, stdout=end, stderr=end, start_new_session=True)
    os.close(end)
    place = socket_of(machine.database)
    until(lambda: answers(place), "it never ran")
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGHUP)
    os.close(control)
    assert process.wait(BOUND_S) == 130
    assert states(machine) == {"processing": 1} or states(machine) == {"queued": 1}
    log = machine.home / "state" / "ksi-tui" / "logs" / "ksi-tui.log"
    assert not log.exists() or "Traceback" not in log.read_text()
