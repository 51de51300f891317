"""`ksi-tui`: the dashboard, with the engine in its own process.

The engine is imported when the screen connects to it, which is after the first frame.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from ksi_tui import paths
from ksi_tui.app import KsiApp, run_dashboard
from ksi_tui.client import EngineClient
from ksi_tui.commands.settings import settings
from ksi_tui.config import Config, UiSettings, config_file
from ksi_tui.engine.errors import InputError

Connect = Callable[[], AbstractAsyncContextManager[EngineClient]]


def execute(options: argparse.Namespace) -> int:
    """Show the dashboard until its user quits; returns its exit code."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InputError("the dashboard needs a terminal; `ksi-tui run` works without one")
    if os.environ.get("TERM") == "dumb":
        raise InputError(
            "the dashboard needs a terminal that can move its cursor, and TERM is dumb; "
            "`ksi-tui run` works on any"
        )
    if options.demo:
        with tempfile.TemporaryDirectory(prefix="ksi-tui-demo-") as folder:
            config = _demo_config(Path(folder) / "demo.db")
            return _show(config, _ui(config, options), name="ksi-tui demo", demo=True)
    config = settings(options)
    return _show(config, _ui(config, options), name=_name(options.config), demo=False)


def _ui(config: Config, options: argparse.Namespace) -> UiSettings:
    """Return `[ui]`, as far as the command line does not say otherwise."""
    return config.ui.model_copy(update={"read_only": True}) if options.read_only else config.ui


def _demo_config(database: Path) -> Config:
    from ksi_tui.demo import demo_config  # noqa: PLC0415 - only where it is asked for

    return demo_config(database)


def _show(config: Config, ui: UiSettings, *, name: str, demo: bool) -> int:
    app = KsiApp(_connect(config), ui=ui, name=name, demo=demo, config_hint=_hint(config))
    return asyncio.run(run_dashboard(app))


def _connect(config: Config) -> Connect:
    @asynccontextmanager
    async def connect() -> AsyncIterator[EngineClient]:
        from ksi_tui.engine import CompletionEngine  # noqa: PLC0415 - after the first frame

        async with CompletionEngine(config) as engine:
            yield engine

    return connect


def _name(explicit: Path | None) -> str:
    """Return what the screen calls this engine: its settings file, where that has a name."""
    file = config_file(explicit)
    return f"ksi-tui {file.stem}" if file and file.stem != "ksi-tui" else "ksi-tui"


def _hint(config: Config) -> str:
    if not config.simulated_only:
        return ""
    return str(paths.user_config_file())
