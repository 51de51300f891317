"""A reply that comes while what asked is being taken away is shown nowhere and hurts nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from textual.screen import Screen
from textual.widget import Widget

from ksi_tui.actions import Where
from ksi_tui.screens import later
from ksi_tui.screens.base import Target
from ksi_tui.screens.dialogs.circuit import CircuitDialog
from ksi_tui.screens.dialogs.elsewhere import ElsewhereDialog
from ksi_tui.screens.dialogs.lock import LockDialog
from ksi_tui.screens.dialogs.pause import PauseDialog
from ksi_tui.widgets.filter_bar import FilterBar
from tests.ui.harness import SMALL, Hand, dashboard
from tests.ui.scripted import Reply, ScriptedClient, busy

ANTHROPIC = Target(session_id="acme-17", provider="anthropic", request_id="r-1042")
REPLIES: dict[str, Reply] = {
    "completion:session_status": {"queue": {"queue_size": 2}, "session": {"lock_holder": "a7"}},
    "completion:names": {"names": ["acme-17"]},
}


class LateClient(ScriptedClient):
    """Holds back its replies to one event until widgets of the node that asked are gone."""

    def __init__(self, event: str) -> None:
        super().__init__(busy(), REPLIES)
        self.event = event
        self.asker: Widget | None = None
        self.asked = False
        self.held: set[object] = set()

    async def emit(self, name: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        reply = await super().emit(name, data)
        if name == self.event:
            self.asked, mine = True, object()
            self.held.add(mine)
            try:
                await self._until_parts_are_gone()
            finally:
                self.held.discard(mine)
        return reply

    async def _until_parts_are_gone(self) -> None:
        """Look at every turn of the loop: the parts are gone a few turns before their node."""
        while self.asker is None:  # noqa: ASYNC110 - turns of the loop are what counts
            await asyncio.sleep(0)
        whole = len(self.asker.walk_children())
        while len(self.asker.walk_children()) == whole:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def still_works(hand: Hand, client: LateClient) -> None:
    await hand.until(lambda: not client.held, "the reply came, or nobody waits for it")
    await hand.press("question_mark")
    await hand.sees("Every key of: overview")


async def test_names_for_a_filter_bar_that_closes() -> None:
    client = LateClient("completion:names")
    async with dashboard(client, SMALL) as hand:
        await hand.press("slash")
        await hand.sees("esc leave")
        await hand.type("session:a")
        await hand.until(lambda: client.asked, "names are asked for")
        client.asker = hand.app.screen.query_one(FilterBar)
        await hand.press("escape")
        await still_works(hand, client)


@pytest.mark.parametrize(
    ("dialog", "event"),
    [
        (lambda: LockDialog("acme-17"), "completion:session_status"),
        (lambda: CircuitDialog("anthropic"), "completion:provider_status"),
        (lambda: ElsewhereDialog(ANTHROPIC), "completion:provider_status"),
        (lambda: PauseDialog(ANTHROPIC), "completion:session_status"),
    ],
    ids=["lock", "circuit", "elsewhere", "pause"],
)
async def test_what_a_dialog_asked_for_before_it_was_left(
    dialog: Any, event: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = LateClient(event)
    async with dashboard(client, SMALL) as hand:
        asker: Screen[Any] = dialog()
        await hand.app.push_screen(asker)
        await hand.until(lambda: client.asked, "the dialog has asked")
        client.asker = asker
        await hand.press("escape")
        await still_works(hand, client)
    assert "could not show" not in caplog.text


OPENED: dict[str, Callable[[], Screen[Any]]] = {
    "requests": later.requests_screen,
    "failed": later.failed_screen,
    "request": lambda: later.request_screen("r-1042"),
    "why": lambda: later.why_screen("r-1042"),
    "session": lambda: later.session_screen("acme-17"),
    "provider": lambda: later.provider_screen("anthropic"),
    "usage": later.usage_screen,
    "events": later.events_screen,
    "submit": later.submit_form,
    "order": later.request_orders,
    "bundle": later.save_bundle,
    "help": lambda: later.help_screen(Where.OVERVIEW),
    "pause": lambda: later.pause_dialog(ANTHROPIC),
    "elsewhere": lambda: later.elsewhere_dialog(ANTHROPIC),
    "cancel": lambda: later.cancel_dialog(ANTHROPIC, (), None),
}


@pytest.mark.parametrize("name", OPENED)
async def test_what_is_left_before_it_was_put_up_puts_nothing_up(name: str) -> None:
    async with dashboard(ScriptedClient(busy(), REPLIES), SMALL) as hand:
        hand.app.push_screen(OPENED[name]())
        hand.app.exit(0)
    assert hand.app.return_code == 0
