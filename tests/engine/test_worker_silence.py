"""What a worker makes of litellm: silent, with its own price map, and nothing that tries again."""

from __future__ import annotations

import json
import subprocess
import sys

LOOK = """
import json, logging, os, socket
def refused(*_): raise AssertionError("a worker looked something up")
socket.socket.connect = socket.getaddrinfo = refused
from ksi_tui.engine.providers import worker
litellm = worker._litellm()
loggers = [logging.getLogger(n) for n in logging.root.manager.loggerDict if "litellm" in n.lower()]
print(json.dumps({
    "map": os.environ["LITELLM_LOCAL_MODEL_COST_MAP"],
    "priced": "gpt-4o" in litellm.model_cost,
    "retries": litellm.num_retries,
    "quiet": litellm.suppress_debug_info,
    "telemetry": litellm.telemetry,
    "handlers": sum(len(logger.handlers) for logger in loggers),
    "logs": any(logger.isEnabledFor(logging.CRITICAL) for logger in loggers),
}))
"""


def test_a_worker_silences_litellm_and_lets_nothing_try_again() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOOK],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    assert (found["retries"], found["handlers"], found["logs"]) == (0, 0, False)
    assert (found["quiet"], found["telemetry"]) == (True, False)
    assert (found["map"], found["priced"]) == ("True", True)
    assert done.stderr == ""
