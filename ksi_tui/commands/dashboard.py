"""`ksi-tui`: the dashboard, with the engine in its own process.

Before the first frame there is only a look at the settings' `[ui]`. They are validated, and
the engine is imported, when the screen connects to it; settings that are refused then end
the dashboard as they would have before it: an error on stderr and exit code 2.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ksi_tui import paths
from ksi_tui.app import Connect, KsiApp, SettingsRefused, run_dashboard
from ksi_tui.engine.errors import ConfigError, InputError
from ksi_tui.settings_file import config_file, read_toml
from ksi_tui.ui_settings import FirstUi, first_ui

if TYPE_CHECKING:
    from ksi_tui.client import EngineClient
    from ksi_tui.config import Config


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
        return _demo(options)
    file = config_file(options.config)
    return _show(lambda: _settings(options), _ui(options, file), name=_name(file))


def _name(file: Path | None) -> str:
    """Return what the screen calls this engine: its settings file, where that has a name."""
    return f"ksi-tui {file.stem}" if file and file.stem != "ksi-tui" else "ksi-tui"


def _demo(options: argparse.Namespace) -> int:
    import tempfile  # noqa: PLC0415 - only where it is asked for

    def config() -> Config:
        from ksi_tui.demo import demo_config  # noqa: PLC0415 - validates: after the first frame

        return demo_config(Path(folder) / "demo.db")

    with tempfile.TemporaryDirectory(prefix="ksi-tui-demo-") as folder:
        return _show(config, _as_asked(FirstUi(), options), name="ksi-tui demo", demo=True)


def _settings(options: argparse.Namespace) -> Config:
    from ksi_tui.commands.settings import settings  # noqa: PLC0415 - after the first frame

    return settings(options)


def _ui(options: argparse.Namespace, file: Path | None) -> FirstUi:
    """Return `[ui]`; where a first look does not do, from the settings validated as a whole."""
    found = first_ui(read_toml(file).get("ui", {})) if file else FirstUi()
    if found is None:
        found = FirstUi(**_settings(options).ui.model_dump())
    return _as_asked(found, options)


def _as_asked(ui: FirstUi, options: argparse.Namespace) -> FirstUi:
    return replace(ui, ascii=True) if options.ascii else ui


def _show(settings: Callable[[], Config], ui: FirstUi, *, name: str, demo: bool = False) -> int:
    hint = str(paths.user_config_file())
    app = KsiApp(_connect(settings), ui=ui, name=name, demo=demo, config_hint=hint)
    return asyncio.run(run_dashboard(app))


def _connect(settings: Callable[[], Config]) -> Connect:
    @asynccontextmanager
    async def connect() -> AsyncIterator[EngineClient]:
        try:
            config = await asyncio.to_thread(_ready_to_start, settings)
        except ConfigError as error:
            raise SettingsRefused(str(error)) from None
        from ksi_tui.engine import CompletionEngine  # noqa: PLC0415 - after the first frame

        async with CompletionEngine(config) as engine:
            yield engine

    return connect


def _ready_to_start(settings: Callable[[], Config]) -> Config:
    """Read the settings and load the engine's code, away from the loop that takes the keys."""
    from ksi_tui.engine import completion_service  # noqa: F401, PLC0415 - loads it

    return settings()
