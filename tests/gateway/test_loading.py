"""What the gateway loads: HTTP only where it serves, and never a screen."""

from __future__ import annotations

import subprocess
import sys

import pytest

_LOADED = "import sys, {module}; print(*(n for n in {names!r} if n in sys.modules))"


def _loads(module: str, *names: str) -> list[str]:
    script = _LOADED.format(module=module, names=names)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.parametrize("name", ["answers", "asked", "faults", "story", "terms"])
def test_translation_knows_no_server(name: str) -> None:
    assert _loads(f"ksi_tui.gateway.{name}", "aiohttp", "litellm", "textual") == []


def test_serving_loads_no_screen_and_no_engine() -> None:
    names = ("aiohttp", "textual", "litellm", "ksi_tui.engine.completion_service", "sqlite3")
    assert _loads("ksi_tui.gateway.routing", *names) == ["aiohttp"]
