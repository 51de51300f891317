"""Providers are made from their settings without paying for an SDK, and name a missing key."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ksi_tui.config import SIMULATED
from ksi_tui.engine.errors import ConfigError
from ksi_tui.engine.providers.factory import build_provider, needs_pool
from ksi_tui.engine.providers.litellm import LitellmProvider, missing_keys
from ksi_tui.engine.providers.pool import WorkerPool
from ksi_tui.engine.providers.simulated import SimulatedProvider
from tests.servers.calling import Events, settings

REAL = settings("http://127.0.0.1:9/v1")


def test_the_kind_decides() -> None:
    assert isinstance(build_provider(SIMULATED, None), SimulatedProvider)
    pool = WorkerPool(1, on_event=Events())
    assert isinstance(build_provider(REAL, pool), LitellmProvider)
    assert pool.workers[0].pid is None  # nothing is started by making a provider


def test_a_litellm_provider_needs_workers() -> None:
    assert needs_pool((SIMULATED, REAL))
    assert not needs_pool((SIMULATED,))
    with pytest.raises(ConfigError, match="provider upstream: kind litellm needs"):
        build_provider(REAL, None)


def test_missing_keys_are_found_without_a_call() -> None:
    named = settings("http://127.0.0.1:9/v1", api_key_env="SOME_KEY")
    assert missing_keys(named, {}) == ["SOME_KEY"]
    assert missing_keys(named, {"SOME_KEY": ""}) == ["SOME_KEY"]
    assert missing_keys(named, {"SOME_KEY": "x"}) == []
    assert missing_keys(REAL, {}) == []


def test_nothing_but_a_running_worker_imports_litellm() -> None:
    code = (
        "import sys\n"
        "import ksi_tui.engine.providers.factory, ksi_tui.engine.providers.upstream\n"
        "import ksi_tui.engine.providers.worker\n"
        "sys.exit(7 if 'litellm' in sys.modules else 0)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
