"""A provider worker's pipes are its own: what an SDK prints does not reach them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOISY = """
import os, sys
from ksi_tui.engine.providers.worker import _private_pipes

source, sink = _private_pipes()
print("a greeting of the SDK", flush=True)
os.write(1, b"and one past Python")
print("a warning", file=sys.stderr, flush=True)
assert os.read(0, 1) == b""
os.write(sink, b"frame for " + os.read(source, 4))
"""


def test_prints_go_nowhere_and_frames_arrive() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NOISY],
        cwd=ROOT,
        input=b"call",
        capture_output=True,
        check=True,
        timeout=30,
    )
    assert (done.stdout, done.stderr) == (b"frame for call", b"")
