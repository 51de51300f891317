"""What people do is seen where it concerns: live in the event log, in the timeline of a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from ksi_tui.screens import later
from tests.ui.harness import SMALL, WIDE
from tests.ui.test_engine import over, simulated

SIZES = pytest.mark.parametrize("size", [SMALL, WIDE])


@SIZES
async def test_a_sessions_cancel_is_in_its_timeline_and_live_in_the_log(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    async with over(simulated(tmp_path), size) as hand:
        client = hand.app.client
        assert client is not None
        await client.emit("queue:pause", {"scope": "session", "id": "globex-7"})
        for number in range(3):
            data = {"prompt": "x", "session_id": "globex-7", "request_id": f"r-{number}"}
            await client.emit("completion:async", data)
        await hand.press("l")
        await hand.sees("overview > events")
        await client.emit(
            "completion:cancel",
            {"session_id": "globex-7", "by": "op7", "reason": "t 1", "receipt": "c-031244"},
        )
        await hand.sees("• action:cancel", "c-031244", "op7")
        await hand.press("escape")
        await hand.app.push_screen(later.session_screen("globex-7"))
        if size == SMALL:
            await hand.press("3")
        await hand.sees("! cancel", '3 requests by op7: "t 1" (c-031244): r-')
