"""Imports run one way, and the first frame waits for nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import ksi_tui.screens as screens
import ksi_tui.widgets as widgets

HEAVY = (
    "litellm",
    "aiosqlite",
    "pybreaker",
    "openai",
    "httpx",
    "aiohttp",
    "ksi_tui.engine.completion_service",
    "ksi_tui.remote.wire",
)
AFTER_THE_FIRST_FRAME = (
    "json",
    "pydantic",
    "ksi_tui.config",
    "ksi_tui.demo",
    "ksi_tui.engine.advice",
    "ksi_tui.engine.models",
    "ksi_tui.engine.views",
    "ksi_tui.engine.events",
    "ksi_tui.screens.draft",
    "ksi_tui.widgets.event_rows",
)
"""What it can do without, and would be slower with."""
WIDGET_FOREIGN = ("ksi_tui.app", "ksi_tui.screens", "sqlite3", "aiosqlite", "litellm")


def loaded(module: str) -> set[str]:
    """Return what a fresh interpreter has loaded after importing a module."""
    code = f"import sys, {module}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_app_imports_no_engine_and_no_provider_sdk() -> None:
    found = loaded("ksi_tui.app")
    assert not found.intersection(HEAVY)
    assert not {name for name in found if name.startswith("ksi_tui.engine.store")}
    assert "textual.widgets._text_area" not in found


def test_the_first_frame_waits_neither_for_the_settings_nor_for_the_values() -> None:
    found = loaded("ksi_tui.cli, ksi_tui.commands.dashboard")
    assert "ksi_tui.screens.overview" in found
    assert not found.intersection(AFTER_THE_FIRST_FRAME)


def test_widgets_know_no_screen_and_no_store() -> None:
    names = [f"ksi_tui.widgets.{path.stem}" for path in _modules(widgets.__path__[0])]
    found = loaded(", ".join(names))
    assert not {m for m in found for foreign in WIDGET_FOREIGN if m.split("._")[0] == foreign}


def test_nothing_below_the_app_loads_it() -> None:
    names = [f"ksi_tui.screens.{path.stem}" for path in _modules(screens.__path__[0])]
    assert "ksi_tui.app" not in loaded(", ".join(names))


def _modules(folder: str) -> list[Path]:
    return [path for path in Path(folder).glob("*.py") if path.stem != "__init__"]
