"""What a dashboard says of who else looks, of detaching, and of a line that is lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ksi_tui.actions import BY_ID
from ksi_tui.engine.gaps import gap
from ksi_tui.remote.asking import asked, away
from ksi_tui.remote.link import LAST_TRY_S, Link, spoken
from ksi_tui.remote.wire import Wire
from ksi_tui.screens.wording import worded
from ksi_tui.widgets.header import numbers_line
from tests.remote.stage import door_of
from tests.remote.test_attach import looking
from tests.ui.acting import World
from tests.ui.harness import SMALL, dashboard
from tests.ui.scripted import ScriptedClient, busy


def text_of(width: int, *others: str, note: str = "") -> str:
    shown = numbers_line(busy().totals, "op1", width, others=others, note=note)
    return "".join(span.text for span in shown.spans)


def test_who_else_looks_is_named_where_there_is_room_and_counted_where_not() -> None:
    assert "with" not in text_of(200)
    assert text_of(200, "op2").endswith("with op2 · op1 (operate) ")
    assert text_of(200, "op2", "", "op4", "op5").endswith(
        "with op2, somebody and 2 more · op1 (operate) "
    )
    assert text_of(140, "op2", "op3").endswith("  2 others · op1 (operate) ")
    assert text_of(140, "op2").endswith("  with op2 · op1 (operate) ")
    assert text_of(80, "op2", "op3").endswith("+2 op1 ")
    assert text_of(200, "op2", note="READ-ONLY").endswith("with op2 · READ-ONLY op1 ")


def test_an_operator_s_name_is_clean() -> None:
    assert text_of(200, "\x1b[31mred\u202e").endswith("with [31mred · op1 (operate) ")


def test_without_numbers_nothing_is_said_of_others() -> None:
    shown = numbers_line(None, "op1", 80, others=("op2",))
    assert "op2" not in "".join(span.text for span in shown.spans)


def test_quit_is_detach_where_the_engine_is_another_s() -> None:
    assert worded(BY_ID["quit"], attached=False) is BY_ID["quit"]
    assert worded(BY_ID["quit"], attached=True).label == "detach"
    assert worded(BY_ID["help"], attached=True) is BY_ID["help"]


async def test_the_palette_says_so_too(tmp_path: Path) -> None:
    async with door_of(World(), tmp_path) as door, looking(door.socket) as hand:
        offered = {each.title for each in hand.app.get_system_commands(hand.app.screen)}
    assert "Detach" in offered
    assert "Quit" not in offered


async def test_who_is_cut_off_by_leaving_is_named_before() -> None:
    client = ScriptedClient(replace(busy(), attached=("op2", "op3", "op4", "\x1b[2Jop5")))
    async with dashboard(client, SMALL) as hand:
        await hand.press("q")
        await hand.sees("cut off by leaving: op2, op3, op4 and 1 more")
        client.now = busy()
        await hand.sees_no("cut off by leaving")


# --- a line --------------------------------------------------------------------------------------


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_lost_line_says_since_when() -> None:
    clock = Clock()
    link = Link(clock)
    assert (link.lost, link.up) == (None, False)
    link.stands()
    assert (link.lost, link.up) == (None, True)
    link.broke("it hung up")
    clock.now += 3.9
    link.broke("refused")
    assert (link.lost, link.why, link.up) == ("no connection for 3 s, trying now", "refused", False)
    clock.now += 100
    assert link.lost == "no connection for 1 min 43 s, trying now"
    link.stands()
    assert link.lost is None


async def test_the_pauses_between_tries_grow_to_two_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept: list[float] = []
    clock = Clock()
    link = Link(clock)

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        told.append(link.lost)

    told: list[str | None] = []
    monkeypatch.setattr("ksi_tui.remote.link.asyncio.sleep", sleep)
    link.broke("x")
    for _ in range(7):
        await link.pause()
    assert slept == [0.1, 0.2, 0.4, 0.8, 1.6, LAST_TRY_S, LAST_TRY_S]
    assert told[-1] == "no connection for 0 s, next try in 2 s"
    link.stands()
    link.broke("x")
    await link.pause()
    assert slept[-1] == 0.1


def test_durations_and_gaps_in_words() -> None:
    assert [spoken(each) for each in (-1, 0.9, 59.9, 60, 3725)] == [
        "0 s",
        "0 s",
        "59 s",
        "1 min 0 s",
        "62 min 5 s",
    ]
    assert gap({"lost": None, "why": "restarted"}).startswith("the engine was started again")
    assert gap({"lost": 7000, "why": "too_old"}) == "7,000 events are missing: away for too long"
    assert gap({"lost": 1}) == "1 event is missing: they came faster than they were read"
    assert gap({"lost": None, "why": "too_old"}) == "events are missing: away for too long"


async def test_what_is_not_json_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    wire = Wire(tmp_path / "none.sock", operator="a\r\nX: y\x00ü", kind="command")
    try:
        reply = await asked(wire, Link(), "completion:cancel", {"x": float("nan")})
        assert reply["code"] == "invalid_request"
        reply = await asked(wire, Link(), "completion:cancel", {})
        assert reply["code"] == "not_ready"
        assert reply["error"].startswith("completion:cancel was not done: cannot connect: ")
        assert wire._headers["X-Ksi-Operator"] == "aX: yü"
    finally:
        await wire.aclose()
    reply = await asked(wire, Link(), "completion:cancel", {})
    assert "detached" in reply["error"]
    assert away("x") == {"error": "not sent: x", "code": "not_ready"}
