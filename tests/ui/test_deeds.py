"""What the keys do to requests: submit, cancel, retry, send elsewhere, force a lock, quit."""

from __future__ import annotations

from typing import Any

import pytest

from ksi_tui.engine.views import Live, Phase
from ksi_tui.screens.dialog import GUARD_S, EnterGuard
from tests.ui.harness import SMALL, WIDE, Clock, Hand, dashboard
from tests.ui.scripted import ScriptedClient, busy, first_start

SESSION: dict[str, Any] = {
    "session_id": "globex-7",
    "exists": True,
    "completions": [
        {"request_id": "r-1", "status": "completed"},
        {"request_id": "r-1042", "status": "processing"},
        {"request_id": "r-1047", "status": "queued"},
        {"request_id": "r-1051", "status": "queued"},
    ],
    "session": {"active_request": "r-1042", "lock_holder": "a12"},
}
ONE = {"cancelled": [{"request_id": "r-1042", "was": "processing", "changed": True}]}
BOTH = [SMALL, WIDE]


def live(request_id: str = "r-1042", **changes: Any) -> Live:
    fields: dict[str, Any] = {
        "phase": Phase.NO_TOKEN,
        "why": "no token for 34 s",
        "provider": "anthropic",
        "model": "claude-sonnet-4-5",
        "attempt": 2,
        "max_attempts": 3,
        "tokens": 412,
        "ttft_s": 0.7,
        "tokens_per_s": 0.0,
        "text": "Invoice 2231 doubled",
        "text_length": 20,
        "if_nobody_acts": "the idle clock fires in 0:26, attempt 3 of 3 starts",
    }
    return Live(request_id=request_id, **(fields | changes))


def engine(**replies: Any) -> ScriptedClient:
    scripted = {
        "completion:session_status": SESSION,
        "completion:cancel": ONE,
        **{name.replace("__", ":"): reply for name, reply in replies.items()},
    }
    client = ScriptedClient(busy(), scripted)
    client.lives["r-1042"] = live()
    return client


async def open_cancel(hand: Hand) -> None:
    await hand.press("c")
    await hand.sees("Keep running", "Stop 1 request")


# --- cancel -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", BOTH)
async def test_cancel_names_the_target_and_what_it_hits(size: tuple[int, int]) -> None:
    async with dashboard(engine(), size) as hand:
        await open_cancel(hand)
        await hand.sees(
            "┌─ Stop 1 request of globex-7? ─",
            "(•) r-1042 only",
            "( ) whole session globex-7 (3)",
            "► no token",
            "412 est.",
            "close stream, keep text",
            "1 slot at anthropic",
            "completion:cancelled with your reason",
            "n restarts it elsewhere; nothing is cancelled",
            "by op1",
            "[ Keep running ]",
            "[ Stop 1 request ]",
        )
        assert hand.app.focused is not None
        assert hand.app.focused.id == "keep"
        assert hand.client.sent("completion:cancel") == []


async def test_enter_right_after_opening_does_nothing() -> None:
    async with dashboard(engine()) as hand:
        await open_cancel(hand)
        hand.clock.advance(0.39)
        await hand.press("enter")
        await hand.pilot.pause()
        assert "Keep running" in hand.screen
        hand.clock.advance(0.41)
        await hand.press("enter")
        await hand.sees_no("Keep running")
        assert hand.client.sent("completion:cancel") == []


async def test_a_repeating_enter_on_the_stop_button_does_nothing() -> None:
    async with dashboard(engine()) as hand:
        await open_cancel(hand)
        await hand.press("tab")
        for _ in range(20):
            hand.clock.advance(0.03)
            await hand.press("enter")
        await hand.pilot.pause()
        assert hand.client.sent("completion:cancel") == []
        hand.clock.advance(1)
        await hand.press("enter")
        await hand.until(lambda: hand.client.sent("completion:cancel"))


def test_the_guard_counts_from_the_last_press() -> None:
    clock = Clock()
    guard = EnterGuard(clock)
    clock.advance(GUARD_S - 0.01)
    assert not guard.pressed()
    clock.advance(GUARD_S - 0.01)
    assert not guard.pressed()
    clock.advance(GUARD_S + 0.01)
    assert guard.pressed()
    assert not guard.pressed()


@pytest.mark.parametrize("size", BOTH)
async def test_cancel_one_with_a_reason_and_its_receipt(size: tuple[int, int]) -> None:
    async with dashboard(engine(), size) as hand:
        await open_cancel(hand)
        await hand.press("shift+tab")
        await hand.type("ticket 8841")
        await hand.press("tab", "tab")
        hand.clock.advance(1)
        await hand.press("enter")
        await hand.sees("Receipt: 1 of 1 stopped", "r-1042", "× cancelled", "closing…", "412 tok")
        assert hand.client.sent("completion:cancel") == [
            {"request_id": "r-1042", "reason": "ticket 8841", "by": "op1"}
        ]
        hand.client.publish("completion:upstream_closed", request_id="r-1042", after_ms=38.2)
        await hand.sees("38 ms, confirmed", 'by op1: "ticket 8841"')
        await hand.press("escape")
        await hand.sees_no("Receipt")


async def test_cancel_the_whole_session() -> None:
    whole = {
        "cancelled": [
            {"request_id": "r-1042", "was": "processing", "changed": True},
            {"request_id": "r-1047", "was": "queued", "changed": True},
            {"request_id": "r-1051", "was": "completed", "changed": False},
        ]
    }
    async with dashboard(engine(completion__cancel=whole)) as hand:
        await open_cancel(hand)
        await hand.press("shift+tab", "shift+tab", "right")
        await hand.sees("Stop 3 requests of globex-7?", "[ Stop 3 requests ]", "never sent")
        await hand.press("tab", "tab", "tab")
        hand.clock.advance(1)
        await hand.press("enter")
        await hand.sees(
            "Receipt: 2 of 3 stopped", "was never sent", "not stopped: it was completed"
        )
        assert hand.client.sent("completion:cancel") == [{"session_id": "globex-7", "by": "op1"}]


async def test_a_changed_world_is_shown_and_asked_again() -> None:
    client = engine()
    async with dashboard(client) as hand:
        await open_cancel(hand)
        client.replies["completion:session_status"] = {
            **SESSION,
            "completions": [{"request_id": "r-1042", "status": "completed"}],
        }
        await hand.press("tab")
        hand.clock.advance(1)
        await hand.press("enter")
        await hand.sees("The world changed: read again", "r-1042 ended by itself")
        assert client.sent("completion:cancel") == []
        assert hand.app.focused is not None
        assert hand.app.focused.id == "keep"


async def test_a_refused_cancel_is_said_in_place_and_nothing_typed_is_lost() -> None:
    refused = {"error": "the store cannot write", "code": "not_ready"}
    async with dashboard(engine(completion__cancel=refused)) as hand:
        await open_cancel(hand)
        await hand.press("shift+tab")
        await hand.type("why")
        await hand.press("tab", "tab")
        hand.clock.advance(1)
        await hand.press("enter")
        await hand.sees("! the store cannot write", "why", "Keep running")


async def test_the_milder_way_sends_elsewhere() -> None:
    client = engine(completion__retry={"retried": [{"request_id": "r-1042", "changed": True}]})
    async with dashboard(client) as hand:
        await open_cancel(hand)
        await hand.press("n")
        await hand.until(lambda: client.sent("completion:retry"))
        assert client.sent("completion:retry") == [
            {"request_id": "r-1042", "avoid": ["anthropic"], "by": "op1"}
        ]
        assert client.sent("completion:cancel") == []


# --- retry, elsewhere, locks ----------------------------------------------------------------


async def test_retry_and_elsewhere_name_the_request_and_the_operator() -> None:
    client = engine(completion__retry={"retried": [{"request_id": "r-1042", "changed": True}]})
    async with dashboard(client) as hand:
        await hand.press("r")
        await hand.sees("r-1042 goes again")
        await hand.press("n")
        await hand.sees("r-1042 leaves anthropic: next attempt elsewhere")
        assert client.sent("completion:retry") == [
            {"request_id": "r-1042", "by": "op1"},
            {"request_id": "r-1042", "avoid": ["anthropic"], "by": "op1"},
        ]


async def test_elsewhere_of_a_queued_head_avoids_what_it_waits_for() -> None:
    client = engine(
        completion__retry={"retried": [{"request_id": "r-77", "changed": True}]},
        completion__request_status={"cause": {"kind": "circuit", "target": "openai"}},
    )
    async with dashboard(client) as hand:
        await hand.press("1", "j", "n")
        await hand.until(lambda: client.sent("completion:retry"))
        assert client.sent("completion:retry")[0]["request_id"] == "r-77"
        assert client.sent("completion:retry")[0]["avoid"] == ["openai"]


async def test_a_refused_retry_says_why() -> None:
    client = engine(completion__retry={"error": "r-1042 is running", "code": "conflict"})
    async with dashboard(client) as hand:
        await hand.press("r")
        await hand.sees("not retried: r-1042 is running")


async def test_force_lock_asks_and_names_the_holder() -> None:
    client = engine(conversation__release_lock={"released": True})
    async with dashboard(client) as hand:
        await hand.press("F")
        await hand.sees("force lock needs a lock: 4 goes to them")
        await hand.press("4", "F")
        await hand.sees("Take the lock of acme-42 from a7?", "3 requests that wait for it")
        await hand.press("tab")
        hand.clock.advance(1)
        await hand.press("enter")
        await hand.sees("the lock of acme-42 is free")
        assert client.sent("conversation:release_lock") == [
            {"session_id": "acme-42", "agent_id": "a7", "force": True, "by": "op1"}
        ]


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
