"""`ksi-tui open BUNDLE`: looks at an incident bundle in the dashboard's own screens, read-only."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from ksi_tui.app import KsiApp, run_dashboard
from ksi_tui.client import EngineClient
from ksi_tui.commands.dashboard import need_terminal
from ksi_tui.commands.settings import settings
from ksi_tui.incident.bundle import read_bundle
from ksi_tui.incident.client import BundleClient
from ksi_tui.incident.errors import BundleError
from ksi_tui.settings_file import config_file, read_toml
from ksi_tui.ui_settings import FirstUi, first_ui


def execute(options: argparse.Namespace) -> int:
    """Show a bundle until its user quits; raises BundleError when it is none."""
    bundle = read_bundle(options.bundle)
    try:
        client = BundleClient(bundle)
    except BundleError as error:
        raise BundleError(f"{options.bundle}: {error}") from None
    need_terminal()

    @asynccontextmanager
    async def connect() -> AsyncIterator[EngineClient]:
        yield client

    name = str(bundle.about.get("name") or "incident")
    app = KsiApp(connect, ui=_ui(options), name=name, recording=client)
    return asyncio.run(run_dashboard(app))


def _ui(options: argparse.Namespace) -> FirstUi:
    """Return the user's own `[ui]`; what is long past rings no bell and alerts nobody."""
    file = config_file(options.config)
    found = first_ui(read_toml(file).get("ui", {})) if file else FirstUi()
    if found is None:
        found = FirstUi(**settings(options).ui.model_dump())
    return replace(found, ascii=found.ascii or options.ascii, bell=False, alert=None)
