"""One request: why it is where it is, what happened to it, what it used, and its answer live."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal

from ksi_tui.actions import Where
from ksi_tui.client import SnapshotQuery
from ksi_tui.engine.views import Live, Phase
from ksi_tui.screens import report
from ksi_tui.screens.base import Target, ask, refusal, screen_bindings
from ksi_tui.screens.layouts import Layout
from ksi_tui.screens.sub import SubScreen
from ksi_tui.widgets import header
from ksi_tui.widgets.lines import Bar
from ksi_tui.widgets.pane import TextPane
from ksi_tui.widgets.rows import name_of
from ksi_tui.widgets.spans import Span, Tone, line

TABS = ("timeline", "answer", "prompt", "usage")
_RE_READ_S = 1.0
"""How often an unfinished request's record is read again, in seconds; its text is live."""


class RequestScreen(SubScreen):
    """Shows one request by its id, for as long as it is looked at."""

    WHERE = Where.REQUEST
    BINDINGS = screen_bindings(Where.REQUEST)
    CSS_PATH = Path(__file__).with_suffix(".tcss")

    def __init__(self, request_id: str) -> None:
        super().__init__()
        self.request_id = request_id
        self._report: dict[str, Any] = {}
        self._error: str | None = None
        self._live: Live | None = None
        self._phase: Phase | None = None
        self._read_at = float("-inf")
        self._reading = False
        self._chosen = 1

    @property
    def crumb(self) -> str:
        """The session, where it has a name of its own, and the request."""
        own, session = name_of(self.request_id), self._report.get("session_id")
        return own if not session or name_of(session) == own else f"{name_of(session)} > {own}"

    def compose_body(self) -> ComposeResult:
        yield Bar(id="summary")
        yield Bar(id="tabs")
        yield TextPane("Why", id="why")
        with Horizontal(id="middle"):
            yield TextPane("Timeline", id="timeline")
            yield TextPane("Usage and call", id="usage")
        yield TextPane("Prompt", id="prompt")
        yield TextPane("Answer", id="answer", follow=True)

    def on_mount(self) -> None:
        super().on_mount()
        self._pane(TABS[0] if self._tabs else "answer").focus()

    # --- layout ----------------------------------------------------------------------

    @property
    def _tabs(self) -> bool:
        return self.fits is not Layout.PANES

    def place(self) -> None:
        """Show every pane, or the chosen one alone."""
        chosen = TABS[self._chosen - 1]
        for name in TABS:
            self._pane(name).display = not self._tabs or name == chosen
        self.query_one("#middle").display = not self._tabs or chosen in ("timeline", "usage")

    def _pane(self, name: str) -> TextPane:
        return self.query_one(f"#{name}", TextPane)

    def action_pane(self, number: int) -> None:
        """Go to a tab or pane by its number."""
        if number > len(TABS):
            return
        self._chosen = number
        self.place()
        self._pane(TABS[number - 1]).focus()
        self.call_after_refresh(self.show)

    def action_step_pane(self, step: int) -> None:
        """Go to the next pane or the one before."""
        self.action_pane((self._chosen - 1 + step) % len(TABS) + 1)

    @on(events.Click, "#tabs")
    def _tab_clicked(self, event: events.Click) -> None:
        number = header.tab_at(self._tabs_line(), event.x - 1)
        if number is not None:
            self.action_pane(number)

    # --- the picture -----------------------------------------------------------------

    def read(self) -> None:
        """Read the live view, and the record when it is due."""
        if self.client is None:
            return
        query = SnapshotQuery(
            active_limit=0, queue_limit=0, lock_limit=0, trend_points=1, request_id=self.request_id
        )
        snapshot = self.client.snapshot(query)
        self._live, self.at = snapshot.live, snapshot.at
        phase = self._live.phase if self._live else None
        due = self.host.clock() - self._read_at >= _RE_READ_S  # an ended one may go again
        if (due or phase is not self._phase) and not self._reading:
            self._phase = phase
            self._reading = True
            self.run_worker(self._read_record(), name="request-status", group="read")

    async def _read_record(self) -> None:
        try:
            reply = await ask(self.host, "completion:request_status", request_id=self.request_id)
        finally:
            self._reading = False
            self._read_at = self.host.clock()
        self._error = refusal(reply)
        if self._error is None:
            self._report = reply
        self.show()

    def show_body(self) -> None:
        """Show the record and the live view, or why there is none."""
        if self._error is not None and not self._report:
            said = line(Span(f" ! {self._error}", Tone.BAD))
            self.query_one("#summary", Bar).show(said)
        else:
            self._show_report(self.size.width)

    def _show_report(self, width: int) -> None:
        found, live = self._report, self._live
        texts = self.host.ui.text != "never"
        self.query_one("#summary", Bar).show(report.summary(found, live, width))
        self.query_one("#tabs", Bar).show(self._tabs_line())
        whys = self._pane("why")
        whys.set_head("Why")
        whys.show(report.why(found, live, whys.text_width))
        timeline, spent = self._pane("timeline"), found.get("attempts") or ()
        of = f"attempt {len(spent)} of {found.get('max_attempts')}" if spent else ""
        timeline.set_head("Timeline", of)
        timeline.show(report.timeline(found))
        usage = self._pane("usage")
        usage.show(report.usage(found, live))
        prompt = self._pane("prompt")
        prompt.show(report.prompt(found, prompt.text_width, texts) if found else [])
        answer = self._pane("answer")
        answer.set_head(*self._answer_head())
        answer.show(report.answer(found, live, answer.text_width, texts))

    def _answer_head(self) -> tuple[str, str]:
        text = report.answer_text(self._report, self._live)
        phase = report.phase_of(self._report, self._live)
        word = "Answer" if phase is Phase.COMPLETED else "Answer so far"
        tokens = f"{self._live.tokens:,} tokens, " if self._live and self._live.tokens else ""
        note = "frozen, f goes on" if self.frozen else "follows" if phase.running else ""
        return f"{word}  {tokens}{len(text):,} characters", note

    def _tabs_line(self) -> Any:
        tokens = f"{self._live.tokens} tok" if self._live else ""
        return header.numbered_tabs(
            [("Timeline", ""), ("Answer", tokens), ("Prompt", ""), ("Usage", "")], self._chosen
        )

    # --- what the keys act on --------------------------------------------------------

    def target(self) -> Target | None:
        """Return this request, once its session is known."""
        session_id = self._report.get("session_id")
        if not session_id:
            return None
        running = self._live is not None and self._live.phase.running
        provider = self._live.provider if self._live and running else None
        return Target(session_id=session_id, request_id=self.request_id, provider=provider)

    def action_copy(self) -> None:
        """Copy the answer so far; without one the id."""
        text = report.answer_text(self._report, self._live)
        if text and self.host.ui.text != "never":
            self.copy_out(text, "the answer")
        else:
            self.copy_out(self.request_id, "the id")
