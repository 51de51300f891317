"""The dashboard on an engine elsewhere: the same screens, a banner while it is away, detach."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from ksi_tui.app import KsiApp
from ksi_tui.commands.attaching import attaching, elsewhere
from ksi_tui.engine.errors import DatabaseOwned
from ksi_tui.screens.dialog import GUARD_S
from ksi_tui.ui_settings import FirstUi
from tests.engine.engine_fixtures import held
from tests.remote.stage import door_of, relayed, served
from tests.ui.acting import World
from tests.ui.harness import SMALL, WIDE, Hand
from tests.ui.scripted import ScriptedClient, busy

BOTH = [SMALL, WIDE]


@asynccontextmanager
async def looking(
    socket: Path, size: tuple[int, int] = WIDE, operator: str = "op1", **ui: Any
) -> AsyncIterator[Hand]:
    """A dashboard that is attached, once it shows the engine's name."""
    settings = FirstUi(operator=operator, refresh_hz=30, **ui)
    app = KsiApp(attaching(lambda: socket, settings), ui=settings, name="ksi-tui", attached=True)
    async with shown(app, size) as hand:
        await hand.until(lambda: app.client is not None, "attached")
        yield hand


@asynccontextmanager
async def shown(app: KsiApp, size: tuple[int, int] = WIDE) -> AsyncIterator[Hand]:
    async with app.run_test(size=size) as pilot:
        try:
            yield Hand(pilot, cast(ScriptedClient, None), cast(Any, app.clock))
        finally:
            await app.close_engine()


@pytest.mark.parametrize("size", BOTH)
async def test_the_same_screens_over_the_line(size: tuple[int, int], tmp_path: Path) -> None:
    world = World()
    async with door_of(world, tmp_path) as door, looking(door.socket, size) as hand:
        await hand.sees("DEGRADED", "r-1042", *(["prod"] if size is WIDE else []))
        assert hand.app.signs.name == "prod"
        await hand.press("enter")
        await hand.sees("overview > ")
        await hand.press("escape")
        await hand.press("l")
        await hand.sees("overview > events")
        world.publish("provider:circuit", provider="openai", **{"from": "closed", "to": "open"})
        await hand.sees("provider:circuit")


class _Far(ScriptedClient):
    """The client of an engine elsewhere, whose pictures come when a test says so."""

    lost: str | None = None
    age_s = 0.0
    name = "prod"
    came: Callable[[], None] | None = None

    def on_picture(self, came: Callable[[], None]) -> None:
        self.came = came


async def test_a_picture_that_just_missed_a_beat_does_not_wait_for_the_next() -> None:
    far = _Far(busy())
    app = KsiApp(far.connect, ui=FirstUi(operator="op1", refresh_hz=0.5), name="-", attached=True)
    async with shown(app) as hand:
        await hand.until(lambda: far.came, "attached")
        for timer in app._timers:
            if timer.name == "tick":
                timer.pause()
        app._tick()
        await hand.sees("31 of 32")
        app._tick()
        far.now = replace(far.now, totals=replace(far.now.totals, active=17))
        assert far.came is not None
        far.came()
        await hand.sees("17 of 32")


async def test_why_says_that_it_reads_and_never_that_it_has_ended(tmp_path: Path) -> None:
    async with served(tmp_path, scripts={"p": held}) as (rig, door):
        await rig.submit(session_id="s", request_id="r-a")
        await rig.submit(session_id="s", request_id="r-b")
        async with looking(door.socket) as hand:
            await hand.sees("r-a")
            seen: list[str] = []

            def explained() -> bool:
                seen.append(hand.screen)
                return "the slot" in seen[-1] or "What frees it" in seen[-1]

            await hand.press("w")
            await hand.until(explained, "why")
            assert not [screen for screen in seen if "waits no more" in screen]


async def test_a_lost_line_is_a_banner_and_comes_back(tmp_path: Path) -> None:
    async with (
        door_of(ScriptedClient(busy()), tmp_path) as door,
        relayed(door.socket, tmp_path) as line,
        looking(line.path) as hand,
    ):
        await hand.sees("DEGRADED", "r-1042")
        line.shut()
        await hand.sees("no connection for 0 s", "shown as it was", "r-1042")
        await hand.sees("STALE 1s", "no connection for 1 s")
        await hand.press("l")
        await hand.sees("STALE", "no connection")
        await line.open()
        await hand.sees_no("STALE", "no connection")


async def test_an_engine_started_again_is_shown_and_its_gap_in_the_log(tmp_path: Path) -> None:
    async with AsyncExitStack() as first:
        rig, door = await first.enter_async_context(served(tmp_path, scripts={"p": held}))
        async with looking(door.socket) as hand:
            await rig.submit(request_id="before")
            await hand.sees("before")
            await first.aclose()
            await hand.sees("no connection")
            async with served(tmp_path, scripts={"p": held}) as (again, _):
                await hand.sees_no("no connection")
                await again.submit(request_id="after")
                await hand.sees("before", "after")
                await hand.press("l")
                await hand.sees("engine:lost", "the engine was started again")


async def test_one_cancels_and_the_other_sees_it_and_who_else_looks(tmp_path: Path) -> None:
    async with (
        served(tmp_path, scripts={"p": held}) as (rig, door),
        looking(door.socket, operator="op1") as one,
        looking(door.socket, operator="op2") as two,
    ):
        await one.sees("with op2 · op1 (operate)")
        await two.sees("with op1 · op2 (operate)")
        await rig.submit(request_id="r-a")
        await one.sees("r-a", "calling p")
        await two.sees("r-a")
        await one.press("c")
        await one.sees("Stop 1 request of session r-a?")
        one.app.screen.query_one("#act").focus()
        give_up = one.app.clock() + GUARD_S
        await one.until(lambda: one.app.clock() > give_up)
        await one.press("enter")
        await rig.ended("r-a")
        assert (await rig.status("r-a"))["by"] == "op1"
        await two.sees("cancelled")
    async with served(tmp_path) as (_, door), looking(door.socket, SMALL) as alone:
        await alone.sees("op1")
        assert "+1" not in alone.screen


@pytest.mark.parametrize("size", BOTH)
async def test_detaching_asks_nothing_and_ends_nothing(
    size: tuple[int, int], tmp_path: Path
) -> None:
    async with served(tmp_path, scripts={"p": held}) as (rig, door):
        await rig.submit(request_id="r-a")
        async with looking(door.socket, size) as hand:
            await hand.sees("r-a", *(["q detach"] if size is WIDE else []))
            await hand.press("question_mark")
            await hand.type("detach")
            await hand.sees("the engine goes on with all of its work")
            await hand.press("escape", "escape", "q")
            await hand.until(lambda: hand.app.return_code == 0, "left")
        (up,) = rig.p.calls
        assert not up.cancelled
        up.go.set()
        await rig.ended("r-a")


async def test_read_only_over_the_line_acts_on_nothing(tmp_path: Path) -> None:
    world = World()
    async with door_of(world, tmp_path) as door, looking(door.socket, read_only=True) as hand:
        await hand.sees("READ-ONLY", "r-1042")
        await hand.press("c")
        await hand.sees("cancel is off: read-only")
        assert world.sent("completion:cancel") == []


async def test_where_nobody_answers_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ksi_tui.remote import client

    monkeypatch.setattr(client, "ENTER_S", 0.3)
    ui = FirstUi(operator="op1")
    app = KsiApp(attaching(lambda: tmp_path / "no.sock", ui), ui=ui, name="x", attached=True)
    async with shown(app) as hand:
        await hand.sees("attaching to the engine")
        await hand.sees("Not attached to the engine", "no engine answers at", "no.sock")
        assert app.exit_code == 2


# --- another engine has the database --------------------------------------------------------------


@asynccontextmanager
async def owned() -> AsyncIterator[Any]:
    raise DatabaseOwned("the database ksi.db is in use by process 4242 on host since noon")
    yield


def plain(socket: Path) -> KsiApp:
    ui = FirstUi(operator="op1", refresh_hz=30)
    way = elsewhere(lambda: socket, ui)
    return KsiApp(owned, ui=ui, name="ksi-tui", elsewhere=way)


@pytest.mark.parametrize("size", BOTH)
@pytest.mark.parametrize("key", ["enter", "a"])
async def test_an_owned_database_offers_to_attach(
    size: tuple[int, int], key: str, tmp_path: Path
) -> None:
    async with (
        door_of(ScriptedClient(busy()), tmp_path) as door,
        shown(plain(door.socket), size) as hand,
    ):
        await hand.sees("Another engine has this database", "process 4242", "answers at")
        give_up = hand.app.clock() + GUARD_S
        await hand.until(lambda: hand.app.clock() > give_up)
        await hand.press(key)
        await hand.sees("DEGRADED", "r-1042")
        await hand.press("q")
        await hand.until(lambda: hand.app.return_code == 0, "detached without a question")


async def test_an_owned_database_without_a_door_says_so_and_waits_for_one(tmp_path: Path) -> None:
    async with shown(plain(tmp_path / "ksi.db.sock")) as hand:
        await hand.sees("process 4242", "It cannot be attached to", "cannot connect: No such file")
        await hand.press("a", "enter")
        assert "attach  " not in hand.screen
        async with door_of(ScriptedClient(busy()), tmp_path):
            await hand.sees("answers at")
        await hand.press("q")
        await hand.until(lambda: hand.app.return_code == 3, "left with code 3")
