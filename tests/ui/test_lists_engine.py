"""Finding over the real engine: what is typed on the overview, and history beside what waits."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ui.harness import SMALL, WIDE
from tests.ui.test_engine import over, simulated


@pytest.mark.parametrize("size", [SMALL, WIDE], ids=["80x24", "140x45"])
async def test_support_finds_the_stuck_session_by_its_customer(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    async with over(simulated(tmp_path), size) as hand:
        client = hand.app.client
        assert client is not None
        for number in range(40):
            await client.emit(
                "completion:async",
                {"prompt": "x", "session_id": f"other-{number}", "request_id": f"r-{number}"},
            )
        await client.emit("conversation:acquire_lock", {"session_id": "acme-42", "agent_id": "a7"})
        await client.emit(
            "completion:async",
            {
                "prompt": "x",
                "request_id": "r-81",
                "session_id": "acme-42",
                "agent_id": "a3",
                "metadata": {"customer": "globex"},
            },
        )
        await hand.press("slash")
        await hand.sees("esc leave")
        await hand.type("meta.customer:glo")
        await hand.sees("tab meta.customer:globex")
        await hand.press("tab", "enter")
        await hand.sees("1 of 41", "► r-81", "○ waiting", "lock held by a7", "If nobody acts: ")
        await hand.press("enter")
        await hand.sees("overview > requests > acme-42 > r-81")
        await hand.press("escape", "escape")
        await hand.press("i")
        await hand.sees("Requests  41", "√ completed")
        await client.emit("system:shutdown", {"grace_s": 0})


async def test_a_person_s_filter_keeps_the_worst_on_top(tmp_path: Path) -> None:
    async with over(simulated(tmp_path), SMALL) as hand:
        client = hand.app.client
        assert client is not None
        done = {"prompt": "x", "session_id": "acme-1", "request_id": "done"}
        down = done | {"request_id": "down", "model": "sim/down", "max_attempts": 1}
        await client.emit("completion:async", done)
        await client.emit("completion:async", down)
        for request in ("done", "down"):
            status: dict[str, object] = {}
            while status.get("status") not in ("completed", "failed"):
                await hand.pilot.pause()
                status = await client.emit("completion:request_status", {"request_id": request})
        for number in range(2):
            waits = {"prompt": "x", "model": "sim/hang", "request_id": f"hangs-{number}"}
            await client.emit("completion:async", waits | {"session_id": "acme-2"})
        await client.emit("completion:async", done | {"request_id": "newest"})
        await hand.press("slash")
        await hand.sees("esc leave")
        await hand.type("session:acme")
        await hand.press("enter")
        await hand.sees("5 of 5", "√ completed")

        def order() -> list[str]:
            rows = hand.screen.splitlines()[3:8]
            return [row[3:].split()[0] for row in rows]

        await hand.until(lambda: order() == ["hangs-0", "hangs-1", "down", "newest", "done"])
        await client.emit("system:shutdown", {"grace_s": 0})


async def test_the_dead_set_is_tried_again_over_the_engine(tmp_path: Path) -> None:
    async with over(simulated(tmp_path), SMALL) as hand:
        client = hand.app.client
        assert client is not None
        for number in range(3):
            down = {"prompt": "x", "model": "sim/down", "max_attempts": 1}
            await client.emit("completion:async", down | {"request_id": f"r-{number}"})
        await hand.press("x")
        await hand.sees("Failed  3", "! provider_error", "r-0", "1/1")
        await hand.press("asterisk")
        await hand.sees("3 marked")
        marked = hand.app.screen.marked()  # type: ignore[attr-defined]
        assert sorted(marked) == ["r-0", "r-1", "r-2"]
        await client.emit("system:shutdown", {"grace_s": 0})
