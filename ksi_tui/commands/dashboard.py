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
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ksi_tui import paths
from ksi_tui.app import KsiApp, SettingsRefused, run_dashboard
from ksi_tui.browser import in_browser
from ksi_tui.commands.attaching import elsewhere, socket_at
from ksi_tui.elsewhere import Connect
from ksi_tui.engine.errors import ConfigError, InputError
from ksi_tui.settings_file import config_file, display_name, read_toml
from ksi_tui.terminal_size import give_size
from ksi_tui.ui_settings import FirstUi, first_ui

if TYPE_CHECKING:
    from ksi_tui.access.listening import Place
    from ksi_tui.client import EngineClient
    from ksi_tui.config import Config


def execute(options: argparse.Namespace) -> int:
    """Show the dashboard until its user quits; returns its exit code."""
    need_terminal()
    if options.demo:
        return _demo(options)
    file = config_file(options.config)
    held = _Held(lambda: _settings(options), options)
    return _show(held, _ui(options, file), name=display_name(file))


def need_terminal() -> None:
    """Raise InputError where no dashboard can be shown; see that the terminal has a size."""
    if in_browser():
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InputError("the dashboard needs a terminal; `ksi-tui run` works without one")
    if os.environ.get("TERM") == "dumb":
        raise InputError(
            "the dashboard needs a terminal that can move its cursor, and TERM is dumb; "
            "`ksi-tui run` works on any"
        )
    give_size(sys.stdout.fileno())


def _demo(options: argparse.Namespace) -> int:
    import tempfile  # noqa: PLC0415 - only where it is asked for

    def config() -> Config:
        from ksi_tui.demo import demo_config  # noqa: PLC0415 - validates: after the first frame

        return demo_config(Path(folder) / "demo.db")

    with tempfile.TemporaryDirectory(prefix="ksi-tui-demo-") as folder:
        held, ui = _Held(config, options), _as_asked(FirstUi(), options)
        return _show(held, ui, name="ksi-tui demo", demo=True)


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
    return replace(ui, ascii=ui.ascii or options.ascii, read_only=ui.read_only or options.read_only)


def _show(held: _Held, ui: FirstUi, *, name: str, demo: bool = False) -> int:
    app = KsiApp(
        _connect(held, name),
        ui=ui,
        name=name,
        demo=demo,
        config_hint=str(paths.user_config_file()),
        filters_file=None if demo else paths.state_dir() / "filters.json",
        prompts_file=None if demo else paths.state_dir() / "prompts.jsonl",
        settings=held.shown,
        elsewhere=None if demo else elsewhere(held.socket, ui),
    )
    return asyncio.run(run_dashboard(app))


class _Held:
    """The settings, read once: behind the first frame and away from the loop of the keys."""

    def __init__(self, read: Callable[[], Config], options: argparse.Namespace) -> None:
        self._read = read
        self._options = options
        self._config: Config | None = None

    def listen(self) -> AbstractContextManager[Place | None]:
        """Return the place to listen on that was asked for, to be held; entering it blocks."""
        from ksi_tui.commands.listen import taken_place  # noqa: PLC0415 - after the first frame

        return taken_place(self._options)

    def ready_to_start(self) -> Config:
        """Read the settings and load the engine's code; raises ConfigError."""
        from ksi_tui.engine import completion_service  # noqa: F401, PLC0415 - loads it

        self._config = self._read()
        return self._config

    def socket(self) -> Path:
        """Return where the engine of this database listens; once the settings were read."""
        assert self._config is not None
        return socket_at(self._config.engine.database_path)

    def shown(self) -> dict[str, Any]:
        """Return the settings that apply, without secrets; nothing before they were read."""
        from ksi_tui.commands.config import shown  # noqa: PLC0415 - seldom asked for

        return shown(self._config) if self._config is not None else {}


def _connect(held: _Held, name: str) -> Connect:
    @asynccontextmanager
    async def connect() -> AsyncIterator[EngineClient]:
        with ExitStack() as kept:
            try:
                config = await asyncio.to_thread(held.ready_to_start)
                place = await asyncio.to_thread(kept.enter_context, held.listen())
            except ConfigError as error:
                raise SettingsRefused(str(error)) from None
            from ksi_tui.access.opening import opened_listener  # noqa: PLC0415 - after the frame
            from ksi_tui.door.opening import opened_door  # noqa: PLC0415 - after the first frame
            from ksi_tui.engine import CompletionEngine  # noqa: PLC0415 - after the first frame

            async with (
                CompletionEngine(config) as engine,
                opened_door(engine, config, name, operator=config.ui.operator) as host,
                opened_listener(host, place) as client,
            ):
                yield client

    return connect
