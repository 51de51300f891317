"""The keys of the screen one came from, from the registry; what is typed narrows the list.

Below them what stays true of the engine: where it listens, and who else looks at it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from ksi_tui.actions import ACTIONS, Action, Group, Where, shown_key
from ksi_tui.client import SnapshotQuery
from ksi_tui.screens.base import KsiScreen, Target
from ksi_tui.screens.footer import key_hints
from ksi_tui.screens.wording import worded
from ksi_tui.typed_ahead import HandedTo
from ksi_tui.widgets import fit
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.lines import Bar
from ksi_tui.widgets.pane import TextPane
from ksi_tui.widgets.spans import Line, Span, Tone, line

_INDENT = "  "
_MOST_NOTICE = 400
_LITTLE = SnapshotQuery(active_limit=0, queue_limit=0, lock_limit=0, trend_points=1)
_TOOLTIP_AT = 24
_MOST_TYPED = 40


class HelpScreen(HandedTo, KsiScreen):
    """Lists the actions of one screen with key and meaning; letters are typed, not keys here."""

    WHERE = Where.ANY
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "less", show=False),
        Binding("up", "move(-1)", show=False),
        Binding("down", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home", "first", show=False),
        Binding("end", "last", show=False),
        Binding("backspace", "rub_out", show=False),
        Binding("tab", "everywhere", show=False),
    ]
    AUTO_FOCUS = "#keys"

    def __init__(self, where: Where = Where.ANY) -> None:
        super().__init__()
        self._where = where
        self._everywhere = where is Where.ANY
        self._typed = ""

    @property
    def crumb(self) -> str:
        """Help is named after the screen it is about."""
        return "help"

    def compose(self) -> ComposeResult:
        yield TextPane("", id="keys")
        yield Bar(id="footer")

    def on_mount(self) -> None:
        self.query_one("#keys", TextPane).styles.height = "1fr"
        self.tick()

    def on_resize(self) -> None:
        self.tick()

    async def _on_key(self, event: events.Key) -> None:
        if event.character is None or not event.character.isprintable():
            return
        event.stop()
        event.prevent_default()
        self.take_typed(event.character)

    @property
    def typed_in(self) -> bool:
        """The list is narrowed by every letter."""
        return True

    def take_typed(self, letter: str) -> None:
        """Narrow the list by what is typed; a question mark goes back while nothing is."""
        if letter == "?" and not self._typed:
            self.leave()
        elif len(self._typed) < _MOST_TYPED:
            self._typed += letter
            self.tick()
            self.action_first()

    def action_rub_out(self) -> None:
        """Take the last letter back."""
        self._typed = self._typed[:-1]
        self.tick()

    def action_less(self) -> None:
        """Take back what was typed; with nothing typed go back."""
        if self._typed:
            self._typed = ""
            self.tick()
        else:
            self.leave()

    def action_everywhere(self) -> None:
        """Show the keys of every screen, or of the one again."""
        self._everywhere = self._where is Where.ANY or not self._everywhere
        self.tick()

    def tick(self) -> None:
        """Compose the list for the present width."""
        pane = self.query_one("#keys", TextPane)
        title = "Every key of every screen" if self._everywhere else f"Every key of: {self._where}"
        pane.set_head(title, f"search: {self._typed}_" if self._typed else "type to search")
        below = [] if self._typed else [*_legend(), *self._engine()]
        pane.show([*self._keys(), *below])
        other = "this screen's" if self._everywhere else "every screen's"
        hints = key_hints(
            ("esc", "back"), ("type", "search"), ("up/down", "scroll"), ("tab", other)
        )
        self.query_one("#footer", Bar).show(Line((Span(" "), *hints.spans)))

    def _engine(self) -> list[Line]:
        """Return what the engine has to say of itself, where it listens, and who else looks."""
        if self.client is None:
            return []
        seen = self.client.snapshot(_LITTLE)
        told = [*seen.notices, *(f"attached: {name}" for name in seen.attached)]
        if not told:
            return []
        width = max(20, self.query_one("#keys", TextPane).text_width - len(_INDENT))
        lines = [Line(), line(Span("This engine", Tone.STRONG))]
        for text in told:
            lines += [line(_INDENT + row) for row in fit.wrap(clean(text, _MOST_NOTICE), width)]
        return lines

    def target(self) -> Target | None:
        """Help acts on nothing."""
        return None

    def _shown(self) -> Iterable[Action]:
        here = (self._where, Where.ANY, Where.PANE)
        words = self._typed.casefold().split()
        for each in ACTIONS:
            action = worded(each, attached=self.host.attached)
            if not self._everywhere and not set(here) & set(action.where):
                continue
            key = shown_key(action, self.host.ui.keymap)
            text = f"{key} {action.label} {action.tooltip} {action.group}".casefold()
            if all(word in text for word in words):
                yield action

    def _keys(self) -> list[Line]:
        lines: list[Line] = []
        shown = list(self._shown())
        for group in Group:
            members = [action for action in shown if action.group is group]
            if members:
                lines.append(line(Span(group.value, Tone.STRONG)))
                for action in members:
                    lines += self._key(action)
                lines.append(Line())
        if not lines:
            lines = [line("No key does that here. tab looks on every screen, esc takes it back.")]
        return lines

    def _key(self, action: Action) -> list[Line]:
        everywhere = Where.ANY in action.where or not self._everywhere
        where = "" if everywhere else f" ({', '.join(action.where)})"
        room = self.query_one("#keys", TextPane).text_width - _TOOLTIP_AT
        first, *more = fit.wrap(action.tooltip + where, max(20, room))
        key = Span(f"  {shown_key(action, self.host.ui.keymap) or ':':<10}", Tone.KEY)
        return [
            line(key, f"{fit.end(action.label, 11):<12}", first),
            *(line(" " * _TOOLTIP_AT, rest) for rest in more),
        ]


def _legend() -> list[Line]:
    return [
        line(Span("Signs", Tone.STRONG)),
        line("  ► running   ○ waits for something named   · queued, next in turn   ~ backoff"),
        line("  √ completed   ! failed   × cancelled"),
        line("  circuit  ● closed   ▲ half-open   ■ open   ▼ cooling (429)"),
        line("  – nothing to say   ~ or est. estimated   ≥ a lower bound   unpr. no price known"),
    ]
