"""Looking without touching: every action is off, visibly, and the door refuses what changes."""

from __future__ import annotations

import pytest

from ksi_tui import cli
from ksi_tui.access.roles import EVENT_ROLES, Role
from ksi_tui.actions import ACTIONS, Group, Where
from ksi_tui.config import Config
from ksi_tui.engine import CompletionEngine
from ksi_tui.read_only import ENDING, READING, ReadOnlyClient
from tests.ui.acting import World, opened
from tests.ui.harness import SMALL, WIDE, dashboard
from tests.ui.scripted import ScriptedClient, first_start

BOTH = [SMALL, WIDE]
CHANGING = {name for name, role in EVENT_ROLES.items() if role is not Role.VIEW}
"""Events that change something, or are the business of whoever runs the engine."""
ACTS = [
    action
    for action in ACTIONS
    if action.group is Group.ACT and Where.OVERVIEW in action.where and action.key
]


def test_every_event_of_the_engine_either_reads_or_changes() -> None:
    names = set(CompletionEngine(Config())._router.names)
    assert names - READING - CHANGING == set(), "new events: put each on one of the lists"
    assert not READING & CHANGING
    assert names >= CHANGING


@pytest.mark.parametrize("name", sorted(CHANGING | {"completion:unheard_of"}))
async def test_the_door_refuses_every_event_that_changes(name: str) -> None:
    inner = ScriptedClient(first_start())
    reply = await ReadOnlyClient(inner).emit(name, {})
    assert reply["code"] == "conflict"
    assert f"{name} is refused: read-only" in reply["error"]
    assert inner.emitted == []


@pytest.mark.parametrize("name", sorted(READING))
async def test_the_door_lets_through_what_reads(name: str) -> None:
    inner = ScriptedClient(first_start(), {name: {"answer": 42}})
    assert await ReadOnlyClient(inner).emit(name, {"a": 1}) == {"answer": 42}
    assert inner.sent(name) == [{"a": 1}]


async def test_only_who_owns_the_engine_may_end_it() -> None:
    inner = ScriptedClient(first_start(), {ENDING: {"status": "shutdown"}})
    assert "error" in await ReadOnlyClient(inner).emit(ENDING)
    assert await ReadOnlyClient(inner, may_end=True).emit(ENDING) == {"status": "shutdown"}


@pytest.mark.parametrize("size", BOTH)
@pytest.mark.parametrize("action", ACTS, ids=lambda action: action.id)
async def test_every_key_that_acts_says_why_it_does_not(
    size: tuple[int, int], action: type
) -> None:
    world = World()
    async with dashboard(world, size, read_only=True) as hand:
        await hand.sees("READ-ONLY")
        screen = hand.app.screen
        await opened(hand, action.key, f"{action.label} is off: read-only")  # type: ignore[attr-defined]
        assert hand.app.screen is screen
        assert [name for name, _ in world.emitted if name not in READING] == []


@pytest.mark.parametrize("size", BOTH)
async def test_footer_and_palette_do_not_offer_what_acts(size: tuple[int, int]) -> None:
    async with dashboard(World(), size, read_only=True) as hand:
        await hand.sees("READ-ONLY", "w why")
        footer = hand.screen.splitlines()[-1]
        assert [a.label for a in ACTS if a.footer and f"{a.key} {a.label}" in footer] == []
        commands = [c.title for c in hand.app.get_system_commands(hand.app.screen)]
        assert "Why" in commands
        assert {a.label.capitalize() for a in ACTIONS if a.group is Group.ACT} & set(
            commands
        ) == set()


@pytest.mark.parametrize("size", BOTH)
async def test_other_screens_say_it_too(size: tuple[int, int]) -> None:
    async with dashboard(World(), size, read_only=True) as hand:
        await opened(hand, "l", "overview > events", "READ-ONLY")


async def test_functions_that_screens_call_are_off_as_well() -> None:
    world = World()
    async with dashboard(world, read_only=True) as hand:
        screen = hand.app.screen
        screen.do_probe("openai")  # type: ignore[attr-defined]
        await hand.sees("probe is off: read-only")
        screen.do_pause(None)  # type: ignore[attr-defined]
        await hand.sees("pause is off: read-only")
        assert hand.app.screen is screen
        assert world.sent("provider:probe") == []


async def test_quitting_still_works_and_cancel_all_is_not_offered() -> None:
    world = World()
    world.replies[ENDING] = {"status": "shutdown"}
    async with dashboard(world, read_only=True) as hand:
        await opened(hand, "q", "Leave with work in flight?")
        hand.clock.advance(1)
        assert "cancel all" not in hand.screen
        await opened(hand, "c", "Leave with work in flight?")
        assert world.sent("completion:cancel") == []
        await hand.press("l")
        await hand.until(lambda: hand.app.return_code == 0)
        assert world.sent(ENDING) == [{"grace_s": 0.0}]


async def test_without_it_nothing_says_read_only() -> None:
    async with dashboard(World()) as hand:
        await hand.sees("c cancel", "op1")
        assert "READ-ONLY" not in hand.screen


def test_the_flag_is_the_dashboards(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.parser().parse_args(["--read-only"]).read_only
    with pytest.raises(SystemExit):
        cli.main(["--read-only", "status"])
    assert "--read-only is the dashboard's" in capsys.readouterr().err
