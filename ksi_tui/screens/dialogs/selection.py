"""A dialog about requests: how far it reaches is chosen, what it reaches is read and shown.

What is shown is read again right before the deed; when it differs, the difference is told
and asked about once more. Which deed that is, and its words, are the subclass's.
"""

from __future__ import annotations

from typing import ClassVar, Generic

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Static

from ksi_tui.screens.dialog import Answer, Choice, Sheet
from ksi_tui.screens.dialogs import stakes
from ksi_tui.screens.dialogs.confirm import Confirm
from ksi_tui.screens.dialogs.hits import Hits, Reach, Scope, read_hits
from ksi_tui.widgets import fit, formats
from ksi_tui.widgets.spans import Line, Span, Tone, line


class SelectionDialog(Confirm[Answer], Generic[Answer]):
    """Asks about one request, a session, the marked ones, or all that match."""

    VERB: ClassVar[str]
    """The deed as the heading and the button say it: `Stop`."""
    DOING: ClassVar[str]
    """The same as a sentence begins: `Stopping`."""
    STATES: ClassVar[tuple[str, ...]]
    """The states in which a request is reached."""

    def __init__(self, reach: Reach) -> None:
        super().__init__()
        self._reach = reach
        self._hits = Hits()
        self._totals: dict[Scope, int] = {}
        self._reading = 0

    def compose_question(self) -> ComposeResult:
        with Horizontal(classes="field"):
            yield Static(self.VERB, classes="label", markup=False)
            yield Choice(id="choice")
        yield Sheet(id="question")

    def on_mount(self) -> None:
        super().on_mount()
        self.set_heading(f"{self.VERB}: reading what it would hit…")
        self.query_one(Choice).offer(self._options(), self._reach.scopes.index(self._reach.first))
        self.label_act("reading…")
        self.start(self._open, name="read-hits")

    async def _open(self) -> None:
        session = Scope.SESSION in self._reach.scopes and self._reach.first is not Scope.SESSION
        if session:
            whole = await read_hits(self.host, self._reach, Scope.SESSION, self.STATES, 0)
            if not isinstance(whole, str):
                self._totals[Scope.SESSION] = whole.total
        if await self.read():
            self._show()

    # --- what would be hit -----------------------------------------------------------

    @property
    def subject(self) -> str:
        """The session, or the request."""
        whose = self._reach.session_id or self._reach.request_id
        return stakes.named(whose) if whose else ""

    @property
    def scope(self) -> Scope:
        """How far it reaches, as chosen."""
        return self._reach.scopes[self.query_one(Choice).index]

    @property
    def hits(self) -> Hits:
        """What it reaches, as last read."""
        return self._hits

    @property
    def reach(self) -> Reach:
        """What there is to choose from."""
        return self._reach

    async def read(self) -> bool:
        """Read what would be hit; False when the engine refused, or another choice was made."""
        self._reading += 1
        mine, scope = self._reading, self.scope
        found = await read_hits(self.host, self._reach, scope, self.STATES, self.rows_room)
        if mine != self._reading:
            return False
        if isinstance(found, str):
            self.show_error(found)
            return False
        self._hits = found
        self._totals[scope] = found.total
        return True

    def _options(self) -> list[str]:
        return [
            stakes.scope_label(each, self._reach, self._totals.get(each), wide=self.wide)
            for each in self._reach.scopes
        ]

    def on_choice_chosen(self) -> None:
        self.ask_again()
        self.start(self._chosen, name="read-hits", group="read", exclusive=True)

    async def _chosen(self) -> None:
        if await self.read():
            self._show()

    # --- the picture -----------------------------------------------------------------

    def _show(self, changed: list[Line] | None = None) -> None:
        many = stakes.many(self._hits.total)
        whose = stakes.scope_name(self.scope, self._reach, self._hits.total, wide=self.wide)
        heading = f"{self.VERB} {many}{whose}?"
        if not self._hits.total:
            heading = f"Nothing to {self.VERB.lower()}{whose}"
        at = formats.clock(self.moment) if self.moment is not None else ""
        if changed:
            self.set_heading("The world changed: read again", f"asked again {at}")
        else:
            self.set_heading(heading, f"as of {at}" if at else "")
        self.query_one(Choice).offer(self._options(), self.query_one(Choice).index)
        self.label_act(
            f"{self.VERB} {many}" if self._hits.total else f"Nothing to {self.VERB.lower()}"
        )
        self.show(*self._lines(changed))

    def _lines(self, changed: list[Line] | None) -> list[Line]:
        lines = [Line(), *(changed or ())]
        if not self._hits.total:
            return [*lines, line(f" {self.nothing()}"), Line()]
        return [*lines, *stakes.table(self._hits), Line(), *self.facts(), Line()]

    def nothing(self) -> str:
        """Say why there is nothing to do."""
        raise NotImplementedError

    def facts(self) -> list[Line]:
        """Return what follows from the deed."""
        raise NotImplementedError

    # --- the deed --------------------------------------------------------------------

    async def act(self) -> None:
        """Read once more, and do it to what is shown; when that differs, ask again."""
        before = self._hits
        if not before.total or not await self.read():
            return
        said = stakes.changes(before, self._hits)
        if said:
            self._show(self._difference(said, before))
            self.set_focus(self.query_one("#keep"))
            return
        await self.carry_out()

    def _difference(self, said: list[str], before: Hits) -> list[Line]:
        room = self.text_width
        now = stakes.counted(self._hits.counts) or "nothing"
        said = [*said, f"{self.DOING} now: {now}. Before: {stakes.counted(before.counts)}."]
        told = [text for sentence in said for text in fit.wrapped(sentence, room)]
        return [*(line(Span(f" {text}", Tone.WARN)) for text in told), Line()]

    async def carry_out(self) -> None:
        """Do it to what was read just now."""
        raise NotImplementedError

    def addressed(self) -> dict[str, object]:
        """Return whom the event names: the session, one request, or many."""
        ids = self._hits.ids
        if self.scope is Scope.SESSION:
            return {"session_id": self._reach.session_id}
        return {"request_id": ids[0]} if len(ids) == 1 else {"request_ids": list(ids)}
