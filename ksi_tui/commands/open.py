"""`ksi-tui open BUNDLE`: looks at an incident bundle in the dashboard's own screens, read-only."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ksi_tui.app import KsiApp, run_dashboard
from ksi_tui.client import EngineClient
from ksi_tui.commands.dashboard import need_terminal
from ksi_tui.commands.settings import settings
from ksi_tui.incident.bundle import read_bundle
from ksi_tui.incident.client import BundleClient, moment_of


def execute(options: argparse.Namespace) -> int:
    """Show a bundle until its user quits; raises BundleError when it is none."""
    need_terminal()
    bundle = read_bundle(options.bundle)
    client = BundleClient(bundle)

    @asynccontextmanager
    async def connect() -> AsyncIterator[EngineClient]:
        yield client

    name = f"recorded {bundle.about.get('name', '')} {moment_of(bundle.about)}".strip()
    app = KsiApp(connect, ui=settings(options).ui, name=name, recording=client)
    return asyncio.run(run_dashboard(app))
