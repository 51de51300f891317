"""One session: its requests, live and ended, its lock, transcript, people, tokens and cost."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal

from ksi_tui.actions import Where
from ksi_tui.engine.filter.terms import quoted
from ksi_tui.engine.views import Live
from ksi_tui.screens import later
from ksi_tui.screens.base import ON_UNFINISHED, Target, screen_bindings
from ksi_tui.screens.copying import Copyable, CopyMenu
from ksi_tui.screens.deeds import AT_PROVIDER
from ksi_tui.screens.host import refusal
from ksi_tui.screens.kept import Kept
from ksi_tui.screens.reads import Reads, only_live
from ksi_tui.screens.report import session as told
from ksi_tui.screens.report.journal import happenings
from ksi_tui.screens.report.texts import NEVER
from ksi_tui.screens.session_rows import SessionRows
from ksi_tui.screens.tabbed import TabbedScreen
from ksi_tui.widgets import request_rows
from ksi_tui.widgets.lines import Bar
from ksi_tui.widgets.pane import TextPane
from ksi_tui.widgets.rows import name_of
from ksi_tui.widgets.spans import Span, Tone, line
from ksi_tui.widgets.table import LiveTable

STATUS = "completion:session_status"
_STATUS_S, _HISTORY_S, _SUMS_S, _JOURNAL_S = 1.0, 10.0, 5.0, 2.0
"""How often each is read again, in seconds; a change in the session's state is read at once."""


class SessionScreen(TabbedScreen):
    """Shows one session by its id."""

    WHERE = Where.SESSION
    BINDINGS = screen_bindings(Where.SESSION)
    CSS_PATH = Path(__file__).with_suffix(".tcss")
    PANES = (
        ("requests", "Requests"),
        ("transcript", "Transcript"),
        ("timeline", "Timeline"),
        ("people", "Lock"),
        ("spent", "Cost"),
    )
    ROWS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "middle": ("transcript", "people"),
        "low": ("timeline", "spent"),
    }
    FIRST = "requests"

    def __init__(self, session_id: str) -> None:
        super().__init__()
        self.session_id = session_id
        self._reply: dict[str, Any] = {}
        self._history: dict[str, Any] | None = None
        self._history_of: object = None
        self._history_at = float("-inf")
        self._usage: dict[str, Any] | None = None
        self._journal: dict[str, Any] | None = None
        self._error: str | None = None
        self._live: Live | None = None
        self._reads = Reads(self)
        self._kept = Kept()

    @property
    def crumb(self) -> str:
        """The session's id."""
        return name_of(self.session_id)

    def compose_body(self) -> ComposeResult:
        yield Bar(id="summary")
        yield Bar(id="tabs")
        yield SessionRows(id="requests", clock=self.host.clock)
        with Horizontal(id="middle"):
            yield TextPane("2 Transcript", id="transcript", follow=True)
            yield TextPane("4 Lock and people", id="people")
        with Horizontal(id="low"):
            yield TextPane("3 Timeline", id="timeline")
            yield TextPane("5 Tokens and cost", id="spent")

    @property
    def _table(self) -> SessionRows:
        return self.query_one("#requests", SessionRows)

    def _pane(self, name: str) -> TextPane:
        return self.query_one(f"#{name}", TextPane)

    # --- reading ---------------------------------------------------------------------

    def read(self) -> None:
        """Take the running request's live view, and ask the store for what is due."""
        if self.client is None:
            return
        running = (self._reply.get("session") or {}).get("active_request")
        snapshot = self.client.snapshot(only_live(running))
        self._live, self.at = snapshot.live, snapshot.at
        named = {"session_id": self.session_id}
        turns = (self._reply.get("session") or {}).get("turn_count")
        old = self.host.clock() - self._history_at >= _HISTORY_S
        fresh = {"history": True} if turns != self._history_of or old else {}
        usage, journal = partial(setattr, self, "_usage"), partial(setattr, self, "_journal")
        self._reads.ask(STATUS, _STATUS_S, self._take, **named, **fresh)
        self._reads.ask("completion:token_usage", _SUMS_S, usage, **named)
        self._reads.ask("system:journal", _JOURNAL_S, journal, **named, limit=200)

    def _take(self, reply: dict[str, Any]) -> None:
        self._error = refusal(reply)
        if self._error is not None:
            return
        if "history" in reply:
            self._history, self._history_at = reply, self.host.clock()
            self._history_of = (reply.get("session") or {}).get("turn_count")
        self._reply = reply

    # --- the picture -----------------------------------------------------------------

    def notes(self) -> Mapping[str, str]:
        """Return what tabs say beside their names."""
        session = self._reply.get("session") or {}
        holder = name_of(session.get("lock_holder")) if session.get("lock_holder") else ""
        return {"requests": str(len(self._reply.get("completions") or ())), "people": holder}

    def show_body(self) -> None:
        """Show the session, that it is being read, or that there is none."""
        self.show_tabs()
        summary = self.query_one("#summary", Bar)
        if self._error is not None:
            summary.show(line(Span(f" ! {self._error}", Tone.BAD)))
        elif not self._reply:
            summary.show(line(Span(" ○ reading…", Tone.BUSY)))
        elif not self._reply.get("exists") and not self._reply.get("completions"):
            summary.show(line(Span(f" ! no session {name_of(self.session_id)} is known", Tone.BAD)))
        else:
            summary.show(told.summary(self._reply, self.at, self.size.width))
        table = self._table
        table.fill(self._reply, self._live, self.at)
        self._show_rest()
        row = table.under_cursor if self.chosen == "requests" else None
        self.show_hidden(told.hidden(row, table.columns_shown) if row else "")

    def _show_rest(self) -> None:
        hidden = NEVER if self.host.ui.text == "never" else None
        transcript, timeline = self._pane("transcript"), self._pane("timeline")
        people, spent = self._pane("people"), self._pane("spent")
        width = transcript.text_width
        compose = partial(told.transcript, self._history, width, hidden)
        transcript.set_head("2 Transcript", told.transcript_note(self._history))
        transcript.show(self._kept.lines("transcript", (id(self._history), width), compose))
        width = timeline.text_width
        compose = partial(happenings, self._journal, width)
        timeline.set_head("3 Timeline", "newest first")
        timeline.show(self._kept.lines("timeline", (id(self._journal), width), compose))
        people.set_head("4 Lock and people")
        people.show(told.people(self._reply, self.at, people.text_width) if self._reply else [])
        spent.set_head("5 Tokens and cost")
        spent.show(told.spent(self._usage))

    # --- rows ------------------------------------------------------------------------

    def action_sort(self) -> None:
        """Order the rows the other way round, then by the next column."""
        self.say(f"ordered by {self._table.next_order()}")
        self.show()

    @on(LiveTable.HeadClicked)
    def _head_clicked(self, event: LiveTable.HeadClicked) -> None:
        self._table.order_by(event.name)
        self.show()

    def action_mark_all(self) -> None:
        """Mark every row, or none."""
        self._table.mark_all()
        self.show()

    def marked(self) -> tuple[str, ...]:
        """Return the ids of the marked requests."""
        return self._table.marked

    @on(LiveTable.Opened)
    def _opened(self, event: LiveTable.Opened) -> None:
        self.open_request(event.key)

    @on(LiveTable.CursorMoved)
    def _cursor_moved(self) -> None:
        self.show()

    def action_filter(self) -> None:
        """Open the list of all requests with this session as its filter, to be narrowed there."""
        self.go(later.requests_screen(f"session:{quoted(self.session_id)}"))

    def action_open(self) -> None:
        """Open the request under the cursor."""
        key = self._table.cursor_key
        if key is None:
            self.say("nothing to open: no request of this session is kept", Tone.WARN)
        elif self.focused is not self._table:
            self.say("enter opens a row of Requests: 1 goes there", Tone.WARN)
        else:
            self.open_request(key)

    # --- what the keys act on --------------------------------------------------------

    def target(self) -> Target | None:
        """Return the request under the cursor, and elsewhere than on the rows the session."""
        chosen = self._table.under_cursor
        if chosen is None or self.chosen != "requests":
            return Target(session_id=self.session_id) if self._reply.get("exists") else None
        mine = self._live is not None and self._live.request_id == chosen["request_id"]
        return Target(
            session_id=self.session_id,
            request_id=str(chosen["request_id"]),
            provider=self._live.provider if mine and self._live else None,
        )

    def applies(self, action_id: str) -> bool:
        """Return whether an action does something here and now."""
        rows, session = self.chosen == "requests", self._reply.get("session") or {}
        row = self._table.under_cursor if rows else None
        if action_id in ("open", "mark", "mark_all", "sort"):
            return row is not None
        if action_id == "force_lock":
            return bool(session.get("lock_holder"))
        if action_id in ("probe", "force_circuit"):
            return row is not None and (row.get("cause") or {}).get("kind") in AT_PROVIDER
        if row is not None and not self.marked() and action_id in (*ON_UNFINISHED, "retry"):
            fits = request_rows.goes_again if action_id == "retry" else request_rows.unfinished
            return fits(row)
        return super().applies(action_id)

    def action_copy(self) -> None:
        """Offer what can be copied."""
        offered = [Copyable(key="i", name="session id", text=self.session_id)]
        if key := self._table.cursor_key:
            offered.append(Copyable(key="r", name="request id", text=key))
        turns = ((self._history or {}).get("history") or {}).get("turns") or ()
        if turns and self.host.ui.text != "never":
            text = "\n\n".join(f"{each.get('role')}: {each.get('text')}" for each in turns)
            offered.append(Copyable(key="t", name="transcript", text=text))
        timeline = "\n".join(each.text.rstrip() for each in happenings(self._journal, 200))
        offered.append(Copyable(key="l", name="timeline", text=timeline))
        if (receipt := self.receipt_here()) is not None:
            name = f"receipt {receipt.id}"
            offered.append(Copyable(key="p", name=name, text=receipt.ticket()))
        self.app.push_screen(CopyMenu(offered), self.copy_chosen)
