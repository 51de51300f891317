"""What tests of calls through a real provider worker share, one of each a module."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from ksi_tui.engine.providers.pool import WorkerPool
from tests.servers.calling import Events
from tests.servers.misbehaving import MisbehavingServer


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pool() -> AsyncIterator[WorkerPool]:
    """A pool with one worker."""
    pool = WorkerPool(1, on_event=Events())
    pool.start()
    yield pool
    await pool.aclose()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def server() -> AsyncIterator[MisbehavingServer]:
    """A provider that misbehaves as it is told."""
    async with MisbehavingServer() as server:
        yield server
