"""SqliteStore: the contract of every store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from ksi_tui.engine.store.base import Store
from ksi_tui.engine.store.sqlite import open_store
from tests.engine.store_contract import StoreContract


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def open_again(self, tmp_path: Path) -> Callable[[], Awaitable[Store]]:
        async def opened() -> Store:
            return await open_store(tmp_path / "state" / "ksi.db")

        return opened
