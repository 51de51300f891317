"""What all full screens share: their host, the footer, moving in panes, asking the engine.

A screen knows the engine only through its host's client. Layout and wording of a single
screen must not go here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

from textual.binding import BindingType
from textual.screen import Screen

from ksi_tui.actions import (
    BY_ID,
    RIGHT,
    Action,
    Group,
    Where,
    bindings,
    footer_actions,
    kept_in_footer,
    shown_key,
)
from ksi_tui.read_only import WHY
from ksi_tui.widgets import fit, formats
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.header import READ_ONLY
from ksi_tui.widgets.lines import Bar
from ksi_tui.widgets.pane import Pane
from ksi_tui.widgets.spans import Line, Span, Tone, line
from ksi_tui.widgets.table import LiveTable

if TYPE_CHECKING:
    from ksi_tui.client import EngineClient
    from ksi_tui.engine.states import Verdict
    from ksi_tui.incident.save import Saved, Wanted
    from ksi_tui.past_prompts import PastPrompts
    from ksi_tui.saved_filters import FilterBook
    from ksi_tui.screens.done import Done
    from ksi_tui.screens.draft import Draft
    from ksi_tui.screens.event_log import EventLog
    from ksi_tui.ui_settings import Ui

ERROR_LIMIT = 500
_ON_A_REQUEST = ("elsewhere", "edit", "edit_outside", "compare", "why")
_ON_REQUESTS = ("cancel", "retry")
ON_UNFINISHED = frozenset({"cancel", "elsewhere", "why"})
"""Actions on a request that has not ended."""
_FOOTER_GAPS = 4
"""A blank at either end of the footer, and two at least between its halves."""
SAY_S = 6.0
"""How long a message stands in the footer, in seconds, unless a key is pressed before."""


class Recording(Protocol):
    """Time that can be stepped through."""

    @property
    def position(self) -> tuple[int, int]:
        """Which moment is shown, counted from 1, and how many there are."""
        ...

    @property
    def day(self) -> str:
        """The date of the shown moment, UTC."""
        ...

    @property
    def records_at(self) -> float | None:
        """Of when the records are (epoch seconds), where that is not the moment shown."""
        ...

    @property
    def passed_over(self) -> str:
        """In words which moments could not be shown at first; empty for none."""
        ...

    def step(self, frames: int) -> str:
        """Go on by so many moments, back where negative; BundleError where all are damaged.

        Returns in words what was passed over, since it is damaged; else nothing.
        """
        ...


class Host(Protocol):
    """What a screen may ask of the app it runs in."""

    client: EngineClient | None
    ui: Ui
    display_name: str
    fault: str | None
    clock: Callable[[], float]
    draft: Draft | None
    handed_over: bool
    config_hint: str
    recording: Recording | None
    events: EventLog

    @property
    def past(self) -> PastPrompts:
        """The prompts that were sent from here before."""
        ...

    async def save_bundle(self, wanted: Wanted, tell: Callable[[str], None]) -> Saved:
        """Write an incident bundle, telling how far it is; raises BundleError when it cannot."""
        ...

    @property
    def filters(self) -> FilterBook:
        """Saved filters and the history of filters."""
        ...

    @property
    def stale_s(self) -> float | None:
        """How old what is shown is, in seconds, once it is older than it should be."""
        ...

    @property
    def banner(self) -> str | None:
        """What is wrong with the engine since it started, and what still works."""
        ...

    done: Done

    async def copy(self, text: str) -> str:
        """Copy a text and return in words by which way."""
        ...

    def show_verdict(self, verdict: Verdict) -> None:
        """Say the verdict where it is seen without looking at the screen: the terminal's title."""
        ...

    async def toggle_demo(self) -> str:
        """Start or stop the demo load and return what happened in words."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What an action is about: a request, its session, or a provider. Ids as the engine's.

    `provider` is where the request runs; without request and session the provider itself.
    """

    session_id: str | None = None
    request_id: str | None = None
    provider: str | None = None


def refusal(reply: Mapping[str, Any]) -> str | None:
    """Return why the engine refused, clean, or None when it did not."""
    if "code" not in reply:  # a report may tell of a request's own error under the same name
        return None
    return clean(str(reply.get("error")), ERROR_LIMIT)


def looks_only(host: Host, *, long: bool) -> str:
    """Return what a header says where nothing can be changed from here: why; else nothing."""
    recording = host.recording
    if recording is None:
        return READ_ONLY if host.ui.read_only else ""
    at, of = recording.position
    if not long:
        return f"REC {at}/{of}"
    told = f"RECORDED {recording.day}, {at} of {of}"
    records = recording.records_at
    return told if records is None else f"{told}; lists and records of {formats.clock(records)}"


class KsiScreen(Screen[None]):
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

    @property
    def stands(self) -> bool:
        """Whether the screen's widgets are there: neither being put up nor taken down."""
        return self.is_mounted and self.is_attached

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

    def on_key(self) -> None:
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
        self.show_banner()
        if self._said is not None and self.host.clock() > self._said_until:
            self._said = None
        shown = self._said or footer_line(
            footer_actions(self.WHERE, self._offered),
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


async def ask(host: Host, event: str, **data: Any) -> dict[str, Any]:
    """Emit an event and return the reply; without an engine the reply is a refusal."""
    if host.client is None:
        return {"error": host.fault or "the engine is starting", "code": "not_ready"}
    return await host.client.emit(event, data)


def screen_bindings(where: Where) -> list[BindingType]:
    """Return the bindings of a full screen: its own, and moving in panes."""
    return [*bindings(where), *bindings(Where.PANE)]


def footer_line(
    actions: Sequence[Action],
    keymap: Mapping[str, str],
    width: int,
    *,
    kept: frozenset[str] = frozenset(),
) -> Line:
    """Return the keys that work here; where they don't fit, the last that are not `kept` go first.

    Then all but the first of the right end, which help lists, and at last those that are kept.
    """
    hints = [(shown_key(a, keymap), a) for a in actions]
    left = tuple((k, a.label, a.id in kept) for k, a in hints if k and a.footer < RIGHT)
    right = tuple((k, a.label) for k, a in hints if k and a.footer >= RIGHT)
    return _fitted(left, right, width)


@lru_cache(maxsize=64)  # measured: composing the same footer 10 times a second was 0.7 % of a core
def _fitted(
    left: tuple[tuple[str, str, bool], ...], right: tuple[tuple[str, str], ...], width: int
) -> Line:
    shown, ends = list(left), list(right)
    while shown and not _fits(shown, ends, width):
        spare = [hint for hint in shown if not hint[2]]
        if spare:
            shown.remove(spare[-1])
        elif len(ends) > 1:
            ends.pop()
        else:
            shown.pop()
    ending = Line((*key_hints(*ends).spans, Span(" ")))
    return fit.both_ends(Line((Span(" "), *_hints(shown).spans)), ending, width)


def _fits(
    left: Sequence[tuple[str, str, bool]], right: Sequence[tuple[str, str]], width: int
) -> bool:
    used = fit.width_of(_hints(left)) + fit.width_of(key_hints(*right))
    return used + _FOOTER_GAPS <= width


def _hints(hints: Sequence[tuple[str, str, bool]]) -> Line:
    return key_hints(*((key, label) for key, label, _ in hints))


def key_hints(*pairs: tuple[str, str]) -> Line:
    """Return keys and what they do in one line."""
    spans: list[Span] = []
    for key, label in pairs:
        spans += [Span("  " if spans else ""), Span(key, Tone.KEY), Span(f" {label}")]
    return Line(tuple(span for span in spans if span.text))
