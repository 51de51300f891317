"""`ksi-tui attach`: the dashboard on an engine that somebody else started.

What can be said without a screen is said without one: where nobody answers that is a line on
stderr and exit code 2. How it looks and what its keys are is the user's own `[ui]`.
"""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import replace

from ksi_tui import paths
from ksi_tui.app import KsiApp, run_dashboard
from ksi_tui.browser import in_browser
from ksi_tui.commands.attaching import attaching, how_to_start, socket_at
from ksi_tui.commands.dashboard import need_terminal
from ksi_tui.commands.output import say
from ksi_tui.commands.settings import settings
from ksi_tui.config import Config
from ksi_tui.door.place import answers
from ksi_tui.exits import OK
from ksi_tui.remote.errors import DoorClosed
from ksi_tui.ui_settings import FirstUi


def execute(options: argparse.Namespace) -> int:
    """Show the dashboard of an engine until its user detaches; raises DoorClosed where none is."""
    config = settings(options)
    place = socket_at(options.place or config.engine.database_path)
    if not answers(place):
        raise DoorClosed(f"no engine answers at {place}; {how_to_start(options, options.place)}")
    need_terminal()
    ui = _ui(config, options)
    app = KsiApp(
        attaching(lambda: place, ui),
        ui=ui,
        name="ksi-tui",
        attached=True,
        config_hint=str(paths.user_config_file()),
        filters_file=paths.state_dir() / "filters.json",
        prompts_file=paths.state_dir() / "prompts.jsonl",
    )
    code = asyncio.run(run_dashboard(app))
    if code == OK and app.fault is None:
        say("detached; the engine goes on")
    return code


def _ui(config: Config, options: argparse.Namespace) -> FirstUi:
    """Return `[ui]` as it was asked for. A browser's dashboard runs no alert: each would."""
    ui = FirstUi(**config.ui.model_dump())
    return replace(
        ui,
        ascii=ui.ascii or options.ascii,
        read_only=ui.read_only or options.read_only,
        operator=options.operator or ui.operator,
        alert=None if in_browser() else ui.alert,
    )
