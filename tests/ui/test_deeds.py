"""What the keys do beside acting on requests: submit, help, quit."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from textual.screen import Screen

from tests.ui.harness import SMALL, WIDE, dashboard
from tests.ui.scripted import ScriptedClient, busy, first_start

ONE = {"cancelled": [{"request_id": "r-1042", "was": "processing", "changed": True}]}
BOTH = [SMALL, WIDE]


def engine(**replies: Any) -> ScriptedClient:
    scripted = {
        "completion:cancel": ONE,
        **{name.replace("__", ":"): reply for name, reply in replies.items()},
    }
    return ScriptedClient(busy(), scripted)


# --- submit ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", BOTH)
async def test_submit_sends_on_enter_and_opens_the_request(size: tuple[int, int]) -> None:
    client = ScriptedClient(
        first_start(),
        {
            "completion:async": {"request_id": "r-1", "session_id": "s-1", "status": "queued"},
            "completion:request_status": {"request_id": "r-1", "session_id": "s-1"},
        },
    )
    async with dashboard(client, size) as hand:
        await hand.press("s")
        await hand.sees("Submit a prompt")
        await hand.type("hello")
        await hand.press("ctrl+j")
        await hand.type("world")
        await hand.press("enter")
        await hand.sees("overview > s-1 > r-1")
        assert client.sent("completion:async") == [
            {"prompt": "hello\nworld", "priority": "normal", "agent_id": "op1"}
        ]
        await hand.press("escape")
        await hand.sees("2 Active")


async def test_submit_sends_every_field() -> None:
    client = ScriptedClient(first_start(), {"completion:async": {"request_id": "r-1"}})
    async with dashboard(client) as hand:
        await hand.press("s")
        await hand.type("p")
        await hand.press("tab")
        await hand.type("be short")
        await hand.press("tab")
        await hand.type("sim/slow")
        await hand.press("tab")
        await hand.type("s-9")
        await hand.press("tab")
        await hand.type("a1")
        await hand.press("tab", "left", "tab", "right", "tab", "right")
        await hand.press("tab", "tab", "enter")
        await hand.until(lambda: client.sent("completion:async"))
        assert client.sent("completion:async") == [
            {
                "prompt": "p",
                "system": "be short",
                "history": "none",
                "model": "sim/slow",
                "session_id": "s-9",
                "agent_id": "a1",
                "priority": "high",
                "stream": True,
            }
        ]


async def test_a_refused_submit_keeps_what_was_typed_also_when_closed() -> None:
    refused = {"error": "model 'nope': no provider serves it", "code": "no_provider"}
    async with dashboard(ScriptedClient(first_start(), {"completion:async": refused})) as hand:
        await hand.press("s")
        await hand.type("precious")
        await hand.press("enter")
        await hand.sees("! model 'nope': no provider serves it", "precious")
        await hand.press("escape")
        await hand.sees_no("precious")
        await hand.press("s")
        await hand.sees("precious")


async def test_an_empty_prompt_is_not_sent() -> None:
    client = ScriptedClient(first_start(), {})
    async with dashboard(client) as hand:
        await hand.press("s", "enter")
        await hand.sees("! the prompt is empty")
        assert client.sent("completion:async") == []


# --- help, palette, quit --------------------------------------------------------------------


async def test_quit_with_nothing_in_flight_just_quits() -> None:
    async with dashboard(ScriptedClient(first_start())) as hand:
        await hand.press("q")
        await hand.until(lambda: hand.app.return_code == 0)


@pytest.mark.parametrize("size", BOTH)
async def test_quit_with_work_asks_and_escape_stays(size: tuple[int, int]) -> None:
    async with dashboard(engine(), size) as hand:
        await hand.press("q")
        await hand.sees("Leave with work in flight?", "31 at providers, 6 in backoff, 214 queued")
        await hand.press("escape")
        await hand.sees_no("Leave with work in flight?")
        assert hand.app.return_code is None


@pytest.mark.parametrize(("key", "grace"), [("d", 86400.0), ("l", 0.0)])
async def test_quit_drains_or_leaves(key: str, grace: float) -> None:
    client = engine(system__shutdown={"status": "shutdown"})
    async with dashboard(client) as hand:
        await hand.press("q")
        await hand.sees("Leave with work in flight?")
        hand.clock.advance(1)
        await hand.press(key)
        await hand.until(lambda: hand.app.return_code == 0)
        assert client.sent("system:shutdown") == [{"grace_s": grace}]


async def test_quit_and_cancel_all_stops_every_session() -> None:
    client = engine()

    def cancelled(_: Any) -> dict[str, Any]:
        if len(client.sent("completion:cancel")) >= 13:
            client.now = first_start()
        return {"cancelled": []}

    client.replies["completion:cancel"] = cancelled
    async with dashboard(client) as hand:
        await hand.press("q")
        await hand.sees("Leave with work in flight?")
        hand.clock.advance(1)
        await hand.press("c")
        await hand.until(lambda: hand.app.return_code == 0)
        sessions = {data["session_id"] for data in client.sent("completion:cancel")}
        assert {"acme-42", "globex-7", "wayne-22", "bench-eu"} <= sessions


async def test_a_failure_in_the_app_is_one_line_and_exit_code_1(
    capfd: pytest.CaptureFixture[str],
) -> None:
    client = engine()

    async def run_into_it() -> None:
        async with dashboard(client) as hand:
            hand.app.screen.call_later(lambda: 1 / 0)
            await hand.until(lambda: hand.app.return_code == 1)

    with pytest.raises(ZeroDivisionError):
        await run_into_it()
    said = capfd.readouterr()
    assert "ended by a fault of its own (ZeroDivisionError)" in said.out + said.err


class Reading(Screen[None]):
    """A screen that is left while it reads, and then finds nothing to show it in."""

    ended = False

    def on_mount(self) -> None:
        self.run_worker(self._read())

    async def _read(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.ended = True
            self.query_one("#gone")


async def test_a_fault_of_a_screen_that_was_left_ends_nothing() -> None:
    async with dashboard(engine()) as hand:
        left = Reading()
        await hand.app.push_screen(left)
        await hand.until(lambda: hand.app.screen is left, "it is open")
        hand.app.pop_screen()
        await hand.until(lambda: left.ended and not left.is_running, "it has ended")
        assert hand.app.return_code is None
        await hand.sees("Active")
