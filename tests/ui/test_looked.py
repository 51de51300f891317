"""Failures are new until somebody has looked: at the list of them, or at one by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from ksi_tui.client import EngineClient
from ksi_tui.screens import later
from tests.ui.harness import SMALL, WIDE, Hand
from tests.ui.test_engine import over, simulated

SIZES = pytest.mark.parametrize("size", [SMALL, WIDE])


async def fail(hand: Hand, *ids: str) -> EngineClient:
    client = hand.app.client
    assert client is not None
    for each in ids:
        data = {"prompt": "x", "model": "sim/down", "request_id": each, "max_attempts": 1}
        await client.emit("completion:async", data)

    async def failed() -> int:
        counts = (await client.emit("completion:status"))["status_counts"]
        return int(counts.get("failed", 0))

    while await failed() < len(ids):
        await hand.pilot.pause()
    return client


@SIZES
async def test_the_list_of_what_failed_looks_at_all_of_it(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    async with over(simulated(tmp_path), size) as hand:
        client = await fail(hand, "f-1", "f-2")
        await hand.sees("fail", "2 new", "! failed")
        await hand.press("x")
        await hand.sees("f-1", "f-2", "Failed")
        await hand.press("escape")
        await hand.sees("0 new")
        assert hand.screen.count("2 req") == 0
        await client.emit("completion:retry", {"request_id": "f-1"})
        await hand.sees("1 new")


@SIZES
async def test_one_request_that_is_opened_is_looked_at_alone(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    async with over(simulated(tmp_path), size) as hand:
        await fail(hand, "f-1", "f-2")
        await hand.sees("2 new")
        await hand.app.push_screen(later.request_screen("f-1"))
        await hand.sees("! failed", "f-1")
        await hand.press("escape")
        await hand.sees("1 new")
        for _ in range(2):  # looking twice is looking once
            await hand.app.push_screen(later.request_screen("f-1"))
            await hand.sees("! failed", "f-1")
            await hand.press("escape")
        await hand.sees("1 new")


async def test_a_completed_request_is_no_failure_looked_at(tmp_path: Path) -> None:
    async with over(simulated(tmp_path), WIDE) as hand:
        client = await fail(hand, "f-1")
        await client.emit("completion:async", {"prompt": "x", "request_id": "ok"})
        await hand.app.push_screen(later.request_screen("ok"))
        await hand.sees("√ completed")
        await hand.press("escape")
        await hand.sees("1 new")
