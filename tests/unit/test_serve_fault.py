"""A service that ends by a fault of its own drains, and does not call that a clean end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ksi_tui.client import Subscription
from ksi_tui.commands import serve
from tests.engine.engine_fixtures import config


async def test_a_fault_of_its_log_ends_a_service_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def broken(_: Subscription) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(serve, "recorded", broken)
    service = serve._Service(config(tmp_path), "x", None)
    with pytest.raises(ZeroDivisionError, match="a fault"):
        await service.live()
    assert "serving" in capsys.readouterr().err
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".sock")], "its door too"
