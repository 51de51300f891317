"""Acting over the real engine: what the receipt promises holds, and who and why are on record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ksi_tui.client import EngineClient
from tests.ui.harness import WIDE, Hand
from tests.ui.test_engine import over, simulated


def client_of(hand: Hand) -> EngineClient:
    assert hand.app.client is not None
    return hand.app.client


async def submit(hand: Hand, **data: Any) -> str:
    reply = await client_of(hand).emit("completion:async", {"prompt": "x", **data})
    return str(reply["request_id"])


async def meant(hand: Hand) -> None:
    """Press the acting button, after the guard's 400 ms of the real clock."""
    await hand.until(lambda: hand.app.focused is not None and hand.app.focused.id == "keep")
    await hand.press("tab")
    guard = hand.app.screen._guard  # type: ignore[attr-defined]
    await hand.until(lambda: hand.app.clock() - guard._quiet_since > 0.45)
    await hand.press("enter")


async def test_a_session_is_stopped_with_a_reason_and_comes_back_in_place(tmp_path: Path) -> None:
    config = simulated(tmp_path, tokens_per_s=20, words=5000)
    async with over(config, WIDE) as hand:
        first = await submit(hand, model="sim/slow", session_id="s", request_id="r-first")
        await submit(hand, model="sim/slow", session_id="s", request_id="r-second")
        await hand.sees("► streaming", first)
        await hand.press("c")
        await hand.sees("( ) whole session s (2)")
        await hand.press("shift+tab")
        await hand.type("ticket 8841")
        await hand.press("shift+tab", "right")
        await hand.sees("[ Stop 2 requests ]", "1 slot at simulated")
        await hand.press("tab", "tab")
        await meant(hand)
        await hand.sees("2 of 2 stopped", "ms, confirmed", "was never sent", "Lock s free.")
        await hand.press("u")
        await hand.sees("Take back what was done last?", "2 requests of session s stopped")
        await meant(hand)
        await hand.sees("undone: 2 requests of session s back in place")
        await hand.sees("► streaming", first)
        await hand.press("enter")
        await hand.sees("! cancel       by op1: ticket 8841 (c-", "! retry        by op1: undo: 2")
        for _ in range(2):
            await client_of(hand).emit("completion:cancel", {"session_id": "s"})


async def test_a_pause_and_a_forced_circuit_hold_and_are_taken_back(tmp_path: Path) -> None:
    async with over(simulated(tmp_path), WIDE) as hand:
        await hand.press("3", "B")
        await hand.sees("Force the circuit of simulated open?", "nobody else serves it; waits")
        await meant(hand)
        await hand.sees("circuit of simulated forced open for 30 min")
        held = await submit(hand, model="sim/echo")
        await hand.press("p")
        await hand.sees("[ Pause provider simulated ]")
        await meant(hand)
        await hand.sees("provider simulated is paused")
        for said in ("provider simulated goes on", "circuit of simulated: let go"):
            await hand.press("u")
            await hand.sees("Take back what was done last?")
            await meant(hand)
            await hand.sees(f"undone: {said}")
        await hand.sees("√ completed", held)


async def test_a_failed_one_goes_again_and_is_stopped_again(tmp_path: Path) -> None:
    async with over(simulated(tmp_path), WIDE) as hand:
        client = client_of(hand)
        request_id = await submit(hand, model="sim/hang")
        await hand.sees(request_id)
        await client.emit("completion:cancel", {"request_id": request_id})
        await hand.sees("× cancelled")
        await hand.press("r")
        await hand.sees("goes again; u takes that back")
        await hand.press("u")
        await hand.sees("Take back what was done last?", "stopped; it then reads cancelled")
        await meant(hand)
        await hand.sees("undone: ", "stopped again")
        status = await client.emit("completion:request_status", {"request_id": request_id})
        assert (status["status"], status["by"]) == ("cancelled", "op1")
