"""The dashboard's app: the look, the beat and the keys; it holds the screens together.

The engine under it is `driving`'s, its end `leaving`'s, what it keeps beyond a screen `keeping`'s.
Layout and engine internals go into none of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events
from textual.actions import ActionParseResult, parse
from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.command import CommandPalette
from textual.dom import DOMNode
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver
from textual.filter import LineFilter
from textual.screen import Screen

from ksi_tui import theme
from ksi_tui.actions import BY_ID, BY_METHOD, Where, bindings, wrong_keymap
from ksi_tui.driving import SettingsRefused
from ksi_tui.elsewhere import Connect
from ksi_tui.leaving import LeavingApp
from ksi_tui.lifetime import go_on_cleanly, run_dashboard
from ksi_tui.screens import later
from ksi_tui.screens.base import KsiScreen
from ksi_tui.screens.overview import Overview
from ksi_tui.typed_ahead import can_take, handed_on
from ksi_tui.widgets.header import shown_verdict
from ksi_tui.widgets.paste import PasteSafeDriver
from ksi_tui.widgets.spans import Tone
from ksi_tui.widgets.terminal import AsciiFilter, SafeFilter

if TYPE_CHECKING:
    from ksi_tui.engine.states import Verdict
    from ksi_tui.signs import Signs
    from ksi_tui.ui_settings import Ui

__all__ = ["Connect", "KsiApp", "SettingsRefused", "run_dashboard"]

_HERE = Path(__file__).parent


class KsiApp(LeavingApp):
    """The dashboard over one engine.

    `name` stands in the header. What it drives and what it keeps is told by the classes below.
    """

    CSS_PATH: ClassVar[list[str | PurePath]] = [
        _HERE / "app.tcss",
        _HERE / "screens" / "overview.tcss",
    ]
    BINDINGS: ClassVar[list[BindingType]] = bindings(Where.ANY)
    COMMANDS: ClassVar[set[Any]] = App.COMMANDS | set(later.PALETTE)

    def __init__(self, connect: Connect, *, ui: Ui, name: str, demo: bool = False, **kept: Any):
        self._line_filters: list[LineFilter] = [SafeFilter()]
        if ui.ascii:
            self._line_filters.append(AsciiFilter())
        super().__init__(connect, demo=demo, ui=ui, **kept)
        theme.install(self, ui.theme)
        self.display_name = name

    # --- the look --------------------------------------------------------------------

    def get_default_screen(self) -> Screen[None]:
        """Return the overview, so that the first frame is it and not a blank."""
        return Overview()

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Return what every painted line passes, the backstop of `clean` last but spelling."""
        return [*super().get_line_filters(), *self._line_filters]

    def get_driver_class(self) -> type[Driver]:
        """Return a driver that takes a paste as text, whatever it holds."""
        found = super().get_driver_class()
        return PasteSafeDriver if found is LinuxDriver else found

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Return our own variables for themes that do not define them."""
        return theme.FALLBACK_VARIABLES

    def on_mount(self) -> None:
        wrong = wrong_keymap(self.ui.keymap)
        if self.ui.theme and self.ui.theme != self.theme:
            wrong.append(f"ui.theme: no theme {self.ui.theme!r}; {self.theme} is used")
        self.set_keymap({k: v for k, v in self.ui.keymap.items() if k in BY_ID})
        self.set_interval(1 / self.ui.refresh_hz, self._tick, name="tick")
        self.app_resume_signal.subscribe(self, self._went_on)
        if self._driver is not None and not (self.is_headless or self.is_web):
            go_on_cleanly(self, self._driver)
        self.call_after_refresh(self._begin, wrong)

    def _tick(self) -> None:
        if not self.is_running:  # the timer may fire once more while screens are taken down
            return
        if not self._pace.due(self._watched if self.client is not None else None):
            return
        if self.client is not None and self.recording is None:
            self._incidents.look(self.client, self.clock())
        self.events.drain(self.client)
        if self.handed_over:  # an editor is up: what happens is taken down, nothing painted
            return
        for screen in self.screen_stack:
            if isinstance(screen, KsiScreen) and screen.is_current and screen.stands:
                screen.tick()
        self._keep_signs()

    def picture_came(self) -> None:
        """Show at once what has just missed a beat."""
        if self._pace.just_missed(1 / self.ui.refresh_hz):
            self.call_later(self._tick)

    def _keep_signs(self) -> None:
        """Keep title, bell and alert true on the screens that do not show the verdict."""
        base = self.screen_stack[0]
        if self._watched is not None and not (isinstance(base, Overview) and base.is_current):
            if self.client is not None:
                self._watched.look()
            self.show_verdict(shown_verdict(self._watched.last, self.fault, None, self.stale_s))

    async def on_event(self, event: events.Event) -> None:
        """Note that a person is there, whatever becomes of the key."""
        if isinstance(event, events.InputEvent):
            self._pace.touched()
            if not self.screen_stack:  # it ends: nobody is there to take it
                return
        await super().on_event(event)

    async def on_key(self, event: events.Key) -> None:
        """Take no letter for a key that was typed right after what opened a field: it goes there.

        It would stop and pause things in place of looking for them.
        """
        letter = event.character if event.is_printable else None
        if letter and await handed_on(self, letter):
            event.prevent_default()
            event.stop()

    def _went_on(self, _: object) -> None:
        self.repaint()

    def repaint(self) -> None:
        """Paint everything anew, the title too: somebody else had the terminal."""
        self.signs.forget_title()
        self.screen.refresh(layout=True)

    def show_verdict(self, verdict: Verdict) -> None:
        """Say the verdict where it is seen without looking: title, bell, the user's alert."""
        self.signs.name = self.display_name  # an engine elsewhere tells its own
        self.signs.show(verdict)

    @cached_property
    def signs(self) -> Signs:
        """The signs of the verdict beside the screen."""
        from ksi_tui.signs import Signs  # noqa: PLC0415 - after the first frame

        return Signs(self.ui, self.display_name, self._to_terminal, self._complain)

    async def close_engine(self) -> None:
        """Leave the engine and wait until it is closed, and what else runs."""
        await self.signs.aclose()
        await super().close_engine()

    def _to_terminal(self, sequence: str) -> None:
        if self._driver is not None and not self.is_headless:
            self._driver.write(sequence)

    def _complain(self, text: str) -> None:
        if isinstance(self.screen, KsiScreen):
            self.screen.say(text, Tone.WARN)

    async def copy(self, text: str) -> str:
        """Copy a text by the system's tool, else by the terminal; return in words by which."""
        from ksi_tui import clipboard  # noqa: PLC0415 - after the first frame

        away = self.is_headless or self.is_web  # the clipboard of this machine is not the user's
        offered = [] if away else clipboard.tools(os.environ)
        return await clipboard.copy(text, offered, self.copy_to_clipboard)

    # --- what the keys do --------------------------------------------------------------

    async def run_action(
        self,
        action: str | ActionParseResult,
        default_namespace: DOMNode | None = None,
        namespaces: Mapping[str, DOMNode] | None = None,
    ) -> bool:
        """Do what a key or the palette asks for, unless it acts and this only looks."""
        if not await can_take(self, default_namespace or self):
            return True
        name = parse(action)[1] if isinstance(action, str) else action[1]
        screen = next((s for s in reversed(self.screen_stack) if isinstance(s, KsiScreen)), None)
        listed = BY_METHOD.get(name)
        if screen is not None and listed is not None and not screen.allowed(listed):
            return True
        return await super().run_action(action, default_namespace, namespaces)

    def action_help(self) -> None:
        """Show every key."""
        where = self.screen.WHERE if isinstance(self.screen, KsiScreen) else Where.ANY
        self.push_screen(later.help_screen(where))

    def action_command_palette(self) -> None:
        """Open the palette."""
        if not isinstance(self.screen, CommandPalette):
            self.push_screen(later.palette())

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Return what the palette offers: the actions of the screen, and the theme."""
        from ksi_tui.screens.palette import palette_commands  # noqa: PLC0415 - when it opens

        yield from palette_commands(self, screen)
        yield SystemCommand("Theme", "Choose the colours", self.action_change_theme)
