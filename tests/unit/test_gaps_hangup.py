"""A process whose loop no longer turns does not outlive its terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
BOUND_S = 30
STUCK = """
import os, sys, threading
from pathlib import Path
from ksi_tui import hangup

def leave():
    nowhere = os.stat(os.devnull)
    gone = [number for number in (0, 1, 2) if os.path.samestat(os.fstat(number), nowhere)]
    Path(sys.argv[1]).write_text(repr(gone))

hangup.LAST_S = 0.05
with hangup.watched_terminal(leave):
    print("ready", flush=True)
    threading.Event().wait(10)
sys.exit(7)
"""


@contextmanager
def stuck(told: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the program until its terminal is taken away; what `leave` saw is in `told`."""
    master, terminal = os.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", STUCK, str(told)],
        cwd=ROOT,
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=terminal,
    )
    try:
        os.close(terminal)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        os.close(master)
        yield child
    finally:
        child.kill()
        child.communicate(timeout=BOUND_S)


def test_the_end_comes_from_outside_when_nobody_leaves(tmp_path: Path) -> None:
    with stuck(tmp_path / "told") as child:
        assert child.wait(BOUND_S) == 1


def test_nothing_is_written_to_a_terminal_that_has_gone(tmp_path: Path) -> None:
    with stuck(tmp_path / "told") as child:
        child.wait(BOUND_S)
    assert (tmp_path / "told").read_text() == "[0, 1, 2]"
