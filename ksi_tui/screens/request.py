"""One request: why it is where it is, what happened to it, what it used, and its answer live."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal

from ksi_tui.actions import Where
from ksi_tui.engine.views import Live, Phase
from ksi_tui.screens.base import ON_UNFINISHED, Target, screen_bindings
from ksi_tui.screens.command_line import command_of
from ksi_tui.screens.copying import Copyable, CopyMenu
from ksi_tui.screens.host import refusal
from ksi_tui.screens.kept import Kept
from ksi_tui.screens.reads import Reads, only_live
from ksi_tui.screens.report import summary, texts, timeline, usage
from ksi_tui.screens.report.record import moment, phase_of
from ksi_tui.screens.report.story import story
from ksi_tui.screens.tabbed import TabbedScreen
from ksi_tui.widgets import request_rows
from ksi_tui.widgets.lines import Bar
from ksi_tui.widgets.pane import TextPane
from ksi_tui.widgets.rows import name_of
from ksi_tui.widgets.spans import Line, Span, Tone, line

STATUS = "completion:request_status"
_RE_READ_S, _ENDED_RE_READ_S = 1.0, 5.0
"""How often an unfinished and an ended request's record is read again; its text is live."""


class RequestScreen(TabbedScreen):
    """Shows one request by its id, for as long as it is looked at."""

    WHERE = Where.REQUEST
    BINDINGS = screen_bindings(Where.REQUEST)
    CSS_PATH = Path(__file__).with_suffix(".tcss")
    PANES = (
        ("timeline", "Timeline"),
        ("answer", "Answer"),
        ("prompt", "Prompt"),
        ("usage", "Usage"),
        ("raw", "Raw"),
    )
    ROWS: ClassVar[Mapping[str, tuple[str, ...]]] = {"middle": ("timeline", "usage")}
    FIRST = "answer"

    def __init__(self, request_id: str) -> None:
        super().__init__()
        self.request_id = request_id
        self._report: dict[str, Any] = {}
        self._sent: dict[str, Any] | None = None
        self._sent_of: object = None
        self._error: str | None = None
        self._live: Live | None = None
        self._read_of: object = None
        self._reads = Reads(self)
        self._hides = False
        self._kept = Kept()

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
        yield TextPane("Raw", id="raw")

    # --- layout ----------------------------------------------------------------------

    def beside(self, name: str) -> bool:
        """Return whether a pane stands among the others; the raw one takes the answer's place."""
        return name != ("answer" if self.chosen == "raw" else "raw")

    def notes(self) -> Mapping[str, str]:
        """Return what tabs say beside their names."""
        tokens = f"{self._live.tokens} tok" if self._live and self._live.tokens else ""
        return {"answer": tokens, "usage": usage.total_cost(self._report)}

    def action_raw(self) -> None:
        """Show the record as JSON, or the answer again."""
        self.go_to("answer" if self.chosen == "raw" else "raw")

    def _pane(self, name: str) -> TextPane:
        return self.query_one(f"#{name}", TextPane)

    # --- reading ---------------------------------------------------------------------

    def read(self) -> None:
        """Read the live view, and the record when it is due."""
        if self.client is None:
            return
        snapshot = self.client.snapshot(only_live(self.request_id))
        self._live, self.at = snapshot.live, snapshot.at
        state = (self._live.phase, self._live.attempt, self._live.provider) if self._live else None
        if state != self._read_of:
            self._read_of = state
            self._reads.again(STATUS)
        fresh = {} if self._sent is not None and self._sent_of == state else {"sent": True}
        every_s = _ENDED_RE_READ_S if self._ended and self._live is None else _RE_READ_S
        take = partial(self._take, state)  # an ended one may go again, so it is read too
        self._reads.ask(STATUS, every_s, take, request_id=self.request_id, **fresh)

    @property
    def _ended(self) -> bool:
        phase = phase_of(self._report, None) if self._report else None
        return phase in (Phase.COMPLETED, Phase.FAILED, Phase.CANCELLED)

    def _take(self, read_of: object, reply: dict[str, Any]) -> None:
        self._error = refusal(reply)
        if self._error is None:
            if "sent" in reply:
                self._sent, self._sent_of = reply["sent"], read_of
            self._report = {key: value for key, value in reply.items() if key != "sent"}
            failed_at = moment(reply.get("finished_at"))
            if reply.get("status") == "failed" and failed_at is not None:
                self.host.looked.at_one(self.request_id, failed_at)

    # --- the picture -----------------------------------------------------------------

    def show_body(self) -> None:
        """Show the record and the live view, that it is being read, or why there is none."""
        if not self._report:
            self._show_none()
            return
        found, live, at = self._report, self._live, self.at
        width = self.size.width
        said = summary.summary(found, live, at, width)
        if self._error is not None:
            said = line(Span(f" ! not read again: {self._error}", Tone.BAD))
        self.query_one("#summary", Bar).show(said)
        self.show_tabs()
        whys, story_pane, used = self._pane("why"), self._pane("timeline"), self._pane("usage")
        whys.set_head("Why", "w chain")
        whys.show(summary.why(found, live, at, whys.text_width))
        story_pane.set_head("Timeline", self._attempt_note())
        story_pane.show(timeline.timeline(found, live, at, story_pane.text_width))
        used.set_head("Usage and call")
        used.show(usage.usage(found, live, self._sent, used.text_width))
        self._show_texts()

    def _show_none(self) -> None:
        said, hint = Span(" ○ reading…", Tone.BUSY), "the record is read from the database"
        if self._error is not None:
            said = Span(f" ! {self._error}", Tone.BAD)
            hint = "esc goes back; i lists all requests, those that ended long ago too"
        self.query_one("#summary", Bar).show(line(said))
        self.show_tabs()
        for name in ("why", *(name for name, _ in self.PANES)):
            self._pane(name).show([line(Span(hint, Tone.DIM))] if name == "why" else [])

    def _show_texts(self) -> None:
        found, live, hidden = self._report, self._live, self.hidden
        prompt, answer, raw = self._pane("prompt"), self._pane("answer"), self._pane("raw")
        made_of = (id(found), id(self._sent), hidden)
        shows = "t show text" if hidden else "t hide text"
        note = texts.prompt_note(self._sent)
        prompt.set_head("Prompt", " · ".join(part for part in (note, "z all", shows) if part))
        width = prompt.text_width
        compose = partial(texts.prompt, found, self._sent, width, hidden)
        prompt.show(self._kept.lines("prompt", (made_of, width), compose))
        text = texts.answer_text(found, live)
        phase = phase_of(found, live)
        title = texts.answer_title(found, live, text, done=phase is Phase.COMPLETED)
        answer.set_head(title, f"{self._follows(phase)}v raw JSON")
        answer.show(self._answer(text, answer.text_width))
        raw.set_head("Raw record", "v answer · t hide text" if not hidden else "v answer")
        if raw.display:
            width = raw.text_width
            record = texts.raw(found, self._sent, hidden)
            compose = partial(texts.raw_lines, record, width)
            raw.show(self._kept.lines("raw", (made_of, width), compose))

    def _answer(self, text: str, width: int) -> list[Line]:
        if self.hidden:
            return [line(Span(self.hidden, Tone.DIM))]
        lines = self._kept.lines("answer", (text, width), partial(texts.answer_lines, text, width))
        under = texts.answer_state(self._report, self._live, text)
        return [*lines, *under] if text else under

    def _follows(self, phase: Phase) -> str:
        if self.frozen:
            return "frozen, f goes on · "
        return "follows · f freeze · " if phase.running else ""

    def _attempt_note(self) -> str:
        made = self._report.get("attempts") or ()
        return f"attempt {len(made)} of {self._report.get('max_attempts')}" if made else ""

    # --- the texts -------------------------------------------------------------------

    @property
    def hidden(self) -> str | None:
        """Why prompt and answer may not be seen, None when they may."""
        if self.host.ui.text == "never":
            return texts.NEVER
        return texts.FOR_NOW if self._hides else None

    def action_hide_text(self) -> None:
        """Hide prompt and answer, or show them; where the settings forbid it say so."""
        if self.host.ui.text == "never":
            self.say('texts stay hidden: ui.text is "never"', Tone.WARN)
            return
        self._hides = not self._hides
        self.show()

    def action_copy(self) -> None:
        """Offer what can be copied."""
        offered = [Copyable(key="i", name="id", text=self.request_id)]
        if self._report:
            text = texts.answer_text(self._report, self._live)
            if self.host.ui.text != "never":
                if text:
                    offered.append(Copyable(key="t", name="text", text=text))
                command = command_of(self._report)
                offered.append(Copyable(key="c", name="command", text=command))
            told = story(self._report, self._live, self.at)
            offered.append(Copyable(key="l", name="timeline in words", text=told))
        if (receipt := self.receipt_here()) is not None:
            name = f"receipt {receipt.id}"
            offered.append(Copyable(key="p", name=name, text=receipt.ticket()))
        self.app.push_screen(CopyMenu(offered), self.copy_chosen)

    # --- what the keys act on --------------------------------------------------------

    def applies(self, action_id: str) -> bool:
        """Return whether an action does something here and now."""
        if action_id in ON_UNFINISHED:
            return bool(self._report) and (self._live is not None or not self._ended)
        if action_id == "retry":
            return request_rows.goes_again(self._report)
        return super().applies(action_id)

    def target(self) -> Target | None:
        """Return this request, once its session is known."""
        session_id = self._report.get("session_id")
        if not session_id:
            return None
        running = self._live is not None and self._live.phase.running
        provider = self._live.provider if self._live and running else None
        return Target(session_id=session_id, request_id=self.request_id, provider=provider)
