"""The live log: newest on top, still when one goes back, filtered, and the journal behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.ui.harness import SMALL, WIDE, Hand, dashboard
from tests.ui.scripted import ScriptedClient, busy


def journal(count: int, name: str = "action:pause") -> Any:
    """A journal of so many entries, a minute apart, before the moment of the pictures."""

    def answer(data: Mapping[str, Any]) -> dict[str, Any]:
        last = data.get("before", count + 1) - 1
        first = max(1, last - data["limit"] + 1)
        entries = [
            {
                "seq": seq,
                "at": f"2026-11-21T{seq // 60 % 24:02d}:{seq % 60:02d}:00.000Z",
                "name": name,
                "data": {"by": "op2", "reason": f"old-{seq}", "target": "session:s"},
            }
            for seq in range(last, first - 1, -1)
        ]
        return {"entries": entries, "more": first > 1}

    return answer


def client(count: int = 0, replies: Mapping[str, Any] | None = None) -> ScriptedClient:
    return ScriptedClient(busy(), {"system:journal": journal(count), **(replies or {})})


async def opened(hand: Hand, events: int = 3) -> None:
    for number in range(1, events + 1):
        hand.client.publish("completion:queued", request_id=f"q-{number}", session_id="acme")
    await hand.until(lambda: hand.app.events.taken >= events)
    await hand.press("l")
    await hand.sees("overview > events", f"q-{events}")


@pytest.mark.parametrize("size", [SMALL, WIDE])
async def test_what_happens_appears_on_top(size: tuple[int, int]) -> None:
    async with dashboard(client(), size) as hand:
        await opened(hand)
        hand.client.publish("completion:error", request_id="r-9", error="no \x1b[2Jluck", kind="x")
        await hand.sees("► 03:12:44.4 ! completion:error", "r-9", "no [2Jluck")
        rows = [line for line in hand.screen.splitlines() if "03:12:44.4" in line]
        assert "completion:error" in rows[0]
        assert "q-1" in rows[3]


async def test_gone_back_it_stands_still_and_says_what_is_new() -> None:
    async with dashboard(client(), WIDE) as hand:
        await opened(hand)
        await hand.press("j")
        hand.client.publish("worker:lost", reason="killed")
        await hand.sees("1 new above, g goes there")
        assert "killed" not in hand.screen
        await hand.press("g")
        await hand.sees("killed")
        await hand.sees_no("new above")


async def test_freeze_holds_the_log() -> None:
    async with dashboard(client(), WIDE) as hand:
        await opened(hand)
        await hand.press("f")
        hand.client.publish("worker:lost", reason="killed")
        await hand.sees("frozen, f goes on")
        await hand.until(lambda: hand.app.events.taken == 4)
        assert "killed" not in hand.screen
        await hand.press("f")
        await hand.sees("killed")


async def test_past_the_live_log_it_goes_on_with_the_journal_page_by_page() -> None:
    scripted = client(1200)
    async with dashboard(scripted, WIDE) as hand:
        await opened(hand)
        await hand.sees("old-1200", "action:pause", "op2")
        assert [one.get("before") for one in scripted.sent("system:journal")] == [None]
        await hand.press("G")
        await hand.sees("old-701")
        await hand.sees("1.0k")
        assert len(scripted.sent("system:journal")) == 2
        await hand.press("G")
        await hand.sees("old-201")
        await hand.sees("1.2k")
        await hand.press("G")
        await hand.sees("old-1,", "back to the journal's begin")
        asked = scripted.sent("system:journal")
        assert [one.get("before") for one in asked] == [None, 701, 201]
        await hand.press("g")
        await hand.sees("q-3")


async def test_the_journal_is_not_read_again_for_what_the_log_holds() -> None:
    def both(data: Mapping[str, Any]) -> dict[str, Any]:
        late = {"seq": 9, "at": "2030-01-01T00:00:00.000Z", "name": "queue:paused", "data": {}}
        reply = journal(2)(data)
        return {**reply, "entries": [late, *reply["entries"]]}

    async with dashboard(client(0, {"system:journal": both}), WIDE) as hand:
        await opened(hand)
        await hand.sees("old-2", "old-1")
        assert "queue:paused" not in hand.screen


async def test_a_filter_of_patterns_and_words_and_escape_clears_it() -> None:
    scripted = client(5)
    async with dashboard(scripted, WIDE) as hand:
        await opened(hand)
        hand.client.publish("provider:circuit", provider="openai", reason="5 timeouts", to="open")
        await hand.press("slash")
        await hand.type("provider:*")
        await hand.sees("filter: provider:*", "5 timeouts")
        await hand.sees_no("q-1", "old-1")
        await hand.press("enter")
        assert scripted.sent("system:journal")[-1]["pattern"] == "provider:*"
        hand.client.publish("completion:queued", request_id="q-7")
        hand.client.publish("provider:circuit", provider="azure", reason="probe", to="half_open")
        await hand.sees("▲ provider:circuit", "azure")
        assert "q-7" not in hand.screen
        await hand.press("escape")
        await hand.sees("q-7", "q-1", "old-5")
        await hand.press("escape")
        await hand.sees_no("overview > events")


async def test_a_wrong_filter_is_told_in_place() -> None:
    async with dashboard(client(), WIDE) as hand:
        await opened(hand)
        await hand.press("slash")
        await hand.type("completion:* cost>1")
        await hand.sees("^ an event has no cost")


async def test_nothing_fits_says_what_was_looked_for() -> None:
    async with dashboard(client(), WIDE) as hand:
        await opened(hand)
        await hand.press("slash")
        await hand.type("nowhere")
        await hand.press("enter")
        await hand.sees("Nothing fits nowhere", "esc   clears it")


async def test_rows_open_what_they_are_about_and_are_copied() -> None:
    scripted = client(
        0, {"completion:request_status": {"error": "no request", "code": "not_found"}}
    )
    async with dashboard(scripted, WIDE) as hand:
        await opened(hand)
        await hand.press("y")
        await hand.sees("the event")
        await hand.press("enter")
        await hand.sees("overview > events > q-3")
        await hand.press("escape")
        hand.client.publish("provider:circuit", provider="openai", to="open")
        await hand.sees("provider:circuit")
        await hand.press("g", "enter")
        await hand.sees("overview > events > openai")


async def test_a_journal_that_cannot_be_read_is_said_and_not_asked_for_ever() -> None:
    refused = {"error": "disk \x1b]0;x\x07 full", "code": "not_ready"}
    scripted = client(0, {"system:journal": refused})
    async with dashboard(scripted, WIDE) as hand:
        await opened(hand)
        await hand.sees("! journal: disk ]0;x full")
        asked = len(scripted.sent("system:journal"))
        for _ in range(5):
            await hand.pilot.pause(0.05)
        assert len(scripted.sent("system:journal")) == asked


async def test_the_log_goes_on_behind_other_screens() -> None:
    async with dashboard(client(), SMALL) as hand:
        await hand.press("m")
        hand.client.publish("worker:lost", reason="killed")
        await hand.until(lambda: hand.app.events.taken == 1)
        await hand.press("l")
        await hand.sees("killed")


async def test_nothing_has_happened() -> None:
    async with dashboard(client(), SMALL) as hand:
        await hand.press("l")
        await hand.sees("Nothing has happened yet.")
