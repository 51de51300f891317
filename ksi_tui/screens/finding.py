"""`/` on any screen: opens the filter bar in place, and hands on what is typed in it.

What a filter is applied to is the screens' business; those that show only a part of the
requests lead to the list of all (`FindsInRequests`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.widget import Widget

from ksi_tui.screens import later
from ksi_tui.screens.base import KsiScreen
from ksi_tui.screens.footer import key_hints
from ksi_tui.screens.host import ask, refusal
from ksi_tui.screens.navigating import NavigatingScreen
from ksi_tui.typed_ahead import HandedTo
from ksi_tui.widgets.lines import Bar
from ksi_tui.widgets.spans import Line, Span, Tone

if TYPE_CHECKING:
    from ksi_tui.widgets.filter_bar import Book, FilterBar

_HINTS = (
    ("enter", "keep"),
    ("esc", "leave"),
    ("tab", "complete"),
    ("up/down", "history"),
    ("ctrl+s", "save"),
    ("@name", "recall"),
)
_MOST_NAMES = 20
WORST_FIRST = ("WORST", True)
"""How the list of all stands when it was asked for from elsewhere: what is in trouble on top."""


class Finding(HandedTo, KsiScreen):
    """A full screen with a filter bar. The bar is there only while one types in it."""

    FILTER_BAR_BEFORE = "#hidden"
    """Above which widget the bar opens."""
    _filter_bar: FilterBar | None = None
    _focused_before: Widget | None = None

    @property
    def filter_book(self) -> Book:
        """What reads filters and keeps them."""
        return self.host.filters

    def filter_on(self) -> str:
        """Return what the bar opens with: the filter that is on, as it was typed."""
        return ""

    def filter_typed(self, text: str, written_out: str) -> None:
        """Take what stands in the bar while it is typed: it can be read, and may change yet."""

    def filter_kept(self, text: str, written_out: str) -> None:
        """Take the filter that is to stay, as typed and without `@name`."""
        raise NotImplementedError

    def filter_left(self) -> None:
        """Bring back what was on before the bar opened."""

    @property
    def filtering(self) -> bool:
        """Whether the bar is open."""
        return self._filter_bar is not None

    @property
    def typed_in(self) -> bool:
        """Whether what is typed goes to the bar."""
        return self._filter_bar is not None and self._filter_bar.has_keys

    def take_typed(self, letter: str) -> None:
        """Put a letter into the bar."""
        if self._filter_bar is not None:
            self._filter_bar.take_typed(letter)

    async def action_filter(self) -> None:
        """Open the filter bar, or go back to it."""
        if self._filter_bar is not None:
            self._filter_bar.take_keys()
            return
        self._focused_before = self.focused
        self._filter_bar = later.filter_bar(self.filter_on(), self._names_of, self.filter_book)
        await self.mount(self._filter_bar, before=self.FILTER_BAR_BEFORE)
        self._filter_bar.take_keys()
        self.show_footer()

    async def _names_of(self, field: str, prefix: str) -> Sequence[str]:
        asked = {"field": field, "prefix": prefix, "limit": _MOST_NAMES}
        reply = await ask(self.host, "completion:names", **asked)
        return [str(name) for name in reply.get("names") or ()]

    def on_filter_bar_typed(self, event: FilterBar.Typed) -> None:
        """Take what is typed, unless the bar is gone by now."""
        if self.filtering:
            self.filter_typed(event.text, event.written_out)

    async def on_filter_bar_kept(self, event: FilterBar.Kept) -> None:
        """Close the bar and keep what was typed."""
        await self.close_filter_bar()
        self.filter_kept(event.text, event.written_out)

    async def on_filter_bar_left(self) -> None:
        """Close the bar as if it had never been open."""
        await self.close_filter_bar()
        self.filter_left()

    async def close_filter_bar(self) -> None:
        """Take the bar away and give the keys back."""
        bar, self._filter_bar = self._filter_bar, None
        if bar is None:
            return
        before, self._focused_before = self._focused_before, None
        if bar.has_keys and before is not None and before.is_attached:
            self.set_focus(before)  # at once: while this one goes another may be opened
        await bar.remove()
        self.show_footer()

    async def ids_of(self, filter_text: str) -> tuple[str, ...]:
        """Return the ids of all requests that fit, and say how many they are."""
        reply = await ask(self.host, "completion:requests", filter=filter_text, ids_only=True)
        error = refusal(reply)
        if error is not None:
            self.say(f"not marked: {error}", Tone.BAD)
            return ()
        ids = tuple(str(request_id) for request_id in reply.get("ids") or ())
        self.say(marked_in_words(len(ids), int(reply.get("total") or 0)))
        return ids

    def show_footer(self) -> None:
        """Show the bar's keys while it is open."""
        if not self.filtering or self._said is not None or not self.stands:
            super().show_footer()
            return
        hints = key_hints(*_HINTS)
        self.query_one("#footer", Bar).show(Line((Span(" "), *hints.spans)))


class FindsInRequests(Finding, NavigatingScreen):
    """A full screen of other things: what is looked for on it is shown in the list of all."""

    def filter_scope(self) -> str:
        """Return what every filter typed here begins with."""
        return ""

    def sort_scope(self) -> str | None:
        """Return the filter for the rows that are to be ordered; None: no rows of requests."""
        return self.filter_scope()

    def filter_on(self) -> str:
        """Begin with what this screen is about."""
        scope = self.filter_scope()
        return f"{scope} " if scope else ""

    def filter_kept(self, text: str, written_out: str) -> None:  # noqa: ARG002
        """Show what fits in the list of all, the worst first."""
        if text:
            self.go(later.requests_screen(text, WORST_FIRST))

    def action_sort(self) -> None:
        """Choose a column, and show the rows in the list of all, ordered by it."""
        scope = self.sort_scope()
        if scope is None:
            self.say("only rows of requests can be ordered", Tone.WARN)
            return

        def chosen(order: tuple[str, bool] | None) -> None:
            if order is not None:
                self.go(later.requests_screen(scope, order))

        self.app.push_screen(later.request_orders(), chosen)


def marked_in_words(count: int, total: int) -> str:
    """Return what marking all that match has come to."""
    if not count:
        return "nothing fits, nothing is marked"
    if count < total:
        return f"the first {count:,} of {total:,} are marked: more at once is not possible"
    return f"{count:,} marked; * again marks none"
