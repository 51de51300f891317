"""What all full screens share: breadcrumbs, the footer and what it says, moving in panes.

Layout and wording of a single screen must not go here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

from textual import events
from textual.binding import BindingType
from textual.screen import Screen

from ksi_tui.actions import (
    BY_ID,
    Group,
    Where,
    bindings,
    footer_actions,
    kept_in_footer,
)
from ksi_tui.read_only import WHY
from ksi_tui.screens.footer import footer_line
from ksi_tui.screens.host import ERROR_LIMIT, Host
from ksi_tui.screens.wording import worded
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.lines import Bar
from ksi_tui.widgets.pane import Pane
from ksi_tui.widgets.spans import Line, Span, Tone, line
from ksi_tui.widgets.standing import Working, on_top
from ksi_tui.widgets.table import LiveTable

if TYPE_CHECKING:
    from ksi_tui.client import EngineClient

_ON_A_REQUEST = ("elsewhere", "edit", "edit_outside", "compare", "why")
_ON_REQUESTS = ("cancel", "retry")
ON_UNFINISHED = frozenset({"cancel", "elsewhere", "why"})
"""Actions on a request that has not ended."""
SAY_S = 6.0
"""How long a message stands in the footer, in seconds, unless a key is pressed before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What an action is about: a request, its session, or a provider. Ids as the engine's.

    `provider` is where the request runs; without request and session the provider itself.
    """

    session_id: str | None = None
    request_id: str | None = None
    provider: str | None = None


class KsiScreen(Working, Screen[None]):
    """A full screen over one engine."""

    WHERE: ClassVar[Where]
    AUTO_FOCUS = ""

    @property
    def host(self) -> Host:
        """The app, as far as screens know it."""
        return cast(Host, self.app)

    @property
    def client(self) -> EngineClient | None:
        """The engine's door; None while it starts and when it could not."""
        return self.host.client

    def leave(self) -> None:
        """Go back to the screen below; what was left by then takes nothing else away."""
        if on_top(self):
            self.app.pop_screen()

    def tick(self) -> None:
        """Read the engine and show it; called `ui.refresh_hz` times a second while visible."""
        raise NotImplementedError

    def target(self) -> Target | None:
        """Return what the keys act on now."""
        raise NotImplementedError

    def marked(self) -> tuple[str, ...]:
        """Return the ids of the requests that are marked, in the order of the screen."""
        return ()

    @property
    def crumb(self) -> str:
        """The screen's own part of the breadcrumbs, clean."""
        return str(self.WHERE)

    def crumbs(self) -> str:
        """Return the way to this screen: `overview > globex-7 > r-1042`."""
        stack = self.app.screen_stack
        below = stack[: stack.index(self) + 1] if self in stack else [self]
        names = [screen.crumb for screen in below if isinstance(screen, KsiScreen)]
        return " > ".join(dict.fromkeys(name for name in names if name))

    def applies(self, action_id: str) -> bool:
        """Return whether an action does something here and now; decides the footer."""
        if action_id in ("step_back", "step_on"):
            return self.host.recording is not None
        if action_id == "undo":
            return self.host.done.last() is not None
        target = self.target()
        if action_id in _ON_A_REQUEST:
            return target is not None and target.request_id is not None
        if action_id in _ON_REQUESTS:
            named = target is not None and (target.request_id or target.session_id)
            return bool(named or self.marked())
        return True

    def forbidden(self, action_id: str) -> bool:
        """Return whether an action may not be done here at all: it acts, and this only looks."""
        only_looks = self.host.ui.read_only or self.host.recording is not None
        return only_looks and BY_ID[action_id].group is Group.ACT

    def allowed(self, action_id: str) -> bool:
        """Return whether an action may be done; where it may not, say why."""
        if self.forbidden(action_id):
            why = WHY if self.host.recording is None else "this is a recording"
            self.say(f"{BY_ID[action_id].label} is off: {why}", Tone.WARN)
            return False
        return True

    # --- the footer ------------------------------------------------------------------

    _said: Line | None = None
    _said_until = 0.0

    def say(self, text: str, tone: Tone = Tone.PLAIN) -> None:
        """Show a message in the footer until the next key or for a few seconds."""
        self._said = line(Span(f" {clean(text, ERROR_LIMIT)}", tone))
        self._said_until = self.host.clock() + SAY_S
        self.show_footer()

    def on_key(self, _event: events.Key) -> None:
        """Forget the message; what a key acts on stays under the cursor from then on."""
        self._said = None
        pane = self._focused_pane()
        if isinstance(pane, LiveTable):
            pane.pin()

    def show_banner(self) -> None:
        """Say at the top what is wrong with the engine, as long as it is."""
        banner = self.host.banner
        self.set_class(banner is not None, "fault")
        for bar in self.query("#banner").results(Bar):
            bar.show(line(Span(f" ! {clean(banner or '', ERROR_LIMIT)}", Tone.BAD)))

    def show_footer(self) -> None:
        """Compose the footer: a message, else the keys that work now."""
        if not self.stands:
            return
        self.show_banner()
        if self._said is not None and self.host.clock() > self._said_until:
            self._said = None
        shown = self._said or footer_line(
            [
                worded(action, attached=self.host.attached)
                for action in footer_actions(self.WHERE, self._offered)
            ],
            self.host.ui.keymap,
            self.app.size.width,
            kept=kept_in_footer(self.WHERE),
        )
        self.query_one("#footer", Bar).show(shown)

    def _offered(self, action_id: str) -> bool:
        return not self.forbidden(action_id) and self.applies(action_id)

    # --- marks ------------------------------------------------------------------------

    def action_mark(self) -> None:
        """Mark the row under the cursor, or not."""
        pane = self._focused_pane()
        if isinstance(pane, LiveTable):
            pane.toggle_mark()

    # --- moving ----------------------------------------------------------------------

    def _focused_pane(self) -> Pane | None:
        return self.focused if isinstance(self.focused, Pane) else None

    def action_move(self, rows: int) -> None:
        """Move the cursor of a table, or scroll a text."""
        pane = self._focused_pane()
        if isinstance(pane, LiveTable):
            pane.move_by(rows)
        elif pane is not None:
            pane.scroll_line(int(pane.scroll_y) + rows)

    def action_page(self, pages: int) -> None:
        """Move by a page."""
        pane = self._focused_pane()
        if pane is not None:
            self.action_move(pages * max(1, pane.body_height - 1))

    def action_first(self) -> None:
        """Go to the first row."""
        self.action_move(-(10**9))

    def action_last(self) -> None:
        """Go to the last row."""
        self.action_move(10**9)


def screen_bindings(where: Where) -> list[BindingType]:
    """Return the bindings of a full screen: its own, and moving in panes."""
    return [*bindings(where), *bindings(Where.PANE)]
