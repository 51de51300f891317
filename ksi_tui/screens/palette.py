"""What the palette offers: actions from the registry, saved filters, and sessions, requests and
providers by name.

Names come from the engine, asked for what was typed and no more than a few: with 100,000
requests nothing here walks them. They are clean, and never a markup.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any, ClassVar, cast

from textual import on
from textual.app import App, SystemCommand
from textual.await_complete import AwaitComplete
from textual.binding import Binding, BindingType
from textual.command import CommandList, CommandPalette, Hit, Hits, Provider
from textual.content import Content
from textual.markup import escape
from textual.screen import Screen
from textual.widgets import Input
from textual.worker import Worker, WorkerState

from ksi_tui import client
from ksi_tui.actions import THROUGH_TIME, Group, Where, actions_of
from ksi_tui.screens import later
from ksi_tui.screens.base import KsiScreen
from ksi_tui.screens.finding import WORST_FIRST
from ksi_tui.screens.host import Host, ask
from ksi_tui.screens.navigating import NavigatingScreen
from ksi_tui.screens.wording import worded
from ksi_tui.typed_ahead import HandedTo
from ksi_tui.widgets import fit
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.rows import name_of
from ksi_tui.widgets.standing import on_top

_NOT_OFFERED = ("palette", "back")
_TEXT_LIMIT = 200
MOST = 8
"""So many of each kind are offered; typing on tells more."""
_PAUSE_S = 0.05
_NAME_CELLS = 48
_LINES_EACH = 2
"""A command and its help."""


def palette_commands(app: App[Any], screen: Screen[Any]) -> Iterator[SystemCommand]:
    """Yield the actions that work on a screen, its own before the common ones; no moving about."""
    places: list[tuple[Where, Any]] = [(Where.ANY, app)]
    if isinstance(screen, KsiScreen) and screen.WHERE is not Where.ANY:
        places.insert(0, (screen.WHERE, screen))
    for where, owner in places:
        for plain in actions_of(where):
            action = worded(plain, attached=getattr(app, "attached", False))
            if isinstance(screen, KsiScreen) and not _offered(screen, action.id):
                continue
            if action.group is not Group.MOVE and action.id not in _NOT_OFFERED:
                run = partial(app.run_action, action.method, owner)
                yield SystemCommand(action.label.capitalize(), action.tooltip, run)
    if isinstance(screen, NavigatingScreen):
        yield from _saved_filters(screen)


def _offered(screen: KsiScreen, action_id: str) -> bool:
    if action_id in THROUGH_TIME and screen.host.recording is None:
        return False
    return not screen.forbidden(action_id)


def _saved_filters(screen: NavigatingScreen) -> Iterator[SystemCommand]:
    for name, text in screen.host.filters.saved.items():
        yield SystemCommand(
            f"Filter @{name}", escape(clean(text, _TEXT_LIMIT)), partial(_recall, screen, name)
        )


def _recall(screen: NavigatingScreen, name: str) -> None:
    screen.go(later.requests_screen(f"@{name}", WORST_FIRST))


class Palette(HandedTo, CommandPalette):
    """The palette; enter chooses among what fits what is typed, never among what stood before."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
    ]
    _asked = False

    def dismiss(self, result: None = None) -> AwaitComplete:
        """Close once, however often something was chosen by then."""
        return super().dismiss(result) if on_top(self) else AwaitComplete(asyncio.sleep(0))

    @property
    def typed_in(self) -> bool:
        """Whether the line has the keys."""
        return isinstance(self.focused, Input)

    def take_typed(self, letter: str) -> None:
        """Put a letter into the line."""
        self.query_one(Input).insert_text_at_cursor(letter)

    def action_page(self, step: int) -> None:
        """Move by a page. Textual's own way counts lines, which a list has once it was painted."""
        commands = self.query_one(CommandList)
        if commands.option_count:
            page = max(1, commands.size.height // _LINES_EACH)
            to = (commands.highlighted or 0) + step * page
            commands.highlighted = max(0, min(commands.option_count - 1, to))

    @on(Input.Submitted)
    def _wait_for_what_fits(self, event: Input.Submitted) -> None:
        if any(worker.is_running for worker in self.workers if worker.node is self):
            event.prevent_default().stop()
            self._asked = True

    @on(Input.Changed)
    def _forget(self) -> None:
        self._asked = False

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if self._asked and event.state is WorkerState.SUCCESS:
            self._asked = False
            self.query_one(CommandList).action_select()


class _Named(Provider):
    """Things of the engine by their names; opening one is a command."""

    @property
    def host(self) -> Host:
        """The app, as far as screens know it."""
        return cast(Host, self.app)

    async def named(self, typed: str) -> Iterable[tuple[str, str]]:
        """Return up to `MOST` names that fit, each with a note; both as the engine has them."""
        raise NotImplementedError

    def opened(self, name: str) -> Screen[None]:
        """Return the screen of one."""
        raise NotImplementedError

    async def search(self, query: str) -> Hits:
        """Yield what fits; waits a moment first, since the next key makes the answer useless."""
        typed = query.strip()
        if not typed or self.host.client is None:
            return
        await asyncio.sleep(_PAUSE_S)
        matcher = self.matcher(typed)
        for name, note in await self.named(typed):
            shown = fit.middle(name_of(name), _NAME_CELLS)
            said = Content(f"{shown}  {name_of(note)}" if note else shown)
            score = max(matcher.match(shown), 0.01)
            yield Hit(score, said, self._open(name), text=shown, help=self.__doc__)

    def _open(self, name: str) -> Callable[[], object]:
        return lambda: self.app.push_screen(self.opened(name))


class Sessions(_Named):
    """Open this session."""

    async def named(self, typed: str) -> Iterable[tuple[str, str]]:
        """Return sessions whose id begins so."""
        reply = await ask(self.host, "completion:names", field="session", prefix=typed, limit=MOST)
        return [(str(name), "session") for name in reply.get("names", ())]

    def opened(self, name: str) -> Screen[None]:
        """Return the session's screen."""
        return later.session_screen(name)


class Requests(_Named):
    """Open this request."""

    async def named(self, typed: str) -> Iterable[tuple[str, str]]:
        """Return requests whose id holds what was typed, finished ones too."""
        word = typed.replace('"', "").replace("\\", "")
        reply = await ask(self.host, "completion:requests", filter=f'id:"{word}"', limit=MOST)
        return [
            (str(row["request_id"]), f"{row.get('status', '')} of {row.get('session_id', '')}")
            for row in reply.get("requests", ())
        ]

    def opened(self, name: str) -> Screen[None]:
        """Return the request's screen."""
        return later.request_screen(name)


class Providers(_Named):
    """Open this provider."""

    async def named(self, typed: str) -> Iterable[tuple[str, str]]:
        """Return providers whose name holds what was typed."""
        if self.host.client is None:
            return []
        seen = self.host.client.snapshot(
            client.SnapshotQuery(active_limit=0, queue_limit=0, lock_limit=0, trend_points=1)
        )
        fitting = (view for view in seen.providers if typed.casefold() in view.name.casefold())
        return [(view.name, f"provider, {view.circuit}") for view in islice(fitting, MOST)]

    def opened(self, name: str) -> Screen[None]:
        """Return the provider's screen."""
        return later.provider_screen(name)
