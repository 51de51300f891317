"""Every key, from the registry, as this screen has them."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from ksi_tui.actions import ACTIONS, Action, Group, Where, shown_key
from ksi_tui.screens.base import KsiScreen, Target, key_hints, screen_bindings
from ksi_tui.widgets import fit
from ksi_tui.widgets.lines import Bar
from ksi_tui.widgets.pane import TextPane
from ksi_tui.widgets.spans import Line, Span, Tone, line

_TOOLTIP_AT = 24


class HelpScreen(KsiScreen):
    """Lists every action with its key, what it does and where."""

    WHERE = Where.ANY
    BINDINGS: ClassVar[list[BindingType]] = [
        *screen_bindings(Where.PANE),
        Binding("escape,q,question_mark", "app.pop_screen", show=False),
    ]
    AUTO_FOCUS = "#keys"

    def compose(self) -> ComposeResult:
        yield TextPane("Every key", id="keys")
        yield Bar(id="footer")

    def on_mount(self) -> None:
        keys = self.query_one("#keys", TextPane)
        keys.styles.height = "1fr"
        keys.set_head("Every key", "glyphs below")
        self.tick()

    def on_resize(self) -> None:
        self.tick()

    def tick(self) -> None:
        """Compose the list for the present width."""
        pane = self.query_one("#keys", TextPane)
        pane.show([*self._keys(), *_legend()])
        hints = key_hints(("esc", "back"), ("j/k", "scroll"))
        self.query_one("#footer", Bar).show(Line((Span(" "), *hints.spans)))

    def target(self) -> Target | None:
        """Help acts on nothing."""
        return None

    def _keys(self) -> list[Line]:
        lines: list[Line] = []
        for group in Group:
            lines.append(line(Span(group.value, Tone.STRONG)))
            for action in (action for action in ACTIONS if action.group is group):
                lines += self._key(action)
            lines.append(Line())
        return lines

    def _key(self, action: Action) -> list[Line]:
        where = "" if Where.ANY in action.where else f" ({', '.join(action.where)})"
        room = self.query_one("#keys", TextPane).text_width - _TOOLTIP_AT
        first, *more = fit.wrap(action.tooltip + where, max(20, room))
        key = Span(f"  {shown_key(action, self.host.ui.keymap):<10}", Tone.KEY)
        return [
            line(key, f"{action.label:<12}", first),
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
