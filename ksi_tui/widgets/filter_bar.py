"""The line in which a filter is typed: completion, errors in place, history, saved filters.

It opens where the eyes are, and below it stands what could be typed or what is wrong, at the
position where it is wrong. It asks nobody: names come through `names`, saved filters through
`book`, and what was typed goes out as messages. What a filter is applied to must not go here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import ClassVar, Protocol

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from ksi_tui.engine.errors import FilterError
from ksi_tui.engine.filter import suggest, wanted
from ksi_tui.widgets import fit
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.lines import Bar
from ksi_tui.widgets.spans import Line, Span, Tone, line
from ksi_tui.widgets.standing import Working

MAX_LENGTH = 1000
_MOST_LINES = 3
_OFFER_LIMIT = 60
_FILTER_SIGN = " / "
_NAME_SIGN = " save as @"
_REMOVE_SIGN = " remove saved @"
_ASKED = ("session", "agent", "model", "provider", "error", "meta")
"""The fields whose names the engine can tell; the others have words of their own."""

Names = Callable[[str, str], Awaitable[Sequence[str]]]
"""Known values of a field that begin with a prefix, likeliest first."""


class Book(Protocol):
    """Saved filters and the history, as far as the bar needs them."""

    @property
    def saved(self) -> Mapping[str, str]:
        """All filters with a name."""
        ...

    @property
    def history(self) -> Sequence[str]:
        """The filters that were kept, the last one last."""
        ...

    def used(self, text: str) -> str | None:
        """Note a filter that was kept; returns what went wrong, or None."""
        ...

    def save(self, name: str, text: str) -> str | None:
        """Keep a filter under a name, an empty one removes it; returns what went wrong."""
        ...

    def written_out(self, text: str) -> str:
        """Return what was typed without `@name`; raises FilterError."""
        ...


class FilterInput(Input):
    """The field; its keys mean the bar's."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "bar('complete')", show=False),
        Binding("shift+tab", "bar('complete_back')", show=False),
        Binding("up", "bar('earlier')", show=False),
        Binding("down", "bar('later')", show=False),
        Binding("escape", "bar('leave')", show=False),
        Binding("ctrl+s", "bar('save')", show=False),
    ]

    class Asked(Message):
        """A key of the bar was pressed."""

        def __init__(self, what: str) -> None:
            super().__init__()
            self.what = what

    def action_bar(self, what: str) -> None:
        """Hand a key on to the bar."""
        self.post_message(self.Asked(what))


class FilterBar(Working, Vertical):
    """One line to type a filter in, and below it what could follow or what is wrong."""

    DEFAULT_CSS = """
    FilterBar { height: auto; width: 1fr; background: $panel; }
    FilterBar Horizontal { height: 1; width: 1fr; }
    FilterBar #sign { width: auto; height: 1; color: $accent; text-style: bold; }
    FilterBar Input { width: 1fr; height: 1; border: none; padding: 0; background: $panel; }
    FilterBar Input:focus { border: none; background: $panel; }
    FilterBar #said { height: 1; }
    """

    class Typed(Message):
        """What stands in the bar is a filter. `text` as typed, `written_out` without `@name`."""

        def __init__(self, text: str, written_out: str) -> None:
            super().__init__()
            self.text = text
            self.written_out = written_out

    class Kept(Typed):
        """Enter: this filter is to stay."""

    class Left(Message):
        """Escape: what was before the bar opened is to come back."""

    def __init__(self, text: str, *, names: Names, book: Book) -> None:
        super().__init__()
        self._first = text
        self._names = names
        self._book = book
        self._known: dict[str, Sequence[str]] = {}
        self._offers: list[str] = []
        self._offer_of: tuple[int, int] | None = None
        self._chosen = -1
        self._completed: str | None = None
        self._back = 0
        self._draft = ""
        self._saving: str | None = None
        self._told: tuple[str, FilterError | Span] | None = None
        self._asked: tuple[str, str] | None = None
        self._asking = False

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Static(Content(_FILTER_SIGN), id="sign")
            yield FilterInput(
                self._first,
                compact=True,
                select_on_focus=False,
                max_length=MAX_LENGTH,
                placeholder="words, status:failed, session:acme*, age>30s, -model:gpt-4o",
            )
        yield Bar(id="said")

    def on_mount(self) -> None:
        """Take the keys, the cursor behind what stands there."""
        self.take_keys()
        self._input.cursor_position = len(self._first)
        self._look()

    def take_keys(self) -> None:
        """Let the keys go here, from this moment on."""
        self.screen.set_focus(self._input)

    @property
    def has_keys(self) -> bool:
        """Whether what is typed goes here."""
        return any(field.has_focus for field in self.query(FilterInput))

    def take_typed(self, letter: str) -> None:
        """Take a letter that was typed before the keys went here."""
        self._input.insert_text_at_cursor(letter)

    @property
    def _input(self) -> FilterInput:
        return self.query_one(FilterInput)

    @property
    def text(self) -> str:
        """What stands in the bar."""
        return self._saving if self._saving is not None else self._input.value

    # --- typing ----------------------------------------------------------------------

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        if self._completed != event.value:
            self._completed, self._chosen = None, -1
        if self._told is not None and self._told[0] != self._input.value:
            self._told = None
        self._look()

    def on_resize(self, _event: events.Resize) -> None:
        self._look()

    def _look(self) -> None:
        """Judge what stands there: offer what could follow, or say what is wrong."""
        if self._saving is not None:
            self._show()
            return
        text = self._input.value
        written_out = self._written_out(text)
        if not isinstance(written_out, FilterError):
            self.post_message(self.Typed(text, written_out))
        if self._completed is None:
            self._offer()
        self._ask_names()
        self._show()

    def _written_out(self, text: str) -> str | FilterError:
        try:
            return self._book.written_out(text)
        except FilterError as error:
            return error

    def _show(self) -> None:
        if self._told is not None:
            told = self._told[1]
            self._say(*(self._error(told) if isinstance(told, FilterError) else [line(told)]))
            return
        if self._saving is not None:
            self._say(self._about_saving())
            return
        found = self._written_out(self._input.value)
        if isinstance(found, FilterError) and not self._offers:
            self._say(*self._error(found))
        else:
            self._say(self._offered())

    def _error(self, fault: FilterError) -> list[Line]:
        """Return the lines of an error: under its position where that fits, else with it."""
        message = clean(fault.message, MAX_LENGTH)
        before = self._input.value[: fault.position]
        at = fit.width_of(line(_FILTER_SIGN)) + fit.width_of(line(before))
        if at + fit.width_of(line(message)) + 3 <= self.size.width:
            return [line(Span(f"{' ' * at}^ {message}", Tone.BAD))]
        text = f"at {fault.position + 1}: {message}"
        rows = fit.wrap(text, max(20, self.size.width - 4))[:_MOST_LINES]
        return [line(Span(f"   {row}", Tone.BAD)) for row in rows]

    def _offered(self) -> Line:
        if not self._offers:
            return line(Span("   every term must hold; - before one leaves it out", Tone.DIM))
        spans = [Span("   tab ", Tone.KEY)]
        for index, offer in enumerate(self._offers):
            tone = Tone.FOCUS if index == self._chosen else Tone.DIM
            spans += [Span(clean(offer, _OFFER_LIMIT), tone), Span("  ")]
        return Line(tuple(spans))

    def _say(self, *lines: Line) -> None:
        said = self.query_one("#said", Bar)
        height = said.styles.inline.height
        if height is None or height.value != len(lines):
            said.styles.height = len(lines)
        said.show(*lines)

    def _tell(self, what: FilterError | Span) -> None:
        """Say what a key has come to, whatever else happens, until something else stands there."""
        self._told = self._input.value, what
        self._show()

    # --- completion ------------------------------------------------------------------

    def _offer(self) -> None:
        text, cursor = self._input.value, self._input.cursor_position
        asked = wanted(text, cursor)
        term = text[asked.start : cursor]
        if term.startswith("@"):
            found = [f"@{name}" for name in self._book.saved if name.startswith(term[1:])]
            self._offers = [offer for offer in found if offer != term]
        elif term:
            self._offers = suggest(text, cursor, self._known)
        else:
            self._offers = []
        self._offer_of = asked.start, asked.end

    def _complete(self, step: int) -> None:
        if not self._offers or self._offer_of is None:
            return
        self._chosen = (self._chosen + step) % len(self._offers) if self._chosen >= 0 else 0
        offer, (start, end) = self._offers[self._chosen], self._offer_of
        text = self._input.value
        self._offer_of = start, start + len(offer)
        self._input.value = text[:start] + offer + text[end:]
        # A single one is settled, and what could follow it is offered; several take turns.
        self._completed = self._input.value if len(self._offers) > 1 else None
        self._input.cursor_position = start + len(offer)

    def _ask_names(self) -> None:
        """Ask for the values of the field that is being typed; one question at a time."""
        asked = wanted(self._input.value, self._input.cursor_position)
        self._asked = asked.field, asked.prefix
        if asked.field.partition(".")[0] in _ASKED and not self._asking:
            self._asking = True
            self.start(self._learn_names, name="filter-names", group="filter-names")

    async def _learn_names(self) -> None:
        try:
            asked = None
            while asked != self._asked and self._asked is not None:
                asked = self._asked
                self._known[asked[0]] = await self._names(*asked)
        finally:
            self._asking = False
        if self._saving is None and self._completed is None:
            self._offer()
            self._show()

    # --- the other keys --------------------------------------------------------------

    @on(FilterInput.Asked)
    def _key(self, event: FilterInput.Asked) -> None:
        event.stop()
        keys: dict[str, Callable[[], None]] = {
            "complete": lambda: self._complete(1),
            "complete_back": lambda: self._complete(-1),
            "earlier": lambda: self._recall(1),
            "later": lambda: self._recall(-1),
            "save": self._begin_saving,
            "leave": self._leave,
        }
        keys[event.what]()

    def _recall(self, step: int) -> None:
        history = self._book.history
        if self._saving is not None or not 0 <= self._back + step <= len(history):
            return
        if self._back == 0:
            self._draft = self._input.value
        self._back += step
        self._input.value = history[-self._back] if self._back else self._draft
        self._input.cursor_position = len(self._input.value)

    def _leave(self) -> None:
        if self._saving is not None:
            self._end_saving()
        else:
            self.post_message(self.Left())

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        if self._saving is not None:
            self._save(event.value)
            return
        text = event.value.strip()
        written_out = self._written_out(text)
        if isinstance(written_out, FilterError):
            self._tell(written_out)
            return
        self._book.used(text)
        self.post_message(self.Kept(text, written_out))

    # --- saving ----------------------------------------------------------------------

    def _begin_saving(self) -> None:
        if self._saving is not None:
            return
        text = self._input.value.strip()
        written_out = self._written_out(text)
        if isinstance(written_out, FilterError):
            self._tell(written_out)
            return
        self._saving, self._told = text, None
        self._relabel(_NAME_SIGN if text else _REMOVE_SIGN)
        self._input.value = ""
        self._look()

    def _about_saving(self) -> Line:
        there = ", ".join(self._book.saved) or "none yet"
        what = f"saves {clean(self._saving or '', _OFFER_LIMIT)}" if self._saving else "removes it"
        return line(Span(f"   enter {what} · saved: {there}", Tone.DIM))

    def _save(self, name: str) -> None:
        text = self._saving or ""
        fault = self._book.save(name.strip(), text)
        if fault is not None:
            self._tell(Span(f"   ! {clean(fault, MAX_LENGTH)}", Tone.BAD))
            return
        self._end_saving(f"@{name.strip()} {'recalls it' if text else 'is removed'}")

    def _end_saving(self, said: str = "") -> None:
        text, self._saving = self._saving or "", None
        self._relabel(_FILTER_SIGN)
        self._input.value = text
        self._told = (text, Span(f"   √ {said}", Tone.OK)) if said else None
        self._input.cursor_position = len(text)
        self._look()

    def _relabel(self, sign: str) -> None:
        self.query_one("#sign", Static).update(Content(sign))
