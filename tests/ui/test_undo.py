"""Undo: from any screen, said before and after, within ten minutes, one deed after the other."""

from __future__ import annotations

import pytest

from ksi_tui.screens.done import MOST_DEEDS, UNDO_S, Done
from tests.ui.acting import World, confirm, opened
from tests.ui.harness import SMALL, WIDE, Clock, dashboard

BOTH = [SMALL, WIDE]


def noted(done: Done, what: str) -> None:
    done.note(what=what, back="", after="", steps=[("x", {})])


def test_the_last_deed_comes_first_and_all_grow_old() -> None:
    clock = Clock()
    done = Done(clock)
    assert done.last() is None
    for what in ("first", "second"):
        noted(done, what)
        clock.advance(60)
    deed = done.last()
    assert deed is not None
    assert (deed.what, done.left_s(deed), done.age_s(deed)) == ("second", UNDO_S - 60, 60)
    done.forget(deed)
    assert done.left_s(deed) == 0
    left = done.last()
    assert left is not None
    assert left.what == "first"
    clock.advance(UNDO_S - 120)
    assert done.last() is None


def test_the_memory_of_deeds_is_bounded() -> None:
    done = Done(Clock())
    for number in range(MOST_DEEDS + 10):
        noted(done, str(number))
    kept = 0
    while (deed := done.last()) is not None:
        done.forget(deed)
        kept += 1
    assert kept == MOST_DEEDS
    assert deed is None


@pytest.mark.parametrize("size", BOTH)
async def test_a_cancel_is_taken_back_in_place(size: tuple[int, int]) -> None:
    world = World()
    async with dashboard(world, size) as hand:
        await opened(hand, "u", "nothing to take back")
        await opened(hand, "c", "Stop 1 request")
        await confirm(hand)
        await hand.sees("u undo (10:00)")
        hand.clock.advance(42)
        await hand.sees("u undo (9:18)")
        await opened(
            hand,
            "u",
            "Take back what was done last?",
            "1 request of session globex-7 stopped (c-031244), 42s",
            "1 request back in place, 1 request of them anew",
            "9:18, then it stays",
        )
        assert world.sent("completion:retry") == []
        await confirm(hand)
        await hand.sees("undone: 1 request of session globex-7 back in place")
        (sent,) = world.sent("completion:retry")
        assert sent == {
            "request_id": "r-1042",
            "in_place": True,
            "by": "op1",
            "reason": "undo: 1 request of session globex-7 stopped (c-031244)",
        }
        assert world.states["r-1042"] == "queued"
        await opened(hand, "u", "nothing to take back")


async def test_undo_works_from_another_screen() -> None:
    world = World()
    async with dashboard(world) as hand:
        await opened(hand, "c", "Stop 1 request")
        await confirm(hand)
        await hand.sees("Receipt")
        await hand.press("escape", "l")
        await hand.sees("overview > events")
        await opened(hand, "u", "Take back what was done last?")
        await confirm(hand)
        await hand.sees("undone: ")


async def test_too_late_is_too_late() -> None:
    world = World()
    async with dashboard(world) as hand:
        await opened(hand, "c", "Stop 1 request")
        await confirm(hand)
        await hand.sees("u undo")
        await opened(hand, "u", "Take back what was done last?")
        hand.clock.advance(UNDO_S)
        await confirm(hand)
        await hand.sees("! this can no longer be taken back")
        assert world.sent("completion:retry") == []
        await hand.press("escape")
        await opened(hand, "u", "nothing to take back")


async def test_what_could_not_be_taken_back_is_named() -> None:
    world = World()
    async with dashboard(world) as hand:
        await opened(hand, "c", "Stop 1 request")
        await hand.press("shift+tab", "shift+tab", "right")
        await hand.sees("[ Stop 3 requests ]")
        await hand.press("tab", "tab")
        await confirm(hand)
        await hand.sees("3 of 3 stopped")
        world.refused["r-1047"] = "r-1047 already goes again"
        await opened(hand, "u", "Take back what was done last?")
        await confirm(hand)
        await hand.sees("undone in part: 2 of 3; r-1047: r-1047 already goes again")


async def test_a_retry_is_taken_back_by_stopping_what_had_ended() -> None:
    world = World()
    world.states["r-1042"] = "failed"
    async with dashboard(world) as hand:
        await opened(hand, "r", "r-1042 goes again; u takes that back")
        await opened(hand, "u", "r-1042 tried again", "it then reads cancelled")
        await confirm(hand)
        await hand.sees("undone: r-1042 stopped again")
        assert world.sent("completion:cancel")[0]["request_id"] == "r-1042"
