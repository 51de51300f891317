"""Whatever limit is inherited: a process that may hold keys leaves no picture of its memory."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

ALLOWED = """
import resource as r
_, most = r.getrlimit(r.RLIMIT_CORE)
r.setrlimit(r.RLIMIT_CORE, (most, most))
"""
COMMAND = "from ksi_tui import cli; cli.main(['config', 'path'])"
WORKER = """
from ksi_tui.engine.providers import worker
worker._private_pipes = lambda: 1 / 0
try: worker.main()
except ZeroDivisionError: pass
"""


@pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_CORE)[1] == 0, reason="no core dumps are allowed here at all"
)
@pytest.mark.parametrize("program", [COMMAND, WORKER], ids=["command", "worker"])
def test_no_core_dump_is_left(tmp_path: Path, program: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", f"{ALLOWED}{program}\nprint(r.getrlimit(r.RLIMIT_CORE)[0])"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ended.stdout.splitlines()[-1] == "0"
