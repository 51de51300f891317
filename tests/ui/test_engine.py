"""The dashboard over the real engine and the simulated provider: nothing in between."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.app import KsiApp
from ksi_tui.config import Config, UiSettings
from ksi_tui.demo import MOST_UNFINISHED, demo_config
from ksi_tui.engine import CompletionEngine
from ksi_tui.engine.errors import DatabaseOwned
from tests.ui.harness import SMALL, WIDE, Hand, unhurried


def simulated(folder: Path, **params: Any) -> Config:
    provider = {"name": "simulated", "kind": "simulated", "models": ["sim/*"], "model": "{model}"}
    return Config.model_validate(
        {
            "engine": {"database": str(folder / "ksi.db"), "shutdown_grace_s": 0},
            "providers": [{**provider, "params": params}],
        }
    )


@asynccontextmanager
async def over(
    config: Config, size: tuple[int, int] = SMALL, *, demo: bool = False, refresh_hz: float = 30
) -> AsyncIterator[Hand]:
    app = KsiApp(
        lambda: CompletionEngine(config),
        ui=UiSettings(operator="op1", refresh_hz=refresh_hz),
        name="ksi-tui",
        demo=demo,
    )
    with unhurried():
        async with app.run_test(size=size) as pilot:
            hand = Hand(pilot, None, app.clock)  # type: ignore[arg-type]
            try:
                await hand.until(lambda: app.client is not None, "the engine is up")
                await hand.until(lambda: app.events._client is app.client, "its events are read")
                yield hand
            finally:
                await app.close_engine()


async def test_first_start_submit_and_answer(tmp_path: Path) -> None:
    async with over(simulated(tmp_path)) as hand:
        await hand.sees("No provider key was found", "3 Providers ●1")
        await hand.press("s")
        await hand.type("hello there")
        await hand.press("enter")
        await hand.sees("√ completed", "√ answered")
        await hand.press("2")
        await hand.sees("hello there", "[2 Answer")
        await hand.press("escape")
        await hand.sees("√ completed", "sim/echo")
        await hand.press("q")
        await hand.until(lambda: hand.app.return_code == 0)


async def test_an_unknown_model_is_refused_in_the_form(tmp_path: Path) -> None:
    async with over(simulated(tmp_path)) as hand:
        await hand.press("s")
        await hand.type("x")
        await hand.press("tab", "tab")
        await hand.type("nope")
        await hand.press("enter")
        await hand.sees("! ", "nope")
        assert "Submit a prompt" in hand.screen


async def test_cancel_a_streaming_request_and_read_the_receipt(tmp_path: Path) -> None:
    config = simulated(tmp_path, tokens_per_s=20, words=5000)
    async with over(config, WIDE) as hand:
        client = hand.app.client
        assert client is not None
        reply = await client.emit("completion:async", {"prompt": "x", "model": "sim/slow"})
        await hand.sees("► streaming", reply["request_id"])
        await hand.press("c")
        await hand.sees("Stop 1 request", "1 slot at simulated", "close stream, keep text")
        await hand.press("tab")
        # The dialog's clock is the real one here, so the guard's 400 ms really pass.
        guard = hand.app.screen._guard  # type: ignore[attr-defined]
        await hand.until(lambda: hand.app.clock() - guard._quiet_since > 0.45)
        await hand.press("enter")
        await hand.sees("1 of 1 stopped", "ms, confirmed")
        await hand.press("escape")
        await hand.sees("× cancelled")
        status = await client.emit("completion:request_status", {"request_id": reply["request_id"]})
        assert status["status"] == "cancelled"
        assert status["by"] == "op1"


async def test_retry_a_cancelled_request(tmp_path: Path) -> None:
    async with over(simulated(tmp_path)) as hand:
        client = hand.app.client
        assert client is not None
        reply = await client.emit("completion:async", {"prompt": "x", "model": "sim/hang"})
        request = {"request_id": reply["request_id"]}
        await hand.sees(reply["request_id"])
        await client.emit("completion:cancel", request)
        await hand.sees("× cancelled")
        await hand.press("r")
        await hand.sees(f"{reply['request_id']} goes again")
        await hand.until(lambda: "► first token" in hand.screen or "► connecting" in hand.screen)
        await client.emit("completion:cancel", request)


async def test_leaving_work_for_next_time_keeps_it(tmp_path: Path) -> None:
    config = simulated(tmp_path)
    async with over(config) as hand:
        client = hand.app.client
        assert client is not None
        await client.emit("completion:async", {"prompt": "x", "model": "sim/hang"})
        await hand.sees("act 1/32")
        await hand.press("q")
        await hand.sees("Leave with work in flight?", "1 at providers")
        guard = hand.app.screen._guard  # type: ignore[attr-defined]
        await hand.until(lambda: hand.app.clock() - guard._quiet_since > 0.45)
        await hand.press("l")
        await hand.until(lambda: hand.app.return_code == 0)
    async with CompletionEngine(config) as engine:
        assert (await engine.emit("completion:status"))["status_counts"].get("completed", 0) == 0
        assert sum((await engine.emit("completion:status"))["status_counts"].values()) == 1
        await engine.emit("system:shutdown", {"grace_s": 0})


async def test_a_second_dashboard_says_who_has_the_database(tmp_path: Path) -> None:
    config = simulated(tmp_path)
    async with CompletionEngine(config):
        app = KsiApp(
            lambda: CompletionEngine(config),
            ui=UiSettings(operator="op1", refresh_hz=30),
            name="ksi-tui",
        )
        async with app.run_test(size=SMALL) as pilot:
            hand = Hand(pilot, None, app.clock)  # type: ignore[arg-type]
            await hand.sees("■ DOWN", "The engine could not start")
            assert app.exit_code == 3
            await app.close_engine()
        with pytest.raises(DatabaseOwned):
            async with CompletionEngine(config):
                pass


async def test_the_demo_shows_traffic_and_stays_bounded(tmp_path: Path) -> None:
    async with over(demo_config(tmp_path / "ksi.db"), WIDE, demo=True) as hand:
        await hand.until(lambda: "► streaming" in hand.screen and "√ completed" in hand.screen)
        client = hand.app.client
        assert client is not None
        totals = client.snapshot().totals
        assert totals.active + totals.queued + totals.retrying <= MOST_UNFINISHED
        await hand.press("D")
        await hand.sees("demo load stopped")
        assert hand.app._demo._load is None
        await client.emit("system:shutdown", {"grace_s": 0})
    # What it leaves is in its own folder, which goes with it.
    assert list((tmp_path / "responses").iterdir())


@pytest.mark.parametrize("size", [SMALL, WIDE], ids=["80x24", "140x45"])
async def test_a_failed_request_opens_with_its_story_and_goes_again(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    async with over(simulated(tmp_path), size) as hand:
        assert hand.app.client is not None
        down = {"prompt": "why me", "model": "sim/down", "session_id": "s-1", "max_attempts": 1}
        await hand.app.client.emit("completion:async", down)
        await hand.sees("! failed")
        await hand.press("enter")
        await hand.sees("s-1", "provider_error", "queued")
        assert "{'kind'" not in hand.screen
        await hand.press("r")
        status = {"request_id": "r-1"}
        client = hand.app.client
        seen: list[int] = []

        async def walks() -> None:
            seen.append(len((await client.emit("completion:request_status", status))["attempts"]))

        while not seen or seen[-1] < 2:
            await walks()
            await hand.pilot.pause()
        await hand.sees("attempt 2")
        acted = hand.screen.find("! retry")
        assert hand.screen.find("attempt 1") < acted < hand.screen.find("attempt 2    of")
