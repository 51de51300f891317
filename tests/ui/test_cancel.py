"""Cancel from the screen: what the dialog tells, what it asks again, what the receipt says."""

from __future__ import annotations

from typing import Any

import pytest

from ksi_tui.screens import later
from ksi_tui.screens.dialog import GUARD_S, EnterGuard
from ksi_tui.widgets.table import LiveTable
from tests.ui.acting import World, confirm, live, opened
from tests.ui.harness import SMALL, WIDE, Clock, Hand, dashboard

BOTH = [SMALL, WIDE]


async def open_cancel(hand: Hand) -> None:
    await opened(hand, "c", "Keep running", "Stop 1 request")


async def choose_session(hand: Hand) -> None:
    await hand.press("shift+tab", "shift+tab", "right")
    await hand.sees("(•) whole session", "[ Stop 3 requests ]")
    await hand.press("tab", "tab")


def name_of_focus(hand: Hand) -> str | None:
    return hand.app.focused.id if hand.app.focused is not None else None


# --- the dialog ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", BOTH)
async def test_it_names_the_target_and_what_it_hits(size: tuple[int, int]) -> None:
    async with dashboard(World(), size) as hand:
        await open_cancel(hand)
        await hand.sees(
            "as of 03:12:44 ─┐",
            "(•) r-1042 only    ( ) whole session globex-7 (3)",
            "REQUEST  IS             TOKENS    SPENT WHAT HAPPENS",
            "r-1042   ► no token   412 est.  ~$0.012 close stream, keep text",
            "Frees     1 slot at anthropic, the lock of a12 on globex-7",
            "They see  completion:cancelled with your reason; session goes on",
            "Undo      u within 10 min: back in place, r-1042 starts anew",
            "Milder    n restarts r-1042 elsewhere; nothing is cancelled",
            "by op1",
            "[ Keep running ]    [ Stop 1 request ]",
            "esc keep running",
        )
        whose = "of session globex-7?" if size == WIDE else "of globex-7?"
        assert f"┌─ Stop 1 request {whose} ─" in hand.screen
        assert ("overview > globex-7 > stop" in hand.screen) == (size == SMALL)
        assert name_of_focus(hand) == "keep"
        assert hand.client.sent("completion:cancel") == []


@pytest.mark.parametrize("size", BOTH)
async def test_the_whole_session_with_its_reason(size: tuple[int, int]) -> None:
    world = World()
    async with dashboard(world, size) as hand:
        await open_cancel(hand)
        await choose_session(hand)
        await hand.sees(
            "r-1047   · queued            –        – never sent",
            "r-1051   · queued            –        – never sent",
        )
        await hand.press("shift+tab")
        await hand.type("ticket 8841")
        await hand.press("tab")
        world.holder = None
        await confirm(hand)
        await hand.sees("Receipt c-031244: 3 of 3 stopped", "took 0.00 s")
        (sent,) = world.sent("completion:cancel")
        assert sent == {
            "session_id": "globex-7",
            "by": "op1",
            "reason": "ticket 8841",
            "receipt": "c-031244",
        }
        await hand.sees(
            "r-1042   × cancelling closing…              412 tok  ~$0.0028",
            "r-1047   × cancelled  was never sent              –   ~$0.015",
            "Lock globex-7 free. Session takes new messages: yes (03:12:44).",
            'Recorded as c-031244 by op1: "ticket 8841".',
            "u undo (10:00)",
        )


@pytest.mark.parametrize("size", BOTH)
async def test_many_are_told_with_those_that_run_also_where_they_are_not_listed(
    size: tuple[int, int],
) -> None:
    world = World()
    for n in range(67):
        world.add(f"q-{n}", "queued")
    for n in range(2):
        world.add(f"b-{n}", "retrying")
    for n in range(13):
        world.add(f"p-{n}", "processing")
        world.lives[f"p-{n}"] = live(f"p-{n}")
    async with dashboard(world, size) as hand:
        await open_cancel(hand)
        await hand.press("shift+tab", "shift+tab", "right")
        listed = 12 if size == WIDE else 3
        await hand.sees(
            f"and {85 - listed} more: {14 - listed} running, 2 in backoff and 69 queued",
            f"{listed} slots at anthropic, {14 - listed} more slots of those not listed",
            "back in place, 16 start anew",
        )


async def test_a_request_that_has_ended_is_nothing_to_stop() -> None:
    world = World()
    world.states["r-1042"] = "completed"
    async with dashboard(world) as hand:
        await opened(hand, "c", "Nothing to stop", "It has finished already")
        await confirm(hand)
        await hand.pilot.pause()
        assert world.sent("completion:cancel") == []


async def test_a_lock_taken_by_hand_is_not_freed_and_the_dialog_says_so() -> None:
    world = World()
    status = world.replies["completion:session_status"]

    def by_hand(data: Any) -> dict[str, Any]:
        assert callable(status)
        reply = status(data)
        reply["session"]["lock_request"] = None
        return reply

    world.replies["completion:session_status"] = by_hand
    async with dashboard(world) as hand:
        await opened(hand, "c", "not the lock of a12: it was taken by hand")


async def test_a_refusal_is_said_in_place_and_nothing_typed_is_lost() -> None:
    world = World()
    world.replies["completion:cancel"] = {"error": "the store cannot write", "code": "not_ready"}
    async with dashboard(world, SMALL) as hand:
        await open_cancel(hand)
        await hand.press("shift+tab")
        await hand.type("mine")
        await hand.press("tab")
        await confirm(hand)
        await hand.sees("! the store cannot write", "[mine", "[ Keep running ]")


# --- enter that was not meant ---------------------------------------------------------------


async def test_enter_right_after_opening_does_nothing() -> None:
    async with dashboard(World()) as hand:
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
    async with dashboard(World()) as hand:
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


async def test_another_choice_asks_for_quiet_again() -> None:
    async with dashboard(World()) as hand:
        await open_cancel(hand)
        hand.clock.advance(1)
        await choose_session(hand)
        await hand.press("tab", "enter")
        await hand.pilot.pause()
        assert hand.client.sent("completion:cancel") == []


async def test_enter_in_the_reason_goes_to_the_safe_button() -> None:
    async with dashboard(World()) as hand:
        await open_cancel(hand)
        await hand.press("shift+tab")
        hand.clock.advance(1)
        await hand.press("x", "enter")
        await hand.until(lambda: name_of_focus(hand) == "keep")
        await hand.press("enter")
        await hand.pilot.pause()
        assert "Keep running" in hand.screen


def test_the_guard_counts_from_the_last_press_and_from_a_new_start() -> None:
    clock = Clock()
    guard = EnterGuard(clock)
    for _ in range(2):
        clock.advance(GUARD_S - 0.01)
        assert not guard.pressed()
    clock.advance(GUARD_S + 0.01)
    assert guard.pressed()
    assert not guard.pressed()
    clock.advance(GUARD_S + 0.01)
    guard.restart()
    assert not guard.pressed()


# --- the world changed ------------------------------------------------------------------------


@pytest.mark.parametrize("size", BOTH)
async def test_a_changed_world_is_told_and_asked_about_again(size: tuple[int, int]) -> None:
    world = World()
    async with dashboard(world, size) as hand:
        await open_cancel(hand)
        await choose_session(hand)
        world.states |= {"r-1042": "completed", "r-1047": "processing"}
        world.lives = {"r-1047": live("r-1047", tokens=3)}
        await confirm(hand)
        await hand.sees(
            "The world changed: read again",
            "asked again 03:12:44",
            "r-1042 got its last token and completed.",
            "r-1047 now runs on anthropic.",
            "Stopping now: 1 running and 1 queued. Before: 1 running and 2",
            "[ Stop 2 requests ]",
        )
        assert world.sent("completion:cancel") == []
        assert name_of_focus(hand) == "keep"
        await hand.press("tab", "enter")
        await hand.pilot.pause()
        assert world.sent("completion:cancel") == []
        await hand.press("shift+tab")
        await confirm(hand)
        await hand.sees("2 of 2 stopped")


# --- the receipt --------------------------------------------------------------------------------


async def test_an_upstream_confirms_its_end_or_is_called_unconfirmed() -> None:
    world = World()
    async with dashboard(world) as hand:
        await open_cancel(hand)
        await confirm(hand)
        await hand.sees("× cancelling closing…")
        hand.clock.advance(5)
        unconfirmed = "r-1042: unconfirmed after 5 s: upstream may still bill."
        await hand.sees("× cancelled  unconfirmed", unconfirmed)
        world.publish("completion:upstream_closed", request_id="r-1042", after_ms=6038.2)
        await hand.sees("6038 ms, confirmed")
        assert unconfirmed not in hand.screen


async def test_the_upstream_is_listened_to_after_the_receipt_was_closed() -> None:
    world = World()
    async with dashboard(world) as hand:
        await open_cancel(hand)
        await confirm(hand)
        await hand.sees("closing…")
        await hand.press("escape")
        await hand.sees_no("Receipt")
        world.publish("completion:upstream_closed", request_id="r-1042", after_ms=38.2)
        heard = "completion:upstream_closed"
        await hand.until(lambda: all(s.pattern != heard for s in world._subscriptions), "heard it")
        await opened(hand, "y", "(y again: receipt c-031244)")
        await opened(hand, "y", "Receipt c-031244: 1 of 1 stopped", "38 ms, confirmed")


async def test_what_finished_first_is_no_success_and_what_was_refused_is_named() -> None:
    world = World()
    world.states["r-1047"] = "completed"
    entries = [
        {"request_id": "r-1042", "was": "processing", "changed": True},
        {"request_id": "r-1047", "was": "completed", "changed": False},
        {"request_id": "r-1051", "changed": False, "error": "is left over", "code": "conflict"},
    ]
    world.replies["completion:cancel"] = {"cancelled": entries}
    async with dashboard(world) as hand:
        await open_cancel(hand)
        await confirm(hand)
        await hand.sees(
            "1 of 3 stopped",
            "r-1047   √ completed · finished first, not stopped",
            "r-1051   ! is left over",
            "Refused: r-1051: is left over",
        )


@pytest.mark.parametrize("size", BOTH)
async def test_it_is_copied_for_the_ticket_in_plain_words(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[str] = []
    async with dashboard(World(), size) as hand:
        monkeypatch.setattr(hand.app, "copy_to_clipboard", copied.append)
        await open_cancel(hand)
        await choose_session(hand)
        await hand.press("shift+tab")
        await hand.type("ticket 8841")
        await hand.press("tab")
        await confirm(hand)
        await hand.sees("Session takes new messages")
        await opened(hand, "y", "offered to the terminal's clipboard")
        assert copied == [
            "2026-11-22 03:12:44 UTC  op1 stopped 3 messages of session globex-7 (ticket 8841). "
            "One was being answered: 412 tokens kept. The session accepts new messages. [c-031244]"
        ]


async def test_enter_shows_what_had_arrived() -> None:
    world = World()
    world.more["r-1042"] = {"text": "Invoice 2231 doubled\x1b]0;x\x07 in June"}
    async with dashboard(world) as hand:
        await open_cancel(hand)
        await confirm(hand)
        await hand.sees("Receipt", "enter text")
        hand.clock.advance(1)
        await opened(hand, "enter", "r-1042: what had arrived, ", "Invoice 2231 doubled", "in June")
        assert "\x1b" not in hand.screen
        hand.clock.advance(1)
        await hand.press("enter")
        await hand.sees("UPSTREAM CLOSED")


async def test_texts_that_are_never_shown_are_not_shown_here() -> None:
    world = World()
    world.more["r-1042"] = {"text": "a secret"}
    async with dashboard(world, text="never") as hand:
        await open_cancel(hand)
        await confirm(hand)
        await hand.sees("Receipt", "Recorded as")
        hand.clock.advance(1)
        await opened(hand, "enter", 'texts are hidden: ui.text is "never"')
        assert "a secret" not in hand.screen


# --- many -------------------------------------------------------------------------------------


def mark(hand: Hand, *ids: str) -> None:
    """Mark rows of the active table and let the screen tell of them."""
    table = hand.app.screen.query_one("#active", LiveTable)
    table.set_marked(ids)
    hand.app.screen.marked = lambda: table.marked  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", BOTH)
async def test_the_marked_ones_are_counted_sampled_and_named(size: tuple[int, int]) -> None:
    world = World()
    for number in range(30):
        world.add(f"r-{number + 2000}", "retrying" if number % 3 else "failed", f"s-{number}")
    world.refused["r-2001"] = "it is somebody else's"
    async with dashboard(world, size) as hand:
        mark(hand, *(f"r-{number + 2000}" for number in range(30)))
        await opened(
            hand, "c", "Stop 20 requests that are marked?", "30 marked", " more: ", "in backoff"
        )
        await hand.sees("Left out  10 requests that ended already", "[ Stop 20 requests ]")
        await confirm(hand)
        await hand.sees("19 of 20 stopped", "Refused: r-2001: it is somebody else's")
        (sent,) = world.sent("completion:cancel")
        assert len(sent["request_ids"]) == 20
        assert "session_id" not in sent


async def test_all_that_match_are_read_by_their_filter() -> None:
    world = World()
    async with dashboard(world) as hand:
        screen: Any = hand.app.screen
        screen.matching = lambda: "agent:a12"
        await open_cancel(hand)
        await hand.press("shift+tab", "shift+tab", "left")
        await hand.sees("(•) all that match (3)", "Stop 3 requests that match?")
        await hand.press("tab", "tab")
        await confirm(hand)
        await hand.sees("3 of 3 stopped")
        asked = world.sent("completion:requests")[0]
        assert asked == {
            "filter": "agent:a12 status:queued,processing,retrying",
            "ids_only": True,
        }
        (sent,) = world.sent("completion:cancel")
        assert sent["request_ids"] == ["r-1042", "r-1047", "r-1051"]


async def test_the_receipt_is_on_the_menu_of_what_can_be_copied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copied: list[str] = []
    async with dashboard(World()) as hand:
        monkeypatch.setattr(hand.app, "copy_to_clipboard", copied.append)
        await open_cancel(hand)
        await confirm(hand)
        await hand.sees("Receipt")
        await hand.press("escape", "enter")
        await hand.sees("overview > globex-7 > r-1042")
        await opened(hand, "y", "p receipt c-031244")
        await hand.press("p")
        await hand.until(lambda: copied)
        assert copied[0].endswith("[c-031244]")
        assert "op1 stopped 1 message of session globex-7" in copied[0]


async def test_a_list_offers_all_that_match_its_filter() -> None:
    async with dashboard(World()) as hand:
        screen: Any = later.requests_screen()
        failed: Any = later.failed_screen()
        await hand.app.push_screen(screen)
        assert screen.matching() is None
        screen.take_filter("agent:a12", "agent:a12")
        assert screen.matching() == "agent:a12"
        assert failed.matching() == failed.SCOPE
        assert "failed" in failed.SCOPE
