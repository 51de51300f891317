"""What every key is expected to do, by the id of its action: the table that the walk holds to.

An effect gets the walk and a real key; it presses the key and waits for what must follow.
Where an action means another thing on some screen, that screen has an entry of its own.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from unittest import mock

from textual.screen import Screen

from ksi_tui.actions import Where
from ksi_tui.screens import later
from ksi_tui.screens.add_provider import AddProvider
from ksi_tui.screens.base import KsiScreen
from ksi_tui.screens.compare_setup import CompareSetup
from ksi_tui.screens.copying import CopyMenu
from ksi_tui.screens.dialogs.cancel import CancelDialog
from ksi_tui.screens.dialogs.circuit import CircuitDialog
from ksi_tui.screens.dialogs.elsewhere import ElsewhereDialog
from ksi_tui.screens.dialogs.lock import LockDialog
from ksi_tui.screens.dialogs.pause import PauseDialog
from ksi_tui.screens.dialogs.undo import UndoDialog
from ksi_tui.screens.events import EventsScreen
from ksi_tui.screens.help import HelpScreen
from ksi_tui.screens.order import OrderDialog
from ksi_tui.screens.palette import Palette
from ksi_tui.screens.provider import ProviderScreen
from ksi_tui.screens.quit import QuitDialog
from ksi_tui.screens.request import RequestScreen
from ksi_tui.screens.requests import FailedScreen, RequestsScreen
from ksi_tui.screens.save_bundle import SaveBundle
from ksi_tui.screens.submit import SubmitScreen
from ksi_tui.screens.usage import UsageScreen
from ksi_tui.screens.why import WhyScreen
from ksi_tui.widgets.pane import Pane
from ksi_tui.widgets.table import LiveTable
from tests.ui.every_key import Walk, ends

Effect = Callable[[Walk, str], Awaitable[None]]
At = tuple[str, str]
"""A table and the row that the cursor is put on before."""


def opens(kind: type[Screen[Any]], *texts: str, at: At | None = None) -> Effect:
    """The key opens a screen or dialog with these texts."""

    async def effect(walk: Walk, key: str) -> None:
        if at is not None:
            await walk.cursor(*at)
        await walk.hand.press(key)
        await walk.hand.until(lambda: type(walk.top) is kind, f"{kind.__name__} opens")
        await walk.hand.sees(*texts)

    return effect


def says(*texts: str, at: At | None = None) -> Effect:
    """The key leads to a message with one of these texts."""

    async def effect(walk: Walk, key: str) -> None:
        if at is not None:
            await walk.cursor(*at)
        await walk.hand.press(key)
        await walk.hand.until(lambda: any(t in walk.said for t in texts), f"{texts} is said")

    return effect


def there_and_back(text: str) -> Effect:
    """The key makes a text appear, the second time it goes again; or the other way round."""

    async def effect(walk: Walk, key: str) -> None:
        first, then = walk.hand.sees, walk.hand.sees_no
        if text in walk.hand.screen:
            first, then = then, first
        await walk.hand.press(key)
        await first(text)
        await walk.hand.press(key)
        await then(text)

    return effect


def edges(walk: Walk) -> list[str]:
    """The panes that are displayed."""
    return sorted(
        str(pane.id)
        for pane in walk.screen.query(Pane)
        if pane.display and all(getattr(up, "display", True) for up in pane.ancestors)
    )


async def zooms(walk: Walk, key: str) -> None:
    """One pane has the room, then all have it again; where tabs are, there is one already."""
    before = edges(walk)
    assert len(before) > 1, "nothing to zoom among"
    await walk.hand.press(key)
    await walk.hand.until(lambda: len(edges(walk)) < len(before), "fewer panes")
    await walk.hand.press(key)
    await walk.hand.until(lambda: edges(walk) == before, "all panes again")


def moves(forward: bool) -> Effect:
    """The key moves the cursor, or scrolls, in a direction."""

    async def effect(walk: Walk, key: str) -> None:
        await walk.movable()
        walk.screen.action_move(-(10**9) if forward else 10**9)
        await walk.hand.until(lambda: walk.place() == 0 if forward else walk.place() > 0)
        start = walk.place()
        await walk.hand.press(key)
        await walk.hand.until(
            lambda: walk.place() > start if forward else walk.place() < start, f"{key} moves"
        )

    return effect


def goes_to(number: int) -> Effect:
    """The key gives the keys to a pane, or to its tab."""

    async def effect(walk: Walk, key: str) -> None:
        await walk.hand.press(str(number % 5 + 1))
        elsewhere = walk.screen.focused
        await walk.hand.press(key)
        await walk.hand.until(lambda: walk.screen.focused not in (None, elsewhere))
        focused = walk.screen.focused
        assert focused is not None
        assert focused.display

    return effect


async def steps(walk: Walk, key: str) -> None:
    """The key goes from pane to pane and comes round again."""
    seen = [walk.screen.focused]
    for _ in range(12):
        await walk.hand.press(key)
        focused = walk.screen.focused
        assert focused is not None
        assert focused.display
        if focused is seen[0]:
            break
        assert focused not in seen
        seen.append(focused)
    assert len(seen) > 1
    assert walk.screen.focused is seen[0]


async def retries(walk: Walk, key: str) -> None:
    """The failed request goes again, and fails again."""
    await walk.hand.press(key)
    await walk.hand.until(lambda: "r-failed goes again" in walk.said, "r-failed goes again")
    await ends(walk.hand, "r-failed", "failed")


def after(at: At, effect: Effect) -> Effect:
    """An effect with the cursor on a row."""

    async def placed(walk: Walk, key: str) -> None:
        await walk.cursor(*at)
        await effect(walk, key)

    return placed


async def undoes(walk: Walk, key: str) -> None:
    """What was done last is offered to be taken back."""
    steps_back = (("queue:resume", {"scope": "session", "id": "s-paused"}),)
    deed = walk.hand.app.done.note(what="that", back="this", after="so", steps=steps_back)
    await opens(UndoDialog, "Take back what was done last?")(walk, key)
    walk.hand.app.done.forget(deed)


async def marks(walk: Walk, key: str) -> None:
    """The row is marked, then not."""
    table = walk.screen.query_one(f"#{walk.rows}", LiveTable)
    await walk.hand.until(lambda: table.cursor_key is not None, "a row to mark")
    await walk.hand.press(key)
    await walk.hand.until(walk.screen.marked, "something is marked")
    marked = walk.screen.marked()
    await walk.cursor(walk.rows, marked[0])
    await walk.hand.press(key)
    await walk.hand.until(lambda: not walk.screen.marked(), "nothing is marked")


async def marks_all(walk: Walk, key: str) -> None:
    """Every row is marked, then none."""
    await walk.hand.press(key)
    await walk.hand.until(walk.screen.marked, "something is marked")
    await walk.hand.press(key)
    await walk.hand.until(lambda: not walk.screen.marked(), "nothing is marked")


async def filters(walk: Walk, key: str) -> None:
    """The bar opens, takes what is typed and goes with escape."""
    await walk.hand.press(key)
    await walk.hand.sees("esc leave", "ctrl+s save")
    await walk.hand.type("nope")
    await walk.hand.sees("/ nope")
    await walk.hand.press("escape")
    await walk.hand.sees_no("esc leave")


async def edits_outside(walk: Walk, key: str) -> None:
    """The user's editor is started, and its text stands in the form."""
    edited = mock.AsyncMock(return_value=mock.Mock(text="changed outside", said=""))
    with mock.patch("ksi_tui.screens.outside.edit_outside", edited):
        await opens(SubmitScreen, "changed outside")(walk, key)
    edited.assert_awaited_once()


async def suspends(walk: Walk, key: str) -> None:
    """The process is told to stop, as the shell knows it."""
    driver = type(walk.hand.app._driver)
    with mock.patch.object(driver, "can_suspend", True), mock.patch("os.kill") as kill:
        await walk.hand.press(key)
        await walk.hand.until(lambda: kill.called, "it is told to stop")
    kill.assert_called_once_with(os.getpid(), signal.SIGTSTP)


async def goes_back(walk: Walk, key: str) -> None:
    """The screen below is there again."""
    app = walk.hand.app
    below = app.screen_stack[-2]
    await walk.hand.press(key)
    await walk.hand.until(lambda: walk.top is below, "the screen below")
    await walk.again()


async def demo(walk: Walk, key: str) -> None:
    """The load starts, and stops."""
    await says("demo load runs", "demo load started", "started")(walk, key)
    await walk.hand.until(lambda: walk.hand.app._demo._load is not None)
    await says("demo load stopped")(walk, key)
    await walk.hand.until(lambda: walk.hand.app._demo._load is None)


async def copies(walk: Walk, key: str) -> None:
    """Something is copied, and it is said how."""
    await walk.hand.press(key)
    await walk.hand.until(lambda: "characters: " in walk.said, "it is said what was copied")


def changes(*texts: str) -> Effect:
    """The key changes what the screen shows to one of these texts."""

    async def effect(walk: Walk, key: str) -> None:
        before = [text for text in texts if text in walk.hand.screen]
        await walk.hand.press(key)
        await walk.hand.until(
            lambda: [text for text in texts if text in walk.hand.screen] not in (before, []),
            f"other than {before} of {texts}",
        )

    return effect


async def saves_bundle(walk: Walk, _key: str) -> None:
    """It has no key: the palette does it."""
    await walk.hand.press("ctrl+p")
    await walk.hand.until(lambda: isinstance(walk.top, Palette), "the palette")
    await walk.hand.type("save an inc")
    await walk.hand.press("enter")
    await walk.hand.until(lambda: isinstance(walk.top, SaveBundle), "the question opens")


async def attends(walk: Walk, key: str) -> None:
    """Attention has the keys."""
    await walk.hand.press(key)
    await walk.hand.until(lambda: walk.screen.focused is walk.screen.query_one("#attention"))


def frozen(word: str) -> Effect:
    """The picture says that it is held, and then no more."""
    return there_and_back(word)


WINDOWS = ("[15m]", "[1h]", "[24h]", "[7d]")


async def longer(walk: Walk, key: str) -> None:
    """A longer time is shown; what comes after it is a shorter one again."""
    await changes(*WINDOWS)(walk, key)
    await changes(*WINDOWS)(walk, "left_square_bracket")


async def shorter(walk: Walk, key: str) -> None:
    """A shorter time is shown."""
    await changes(*WINDOWS)(walk, "right_square_bracket")
    await changes(*WINDOWS)(walk, key)


REPEATED = "time is stepped through in a recording"

PROVIDER_WINDOWS = ("[1h]", "[6h]", "[24h]", "[7d]", "[15m]")


def over(screen: Callable[[], KsiScreen], effect: Effect) -> Effect:
    """An effect on another screen of the same kind: what it needs is there."""

    async def elsewhere(walk: Walk, key: str) -> None:
        first, walk.screen = walk.screen, screen()
        try:
            walk.hand.app.push_screen(walk.screen)
            await walk.ready()
            await effect(walk, key)
            await walk.home()
            await walk.hand.app.pop_screen()
        finally:
            walk.screen = first

    return elsewhere


def why_of(request_id: str) -> Callable[[], KsiScreen]:
    """The chain of causes of a request."""
    return lambda: later.why_screen(request_id)


def waiting_session() -> KsiScreen:
    """A session that waits for a provider."""
    return later.session_screen("s-waits-too")


def failed_session() -> KsiScreen:
    """A session whose request failed."""
    return later.session_screen("s-failed")


def busy_provider() -> KsiScreen:
    """A provider that is called."""
    return later.provider_screen("alive")


async def why_of_company(walk: Walk, key: str) -> None:
    """From a session at the same root to its own chain."""
    await walk.cursor("same", "s-waits-as-well")
    await walk.hand.press(key)
    await walk.hand.until(
        lambda: isinstance(walk.top, WhyScreen) and walk.top.request_id == "r-waits-as-well"
    )


EFFECTS: Mapping[str, Effect] = {
    "submit": opens(SubmitScreen, "Submit a prompt"),
    "cancel": opens(CancelDialog, "Stop "),
    "retry": retries,
    "elsewhere": opens(ElsewhereDialog, "r-runs"),
    "pause": opens(PauseDialog, "s-held"),
    "probe": says("is the probe of dead", "the next request is the probe"),
    "force_circuit": opens(CircuitDialog, "Force the circuit of dead"),
    "force_lock": opens(LockDialog, "Take the lock of s-held from a7?"),
    "act_all": says("a again sends the heads of "),
    "edit": opens(SubmitScreen, "line 0 of a prompt"),
    "edit_outside": edits_outside,
    "compare": opens(CompareSetup, "The same request to several models"),
    "undo": undoes,
    "demo": demo,
    "open": opens(RequestScreen),
    "why": opens(WhyScreen, "If nobody acts"),
    "filter": filters,
    "sort": opens(OrderDialog, "ENTER PUTS"),
    "mark": marks,
    "mark_all": marks_all,
    "copy": copies,
    "zoom": zooms,
    "freeze": frozen("frozen, f goes on"),
    "hide_text": there_and_back("t show text"),
    "difference": there_and_back("[-sim/echo-]"),
    "next_run": changes("run 1 of 2", "run 2 of 2"),
    "previous_run": changes("run 1 of 2", "run 2 of 2"),
    "raw": there_and_back("Raw record"),
    "window_shorter": shorter,
    "window_longer": longer,
    "split": says("charts by provider", "charts by model", "charts of all together"),
    "group": changes("By agent", "By provider", "By model", "By session", "By day", "By hour"),
    "providers": opens(AddProvider, "[[providers]]"),
    "requests": opens(RequestsScreen, "r-done"),
    "failed": opens(FailedScreen, "r-failed"),
    "usage": opens(UsageScreen, "All"),
    "events": opens(EventsScreen, "completion:"),
    "attention": attends,
    **{f"pane_{number}": goes_to(number) for number in range(1, 6)},
    "next_pane": steps,
    "previous_pane": steps,
    "down": moves(forward=True),
    "up": moves(forward=False),
    "top": moves(forward=False),
    "bottom": moves(forward=True),
    "page_down": moves(forward=True),
    "page_up": moves(forward=False),
    "back": goes_back,
    "palette": opens(Palette),
    "suspend": suspends,
    "step_back": says(REPEATED),
    "step_on": says(REPEATED),
    "minute_back": says(REPEATED),
    "minute_on": says(REPEATED),
    "save_bundle": saves_bundle,
    "help": opens(HelpScreen, "Every key of: "),
    "quit": opens(QuitDialog, "Leave with work in flight?"),
}
RUNS, HELD, DEAD = ("active", "r-runs"), ("queues", "s-held"), ("providers", "dead")
LISTED = ("requests", "r-runs")

ON: Mapping[tuple[Where, str], Effect] = {
    (Where.OVERVIEW, "cancel"): opens(CancelDialog, "r-runs", at=RUNS),
    (Where.OVERVIEW, "retry"): after(("attention", "failure:network_error"), retries),
    (Where.OVERVIEW, "elsewhere"): opens(ElsewhereDialog, "r-runs", at=RUNS),
    (Where.OVERVIEW, "pause"): opens(PauseDialog, "s-held", at=HELD),
    (Where.OVERVIEW, "probe"): after(DEAD, EFFECTS["probe"]),
    (Where.OVERVIEW, "force_circuit"): after(DEAD, EFFECTS["force_circuit"]),
    (Where.OVERVIEW, "force_lock"): after(("locks", "s-held"), EFFECTS["force_lock"]),
    (Where.OVERVIEW, "edit"): after(RUNS, EFFECTS["edit"]),
    (Where.OVERVIEW, "edit_outside"): after(RUNS, edits_outside),
    (Where.OVERVIEW, "compare"): after(RUNS, EFFECTS["compare"]),
    (Where.OVERVIEW, "open"): opens(RequestScreen, "s-runs", at=RUNS),
    (Where.OVERVIEW, "why"): after(HELD, EFFECTS["why"]),
    (Where.OVERVIEW, "sort"): after(RUNS, EFFECTS["sort"]),
    (Where.OVERVIEW, "mark"): after(RUNS, marks),
    (Where.OVERVIEW, "mark_all"): after(RUNS, marks_all),
    (Where.OVERVIEW, "copy"): after(RUNS, copies),
    (Where.OVERVIEW, "freeze"): frozen("picture frozen"),
    (Where.REQUESTS, "cancel"): opens(CancelDialog, "r-runs", at=LISTED),
    (Where.REQUESTS, "retry"): after(("requests", "r-failed"), retries),
    (Where.REQUESTS, "elsewhere"): after(LISTED, EFFECTS["elsewhere"]),
    (Where.REQUESTS, "edit"): after(LISTED, EFFECTS["edit"]),
    (Where.REQUESTS, "edit_outside"): after(LISTED, edits_outside),
    (Where.REQUESTS, "compare"): after(LISTED, EFFECTS["compare"]),
    (Where.REQUESTS, "open"): opens(RequestScreen, "s-runs", at=LISTED),
    (Where.REQUESTS, "why"): after(("requests", "r-held"), EFFECTS["why"]),
    (Where.FAILED, "retry"): after(("requests", "r-failed"), retries),
    (Where.FAILED, "mark"): after(("requests", "r-broke"), marks),
    (Where.FAILED, "open"): opens(RequestScreen, "s-failed", at=("requests", "r-failed")),
    (Where.FAILED, "edit"): opens(SubmitScreen, "why me", at=("requests", "r-failed")),
    (Where.REQUEST, "copy"): opens(CopyMenu, "timeline in words"),
    (Where.REQUEST, "retry"): says("not retried: "),
    (Where.WHY, "cancel"): over(why_of("r-behind"), opens(CancelDialog, "r-runs")),
    (Where.WHY, "elsewhere"): over(why_of("r-behind"), opens(ElsewhereDialog, "r-runs")),
    (Where.WHY, "pause"): over(why_of("r-paused"), opens(PauseDialog, "s-paused")),
    (Where.WHY, "force_lock"): over(why_of("r-held"), EFFECTS["force_lock"]),
    (Where.WHY, "probe"): over(why_of("r-waits"), EFFECTS["probe"]),
    (Where.WHY, "force_circuit"): over(why_of("r-waits-too"), EFFECTS["force_circuit"]),
    (Where.WHY, "act_all"): over(why_of("r-waits-too"), says("a again sends the heads of ")),
    (Where.WHY, "open"): over(why_of("r-paused"), opens(PauseDialog, "s-paused")),
    (Where.WHY, "why"): over(why_of("r-waits-too"), why_of_company),
    (Where.SESSION, "probe"): over(waiting_session, EFFECTS["probe"]),
    (Where.SESSION, "force_circuit"): over(waiting_session, EFFECTS["force_circuit"]),
    (Where.SESSION, "elsewhere"): opens(ElsewhereDialog, "r-held", at=("requests", "r-held")),
    (Where.SESSION, "retry"): over(failed_session, retries),
    (Where.SESSION, "edit"): opens(SubmitScreen, "why me"),
    (Where.SESSION, "filter"): opens(RequestsScreen, "filter: session:", "r-held"),
    (Where.SESSION, "sort"): says("ordered by "),
    (Where.SESSION, "copy"): opens(CopyMenu, "session id"),
    (Where.PROVIDER, "pause"): opens(PauseDialog, "provider dead"),
    (Where.PROVIDER, "copy"): opens(CopyMenu, "state and history in words"),
    (Where.PROVIDER, "open"): over(
        busy_provider, after(("flight", "r-runs"), opens(RequestScreen, "s-runs"))
    ),
    (Where.PROVIDER, "window_shorter"): changes(*PROVIDER_WINDOWS),
    (Where.PROVIDER, "window_longer"): changes(*PROVIDER_WINDOWS),
    (Where.USAGE, "open"): opens(ProviderScreen, "alive", at=("groups", "alive")),
    (Where.COMPARE, "cancel"): says("2 stopped"),
}
