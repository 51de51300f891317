"""A world in which every key has something to act on, and the hand that walks the keys in it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textual.screen import Screen

from ksi_tui.actions import Action, Where, actions_of
from ksi_tui.client import EngineClient
from ksi_tui.config import Config
from ksi_tui.screens import later
from ksi_tui.screens.base import KsiScreen
from ksi_tui.screens.compare import CompareScreen
from ksi_tui.screens.comparison import Plan
from ksi_tui.screens.draft import Draft
from ksi_tui.widgets.pane import Pane, TextPane
from ksi_tui.widgets.table import LiveTable
from tests.ui.harness import BOUND_S, Hand
from tests.ui.test_engine import over

LONG = "\n".join(f"line {number} of a prompt" for number in range(120))
_WITHOUT_TARGET = (Where.OVERVIEW, Where.EVENTS)
_ROWS_COME = (
    Where.OVERVIEW,
    Where.REQUESTS,
    Where.FAILED,
    Where.WHY,
    Where.SESSION,
    Where.USAGE,
    Where.EVENTS,
)
PLACES = tuple(where for where in Where if where not in (Where.ANY, Where.PANE))


def config(folder: Path) -> Config:
    """Three simulated providers; `dead` opens its circuit at the first failure and keeps it."""
    common = {"kind": "simulated", "model": "{model}"}
    return Config.model_validate(
        {
            "engine": {
                "database": str(folder / "ksi.db"),
                "responses_dir": str(folder / "responses"),
                "default_model": "sim/echo",
                "shutdown_grace_s": 0,
                "first_token_timeout_s": 900,
                "idle_timeout_s": 900,
                "timeout_s": 900,
            },
            "retry": {"initial_delay_s": 600, "max_delay_s": 900},
            "providers": [
                {
                    **common,
                    "name": "alive",
                    "models": ["sim/echo", "sim/hang", "sim/cut"],
                    "circuit": {"fail_max": 1000},
                },
                {**common, "name": "other", "models": ["sim/hang"], "circuit": {"fail_max": 1000}},
                {
                    **common,
                    "name": "dead",
                    "models": ["sim/down"],
                    "circuit": {
                        "fail_max": 1,
                        "reset_timeout_s": 900,
                        "max_reset_timeout_s": 900,
                    },
                },
            ],
        }
    )


async def fill(client: EngineClient) -> None:
    """Make what the keys act on."""

    async def send(name: str, **data: Any) -> None:
        asked = {"prompt": "why me", "session_id": f"s-{name}", **data, "request_id": f"r-{name}"}
        reply = await client.emit("completion:async", asked)
        assert reply["request_id"] == f"r-{name}", reply

    await send("done", prompt=LONG)
    await send("failed", model="sim/cut", max_attempts=1)
    await send("broke", model="sim/down", max_attempts=1)
    await send("runs", model="sim/hang", prompt=LONG)
    await send("behind", model="sim/hang", session_id="s-runs")
    await client.emit("conversation:acquire_lock", {"session_id": "s-held", "agent_id": "a7"})
    await send("held")
    await send("held-too", session_id="s-held")
    scope = {"scope": "session", "id": "s-paused", "by": "op2", "reason": "until six"}
    await client.emit("queue:pause", scope)
    await send("paused")


async def ends(hand: Hand, request_id: str, *states: str) -> None:
    """Wait until a request is in one of some states."""
    give_up = time.monotonic() + BOUND_S
    while True:
        reply = await client_of(hand).emit("completion:request_status", {"request_id": request_id})
        if reply["status"] in states:
            return
        assert time.monotonic() < give_up, f"{request_id} is {reply['status']}, not {states}"
        await hand.pilot.pause(0.01)


def client_of(hand: Hand) -> EngineClient:
    """The engine's door."""
    assert hand.app.client is not None
    return hand.app.client


@asynccontextmanager
async def world(folder: Path, size: tuple[int, int]) -> AsyncIterator[Hand]:
    """The dashboard over an engine in which something is in every state."""
    async with over(config(folder), size, refresh_hz=10) as hand:
        client = client_of(hand)
        await fill(client)
        await ends(hand, "r-done", "completed")
        await ends(hand, "r-failed", "failed")
        await ends(hand, "r-broke", "failed")
        for name in ("waits", "waits-too", "waits-as-well", "waits-last"):
            data = {"prompt": "x", "model": "sim/down", "max_attempts": 50}
            named = {"request_id": f"r-{name}", "session_id": f"s-{name}"}
            await client.emit("completion:async", data | named)
        await hand.until(lambda: client.snapshot().totals.active >= 1, "one runs")
        yield hand
        await hand.app.toggle_demo() if hand.app._demo._load is not None else None
        await client.emit("system:shutdown", {"grace_s": 0})


Opens = Callable[[], Screen[None]]


def screen_of(where: Where) -> Opens | None:
    """How a screen is opened; None for the overview, which is there."""
    plan = Plan(draft=Draft(prompt=LONG), models=("sim/echo", "sim/hang"), times=2, history=False)
    screens: dict[Where, Opens] = {
        Where.REQUESTS: later.requests_screen,
        Where.FAILED: later.failed_screen,
        Where.REQUEST: lambda: later.request_screen("r-runs"),
        Where.WHY: lambda: later.why_screen("r-waits-last"),
        Where.SESSION: lambda: later.session_screen("s-held"),
        Where.PROVIDER: lambda: later.provider_screen("dead"),
        Where.USAGE: later.usage_screen,
        Where.EVENTS: later.events_screen,
        Where.COMPARE: lambda: later.compare_screen(plan),
    }
    return screens.get(where)


@dataclass
class Walk:
    """A hand on one screen of the world."""

    hand: Hand
    where: Where
    screen: KsiScreen

    @property
    def top(self) -> Screen[Any]:
        """What has the keys now."""
        return self.hand.app.screen

    @property
    def said(self) -> str:
        """The message in the footer, empty without one."""
        return self.screen._said.text.strip() if self.screen._said is not None else ""

    @property
    def reads(self) -> bool:
        """Whether something that a key has asked for is still on its way: it may be told of."""
        groups = ("draft", "read", "deeds", "copy")
        return any(w.group in groups and w.is_running for w in self.hand.app.workers)

    @property
    def actions(self) -> list[Action]:
        """What can be done here: the screen's own, moving in panes, and what is everywhere."""
        found = {
            a.id: a for place in (self.where, Where.PANE, Where.ANY) for a in actions_of(place)
        }
        return list(found.values())

    async def home(self) -> None:
        """Come back to the screen, whatever was opened above it."""
        while self.top is not self.screen:
            await self.hand.app.pop_screen()
        self.screen._said = None

    async def ready(self) -> None:
        """Wait until the screen has read what it shows."""
        await self.hand.until(lambda: self.top is self.screen and self.screen.stands)
        await self.hand.until(
            lambda: self.screen.target() is not None or self.where in _WITHOUT_TARGET,
            f"{self.where} has read",
        )
        tables = [t for t in self.screen.query(LiveTable) if t.has_focus]
        if self.where in _ROWS_COME:
            await self.hand.until(lambda: all(table.total for table in tables), "rows")
        if isinstance(self.screen, CompareScreen):
            echoes = self.screen._runs.of
            await self.hand.until(lambda: echoes(1, 0).over and echoes(2, 0).over, "answers")

    async def again(self) -> None:
        """Open the screen anew: it was left."""
        opens = screen_of(self.where)
        assert opens is not None
        self.hand.app.push_screen(opens())
        self.screen = await until_there(self.hand, self.where)
        await self.ready()

    @property
    def rows(self) -> str:
        """The table with rows of requests."""
        return "active" if self.where is Where.OVERVIEW else "requests"

    async def cursor(self, pane: str, key: str) -> None:
        """Put the cursor of a table on a row."""
        table = self.screen.query_one(f"#{pane}", LiveTable)
        hand = self.hand
        await hand.until(lambda: any(row.key == key for row in table._rows), f"{pane} has {key}")
        table.focus()
        rows = [row.key for row in table._rows]
        table.move_to(table._offset + rows.index(key))
        await hand.until(lambda: table.cursor_key == key, f"the cursor on {key}")
        await hand.until(lambda: table.has_focus, f"{pane} has the keys")

    def place(self) -> float:
        """Where the focused pane stands: its cursor's row, or how far it is scrolled."""
        pane = self.screen.focused
        assert isinstance(pane, Pane)
        return pane._cursor if isinstance(pane, LiveTable) else pane.scroll_target_y

    async def movable(self) -> None:
        """Give the keys to a pane in which one can move."""

        def found() -> list[Pane]:
            tables = [t for t in self.screen.query(LiveTable) if t.display and t.total > 1]
            panes = self.screen.query(TextPane)
            texts = [p for p in panes if p.max_scroll_y > 0 and p.region.height]
            return [*tables, *texts]

        def given() -> bool:
            panes = found()
            if panes and self.screen.focused not in panes:
                self.screen.set_focus(panes[0])
            return any(pane.has_focus for pane in panes)

        await self.hand.until(given, "a pane to move in has the keys")


async def until_there(hand: Hand, where: Where) -> KsiScreen:
    """Wait until a screen is shown."""

    def there() -> bool:
        screen = hand.app.screen
        return isinstance(screen, KsiScreen) and screen.WHERE is where and screen.stands

    await hand.until(there, f"{where} is open")
    screen = hand.app.screen
    assert isinstance(screen, KsiScreen)
    return screen


@asynccontextmanager
async def walk(folder: Path, where: Where, size: tuple[int, int]) -> AsyncIterator[Walk]:
    """A screen of the world, ready."""
    async with world(folder, size) as hand:
        opens = screen_of(where)
        if opens is not None:
            hand.app.push_screen(opens())
        screen = await until_there(hand, where)
        walking = Walk(hand, where, screen)
        await walking.ready()
        yield walking
        await walking.home()
