"""What the keys do to requests, providers and locks: each dialog, with keys only."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ksi_tui.engine.views import PauseView
from ksi_tui.screens.dialogs.routes import moves, serving
from tests.ui.acting import World, confirm, opened, provider
from tests.ui.harness import SMALL, WIDE, Hand, dashboard
from tests.ui.scripted import AT

BOTH = [SMALL, WIDE]


async def to_safe(hand: Hand) -> None:
    """Wait until the safe button has the focus, as it has when a dialog opens."""
    await hand.until(lambda: hand.app.focused is not None and hand.app.focused.id == "keep")


# --- pause ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", BOTH)
async def test_a_session_is_paused_and_undo_lets_it_go_on(size: tuple[int, int]) -> None:
    world = World()
    world.replies["queue:pause"] = {"changed": True, "paused": []}
    world.replies["queue:resume"] = {"changed": True, "paused": []}
    async with dashboard(world, size) as hand:
        await opened(
            hand,
            "p",
            "Pause: session globex-7?",
            "(•) session globex-7  ",
            "( ) provider anthropic",
            "( ) everything",
            "Holds     2 requests that wait",
            "[ Pause session globex-7 ]",
        )
        await hand.press("shift+tab")
        await hand.type("deploy")
        await hand.press("tab")
        await confirm(hand)
        await hand.sees("session globex-7 is paused; u takes that back")
        assert world.sent("queue:pause") == [
            {"scope": "session", "id": "globex-7", "by": "op1", "reason": "deploy"}
        ]
        await opened(hand, "u", "session globex-7 paused", "session globex-7 goes on")
        await confirm(hand)
        await hand.sees("undone: session globex-7 goes on")
        (sent,) = world.sent("queue:resume")
        assert (sent["scope"], sent["id"], sent["by"]) == ("session", "globex-7", "op1")


@pytest.mark.parametrize(
    ("steps", "scope"),
    [(1, {"scope": "provider", "id": "anthropic"}), (2, {"scope": "engine"})],
)
async def test_wider_scopes_are_offered(steps: int, scope: dict[str, str]) -> None:
    world = World()
    world.replies["queue:pause"] = {"changed": True}
    async with dashboard(world) as hand:
        await opened(hand, "p", "Pause: session globex-7?")
        await hand.press("shift+tab", "shift+tab", *["right"] * steps)
        what = "everything" if steps == 2 else "provider anthropic"
        await hand.sees(f"[ Pause {what} ]")
        if steps == 2:
            await hand.sees("214 requests that wait, 6 in backoff")
        else:
            await hand.sees("what has begun (21 calls)")
        await hand.press("tab", "tab")
        await confirm(hand)
        await hand.sees(f"{what} is paused")
        assert world.sent("queue:pause") == [{**scope, "by": "op1"}]


@pytest.mark.parametrize("size", BOTH)
async def test_what_is_paused_goes_on(size: tuple[int, int]) -> None:
    world = World()
    pause = PauseView(
        scope="session", id="globex-7", by="op2", reason="budget", since_s=7860, waiting=118
    )
    world.now = dataclasses.replace(world.now, pauses=(pause,), pauses_total=1)
    world.replies["queue:resume"] = {"changed": True}
    world.replies["queue:pause"] = {"changed": True}
    async with dashboard(world, size) as hand:
        await opened(
            hand,
            "p",
            "Let go on: session globex-7?",
            "2h11m ago by op2: budget",
            "Holds     118 requests",
            "[ Resume session globex-7 ]",
        )
        await confirm(hand)
        await hand.sees("session globex-7 goes on; u takes that back")
        assert world.sent("queue:resume") == [{"scope": "session", "id": "globex-7", "by": "op1"}]
        await opened(hand, "u", "is paused again, now by op1")
        await confirm(hand)
        await hand.sees("undone")
        assert world.sent("queue:pause") == [
            {"scope": "session", "id": "globex-7", "reason": "budget", "by": "op1"}
        ]


async def test_a_pause_that_somebody_was_quicker_with_is_no_deed() -> None:
    world = World()
    world.replies["queue:pause"] = {"changed": False}
    async with dashboard(world) as hand:
        await opened(hand, "p", "Pause: session globex-7?")
        await confirm(hand)
        await hand.sees("session globex-7 was paused already")
        await opened(hand, "u", "nothing to take back")


# --- circuits ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", BOTH)
async def test_a_circuit_is_forced_open_with_a_reason_for_30_minutes(
    size: tuple[int, int],
) -> None:
    world = World()
    world.replies["provider:open"] = {"provider": "anthropic"}
    world.replies["provider:reset"] = {"provider": "anthropic"}
    async with dashboard(world, size) as hand:
        await opened(
            hand,
            "B",
            "Force the circuit of anthropic open?",
            "(•) open",
            "(•) 30 min",
            "Now       closed, by itself",
            "21 in flight go on",
            "claude-*: nobody else serves it; waits",
            "gpt-4o: nobody now: openai is open, azure-eu is cooling;",
            "[ Hold it open for 30 min ]",
        )
        await hand.press("shift+tab")
        await hand.type("half dead")
        await hand.press("tab")
        await confirm(hand)
        await hand.sees("circuit of anthropic forced open for 30 min; u takes that back")
        assert world.sent("provider:open") == [
            {"provider": "anthropic", "by": "op1", "reason": "half dead", "for_s": 1800.0}
        ]
        await opened(hand, "u", "circuit of anthropic: let go")
        await confirm(hand)
        await hand.sees("undone")
        (sent,) = world.sent("provider:reset")
        assert (sent["provider"], sent["keep_statistics"]) == ("anthropic", True)


@pytest.mark.parametrize(
    ("rights", "button", "event", "for_s"),
    [
        (0, "Hold it closed for 30 min", "provider:close", 1800.0),
        (1, "Hold it closed for 2 h", "provider:close", 7200.0),
        (2, "Hold it closed until let go", "provider:close", None),
        (3, "Hold it closed for 5 min", "provider:close", 300.0),
    ],
)
async def test_the_state_and_the_time_are_chosen(
    rights: int, button: str, event: str, for_s: float | None
) -> None:
    world = World()
    world.replies[event] = {"provider": "anthropic"}
    async with dashboard(world) as hand:
        await opened(hand, "B", "Force the circuit of anthropic open?", "Now ")
        await hand.press("shift+tab", "shift+tab", "shift+tab", "right")
        await hand.sees("Force the circuit of anthropic closed?")
        await hand.press("tab", *["right"] * rights)
        await hand.sees(f"[ {button} ]")
        await hand.press("tab", "tab")
        await confirm(hand)
        await hand.until(lambda: world.sent(event))
        assert world.sent(event)[0].get("for_s") == for_s


@pytest.mark.parametrize("size", BOTH)
async def test_a_forced_circuit_is_let_go_and_undo_forces_it_for_what_was_left(
    size: tuple[int, int],
) -> None:
    world = World()
    forced = {
        "state": "open",
        "forced": "open",
        "forced_by": "op2",
        "forced_until": "2026-11-22T03:22:44Z",
        "reason": "deploy",
    }
    world.providers["anthropic"] = provider(3, ["claude-*"], breaker=forced)
    world.replies["provider:reset"] = {"provider": "anthropic"}
    world.replies["provider:open"] = {"provider": "anthropic"}
    async with dashboard(world, size) as hand:
        await opened(
            hand,
            "B",
            "Let the circuit of anthropic go?",
            "forced open by op2, until 03:22:44 UTC: deploy",
            "[ Let it go ]",
        )
        await confirm(hand)
        await hand.sees("circuit of anthropic let go")
        assert world.sent("provider:reset") == [
            {"provider": "anthropic", "by": "op1", "keep_statistics": True}
        ]
        await opened(hand, "u", "forced open again, for what is left")
        await confirm(hand)
        await hand.sees("undone")
        (sent,) = world.sent("provider:open")
        assert sent["for_s"] == pytest.approx(599.6)


async def test_a_queued_one_stands_for_the_provider_that_it_waits_for() -> None:
    world = World()
    world.add("r-81", "queued", "acme-42", cause={"kind": "circuit", "target": "openai"})
    world.replies["provider:probe"] = {"taken": True, "request_id": "r-81"}
    async with dashboard(world) as hand:
        await hand.press("1")
        await opened(hand, "b", "r-81 is the probe of openai")
        assert world.sent("provider:probe") == [{"provider": "openai", "by": "op1"}]
        await opened(hand, "B", "Force the circuit of openai open?")


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ({"taken": False, "request_id": None}, "nobody waits for openai: the next request is"),
        ({"error": "openai is closed", "code": "conflict"}, "not probed: openai is closed"),
    ],
)
async def test_a_probe_that_took_nobody_says_so(reply: dict[str, Any], said: str) -> None:
    world = World()
    world.replies["provider:probe"] = reply
    async with dashboard(world) as hand:
        await hand.press("3")
        await opened(hand, "b", said)


# --- locks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", BOTH)
async def test_a_lock_is_taken_after_its_holder_was_named(size: tuple[int, int]) -> None:
    world = World()
    world.holder = "a7"
    world.replies["conversation:release_lock"] = {"released": True}
    async with dashboard(world, size) as hand:
        await hand.press("4")
        await opened(
            hand,
            "F",
            "Take the lock of acme-42 from a7?",
            "a7: r-77 waits",
            "by itself in 0:41, unless extended",
            "3 requests that wait for it",
            "cannot be taken back",
        )
        await confirm(hand)
        await hand.sees("the lock of acme-42 is free")
        assert world.sent("conversation:release_lock") == [
            {"session_id": "acme-42", "agent_id": "a7", "force": True, "by": "op1"}
        ]


async def test_no_lock_is_no_dialog_and_one_that_ended_is_no_success() -> None:
    world = World()
    world.holder = None
    world.replies["conversation:release_lock"] = {"released": False, "reason": "nobody holds it"}
    async with dashboard(world) as hand:
        await opened(hand, "F", "globex-7 has no lock")
        world.holder = "a12"
        await opened(hand, "F", "Take the lock of globex-7 from a12?")
        await confirm(hand)
        await hand.sees("there was no lock any more: it had ended by itself")


# --- send elsewhere -----------------------------------------------------------------------------


@pytest.mark.parametrize("size", BOTH)
async def test_elsewhere_shows_who_could_take_it(size: tuple[int, int]) -> None:
    world = World()
    world.providers["azure-eu"] = provider(2, ["gpt-*"], flight=2, of=16)
    async with dashboard(world, size) as hand:
        await opened(
            hand,
            "n",
            "Send r-1042 elsewhere?",
            "( ) openai        ■ open            16 of 16 free  $2.50, $10.00",
            "(•) azure-eu      ● closed          14 of 16 free  $2.50, $10.00",
            "From      anthropic, asked for gpt-4o",
            "[ Send it to azure-eu ]",
        )
        await confirm(hand)
        await hand.sees("r-1042 leaves anthropic: next attempt at azure-eu")
        (sent,) = world.sent("completion:retry")
        assert sent == {"request_id": "r-1042", "avoid": ["anthropic", "openai"], "by": "op1"}


async def test_another_candidate_is_chosen_with_up_and_told_what_it_waits_for() -> None:
    world = World()
    world.providers["azure-eu"] = provider(2, ["gpt-*"], flight=2, of=16)
    async with dashboard(world) as hand:
        await opened(hand, "n", "(•) azure-eu")
        await hand.press("shift+tab", "shift+tab", "shift+tab", "up")
        await hand.sees("(•) openai", "it waits: openai ■ open", "[ Send it to openai ]")
        await hand.press("tab", "tab", "tab")
        await confirm(hand)
        await hand.until(lambda: world.sent("completion:retry"))
        assert world.sent("completion:retry")[0]["avoid"] == ["anthropic"]


async def test_another_model_may_be_named() -> None:
    world = World()
    async with dashboard(world) as hand:
        await opened(hand, "n", "Send r-1042 elsewhere?", "azure-eu")
        await hand.press("shift+tab", "shift+tab")
        await hand.type("claude-haiku")
        await hand.sees("(•) anthropic", "[ Send it to anthropic ]")
        await hand.press("tab", "tab")
        await confirm(hand)
        await hand.until(lambda: world.sent("completion:retry"))
        assert world.sent("completion:retry") == [
            {"request_id": "r-1042", "model": "claude-haiku", "by": "op1"}
        ]


async def test_the_milder_way_of_a_cancel_goes_there() -> None:
    world = World()
    async with dashboard(world) as hand:
        await opened(hand, "c", "Milder    n restarts r-1042 elsewhere")
        await opened(hand, "n", "Send r-1042 elsewhere?")
        assert world.sent("completion:cancel") == []


async def test_one_that_waits_leaves_whom_it_waits_for() -> None:
    world = World()
    cause = {"kind": "circuit", "target": "openai"}
    world.add("r-81", "queued", "acme-42", cause=cause)
    async with dashboard(world) as hand:
        await hand.press("1")
        await opened(hand, "n", "Send r-81 elsewhere?", "From      openai")
        await confirm(hand)
        await hand.until(lambda: world.sent("completion:retry"))
        assert world.sent("completion:retry")[0]["avoid"] == ["openai", "azure-eu"]


def test_candidates_come_in_their_order_and_moves_name_what_would_wait() -> None:
    found = {
        "b": provider(2, ["m-*"], flight=24),
        "a": provider(1, ["m-1"]),
        "c": provider(3, ["m-1", "x"], paused={"by": "op2"}),
    }
    assert [(c.name, c.usable) for c in serving("m-1", found, AT)] == [
        ("a", True),
        ("b", False),
        ("c", False),
    ]
    assert [text for text, _ in moves("a", found, AT)] == [
        "m-1: nobody now: b is full, c is paused; waits"
    ]
    assert [text for text, _ in moves("c", found, AT)] == [
        "m-1: a (24 of 24 free)",
        "x: nobody else serves it; waits",
    ]


# --- retry ------------------------------------------------------------------------------------


async def test_retry_of_one_needs_no_dialog_and_a_refusal_says_why() -> None:
    world = World()
    world.states["r-1042"] = "cancelled"
    async with dashboard(world) as hand:
        await opened(hand, "r", "r-1042 goes again")
        assert world.sent("completion:retry") == [{"request_id": "r-1042", "by": "op1"}]
        world.replies["completion:retry"] = {"error": "r-1042 is running", "code": "conflict"}
        await opened(hand, "r", "not retried: r-1042 is running")


@pytest.mark.parametrize("size", BOTH)
async def test_retry_of_the_marked_ones_asks_and_gives_a_receipt(size: tuple[int, int]) -> None:
    world = World()
    for number in range(5):
        world.add(f"r-{number + 3000}", "failed", f"s-{number}")
    world.refused["r-3004"] = "only failed or cancelled ones go again"
    marked = ("r-1", *(f"r-{number + 3000}" for number in range(5)))
    async with dashboard(world, size) as hand:
        hand.app.screen.marked = lambda: marked  # type: ignore[attr-defined]
        await opened(
            hand,
            "r",
            "Retry 5 requests that are marked?",
            "r-3000   ! failed",
            "Left out  1 request in no state for it",
            "[ Retry 5 requests ]",
        )
        await confirm(hand)
        await hand.sees(
            "Receipt r-031244: 4 of 5 go again",
            "r-3004",
            "Refused: r-3004: only failed or cancelled ones go again",
            "Recorded by op1.",
        )
        (sent,) = world.sent("completion:retry")
        assert sent["request_ids"] == [f"r-{number + 3000}" for number in range(5)]
        await opened(hand, "u", "4 requests tried again (r-031244)")
        await confirm(hand)
        await hand.sees("undone: 4 requests stopped again")
        assert world.sent("completion:cancel")[0]["request_ids"] == sent["request_ids"][:4]


# --- what every dialog keeps to -------------------------------------------------------------------


@pytest.mark.parametrize("size", BOTH)
@pytest.mark.parametrize(
    ("pane", "key"), [("2", "c"), ("2", "n"), ("2", "p"), ("2", "B"), ("4", "F"), ("2", "u")]
)
async def test_the_safe_button_is_focused_and_a_stray_enter_does_nothing(
    size: tuple[int, int], pane: str, key: str
) -> None:
    world = World()
    async with dashboard(world, size) as hand:
        hand.app.done.note(what="x", back="y", after="z", steps=[("queue:pause", {})])
        await hand.press(pane, key)
        await to_safe(hand)
        await hand.sees("[ ", " ]", "esc ")
        before = list(world.emitted)
        await hand.press("enter")
        await hand.press("tab", "enter")
        await hand.pilot.pause()
        acted = {name for name, _ in world.emitted[len(before) :]}
        assert acted <= {
            "completion:request_status",
            "completion:session_status",
            "completion:provider_status",
            "completion:models",
        }
        assert "Reason" in hand.screen
        await hand.press("escape")
        await hand.sees("2 Active")


@pytest.mark.parametrize("key", ["c", "n", "p", "B"])
async def test_buttons_stay_on_the_screen_when_it_shrinks(key: str) -> None:
    async with dashboard(World(), WIDE) as hand:
        await hand.press(key)
        await to_safe(hand)
        await hand.pilot.resize_terminal(80, 24)
        await hand.sees("Reason", "[ ", "esc ", " overview > ")
        await hand.pilot.resize_terminal(60, 15)
        await hand.sees("Reason", "[ ")
        await hand.pilot.resize_terminal(30, 8)
        await hand.pilot.pause()
        await hand.pilot.resize_terminal(140, 45)
        await hand.sees("Reason", "by op1")


async def test_without_an_engine_a_dialog_says_so() -> None:
    world = World()
    async with dashboard(world) as hand:
        client, hand.app.client = hand.app.client, None
        await opened(hand, "c", "the engine is starting")
        await hand.press("escape")
        hand.app.client = client
