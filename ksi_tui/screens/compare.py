"""Several models answer the same request side by side; showing the screen sends it.

Each run is a real request in a session of its own. What differs, and what they took, is
`comparison`'s to say.
"""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal

from ksi_tui.actions import Where
from ksi_tui.screens import comparison
from ksi_tui.screens.base import Target, screen_bindings
from ksi_tui.screens.comparison import Marked, Plan, Run
from ksi_tui.screens.dialogs.outcomes import steps
from ksi_tui.screens.dialogs.stakes import many
from ksi_tui.screens.layouts import Layout
from ksi_tui.screens.runs import Runs
from ksi_tui.screens.sub import SubScreen
from ksi_tui.widgets import formats, header
from ksi_tui.widgets.lines import Bar
from ksi_tui.widgets.pane import TextPane
from ksi_tui.widgets.rows import name_of
from ksi_tui.widgets.spans import Span, Tone, line


class CompareScreen(SubScreen):
    """The answers of a plan's models, run by run, with their difference and a row a model."""

    WHERE = Where.COMPARE
    BINDINGS = screen_bindings(Where.COMPARE)
    CSS_PATH = Path(__file__).with_suffix(".tcss")

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._plan = plan
        self._runs = Runs(plan, self.host)
        self._number = 1
        self._column = 0
        self._differs = False
        self._pieces: list[Marked] | None = None
        self._pieces_of: tuple[str, str] | None = None

    def compose_body(self) -> ComposeResult:
        yield Bar(id="state")
        yield TextPane("Models", id="models")
        yield Bar(id="tabs")
        with Horizontal(id="columns"):
            for index in range(len(self._plan.models)):
                yield TextPane(id=f"answer-{index}", follow=True)
        yield TextPane("What differs", id="difference")

    def on_mount(self) -> None:
        self.query_one("#models").styles.height = len(self._plan.models) + 3
        super().on_mount()
        self.set_focus(self._pane())
        self.start(self._send, name="send-side-by-side", group="send")

    async def _send(self) -> None:
        await self._runs.send()
        self.show()

    def place(self) -> None:
        """Show all columns, the chosen one alone, or the difference."""
        tabs = self.fits is not Layout.PANES
        self.query_one("#columns").display = not self._differs
        self.query_one("#difference").display = self._differs
        for index in range(len(self._plan.models)):
            self._pane(index).display = not tabs or index == self._column

    def _pane(self, index: int | None = None) -> TextPane:
        at = self._column if index is None else index
        return self.query_one(f"#answer-{at}", TextPane)

    # --- the picture -----------------------------------------------------------------

    def read(self) -> None:
        """Look at some of those that run; read the records when they are due."""
        if self._runs.look():
            self.start(self._read_records, name="records", group="read")
        self.at = self._runs.at or self.at

    async def _read_records(self) -> None:
        await self._runs.read()
        self.show()

    def _run(self, column: int | None = None) -> Run:
        """Return the run of a column that is shown now."""
        return self._runs.of(self._number, self._column if column is None else column)

    def show_body(self) -> None:
        """Show the summary and the answers of this run, or what differs in them."""
        runs = self._runs
        over = sum(run.over for run in runs.all)
        parts = [
            f" run {self._number} of {self._plan.times}",
            f"{over} of {len(runs.all)} over",
            "with the session's history" if self._plan.history else "no history",
        ]
        self.query_one("#state", Bar).show(
            line(Span(f" ! {runs.error}", Tone.BAD))
            if runs.error
            else line(" · ".join(parts) if runs.sent else " sending…")
        )
        models = self.query_one("#models", TextPane)
        models.set_head("Models", "median, least–most of the completed runs")
        models.show(comparison.summary(runs.all, self._plan.models, models.text_width))
        names = [(name_of(model), "") for model in self._plan.models]
        tabs = header.numbered_tabs(names, self._column + 1)
        self.query_one("#tabs", Bar).show(tabs)
        shown = self.host.ui.text != "never"
        for index in range(len(self._plan.models)):
            pane, run = self._pane(index), self._run(index)
            pane.set_head(*comparison.head(run))
            pane.show(comparison.answer(run, pane.text_width, shown=shown))
        if self._differs:
            self._show_difference()

    def _show_difference(self) -> None:
        pane = self.query_one("#difference", TextPane)
        one, other = self._run(0), self._run(self._column or 1)
        title = f"[-{name_of(one.model)}-]  {{+{name_of(other.model)}+}}"
        if self.host.ui.text == "never":
            pane.set_head(title)
            pane.show([line(Span("texts are hidden", Tone.DIM))])
        elif not (one.over and other.over):
            pane.set_head(title, "waits for both answers")
            pane.show([line(Span("one of them is still being written", Tone.DIM))])
        elif self._pieces_of != (one.text, other.text):
            self._pieces_of, self._pieces = (one.text, other.text), None
            pane.show([line(Span("comparing…", Tone.DIM))])
            work = partial(self._find_difference, one.text, other.text)
            self.start(work, name="difference", group="difference", exclusive=True)
        elif self._pieces is not None:
            share = formats.percent(comparison.alike(self._pieces))
            pane.set_head(title, f"{share} of the words in both")
            pane.show(comparison.difference_lines(self._pieces, pane.text_width))

    async def _find_difference(self, one: str, other: str) -> None:
        self._pieces = await asyncio.to_thread(comparison.difference, one, other)
        self.show()

    # --- keys ------------------------------------------------------------------------

    def target(self) -> Target | None:
        """Return the request of the chosen column."""
        run = self._run()
        if run.request_id is None:
            return None
        return Target(session_id=run.request_id, request_id=run.request_id)

    def applies(self, action_id: str) -> bool:
        """Cancel applies while something runs, another run where there is one."""
        if action_id == "open":
            return self.target() is not None
        if action_id in ("next_run", "previous_run"):
            return self._plan.times > 1
        if action_id == "cancel":
            return bool(self._runs.unfinished)
        return super().applies(action_id)

    def action_step_pane(self, step: int) -> None:
        """Go to the next model's answer."""
        self._choose((self._column + step) % len(self._plan.models))

    def _choose(self, column: int) -> None:
        self._column = column
        self.place()
        self.set_focus(self.query_one("#difference") if self._differs else self._pane())
        self.call_after_refresh(self.show)

    @on(events.DescendantFocus)
    def _focused(self) -> None:
        name = (self.focused.id if self.focused is not None else None) or ""
        if name.startswith("answer-"):
            self._column = int(name.removeprefix("answer-"))

    @on(events.Click, "#tabs")
    def _tab_clicked(self, event: events.Click) -> None:
        names = [(name_of(model), "") for model in self._plan.models]
        number = header.tab_at(header.numbered_tabs(names, self._column + 1), event.x)
        if number is not None:
            self._choose(number - 1)

    def action_step_run(self, step: int) -> None:
        """Show the next run of every model; what is written to its end from its beginning."""
        if self._plan.times == 1:
            self.say("there is one run only: each model was asked once", Tone.WARN)
            return
        self._number = (self._number - 1 + step) % self._plan.times + 1
        for index in range(len(self._plan.models)):
            if self._run(index).over:
                self._pane(index).scroll_line(0)
        self.show()

    def action_difference(self) -> None:
        """Show what differs in two answers, or the answers again."""
        self._differs = not self._differs
        self._choose(self._column)

    def action_cancel(self) -> None:
        """Stop all that is not over yet."""
        self.start(self._cancel_all, name="cancel-all", group="deeds")

    async def _cancel_all(self) -> None:
        stopped, error = await self._runs.cancel()
        if stopped:
            self.host.done.note(
                what=f"{many(len(stopped))} of a comparison stopped",
                back=f"{many(len(stopped))} back in place, anew from the beginning",
                after=f"{many(len(stopped))} of a comparison back in place",
                steps=steps("completion:retry", stopped, in_place=True),
            )
        if error is not None:
            self.say(f"not all were stopped: {error}", Tone.BAD)
        elif stopped:
            self.say(f"{len(stopped)} stopped; what had arrived is kept; u takes that back")
        else:
            self.say("nothing to stop: every run is over", Tone.WARN)

    def _tell(self, answer: str | None) -> None:
        super()._tell(answer)
        self._runs.look_again()

    def action_copy(self) -> None:
        """Copy the chosen answer; without one its request's id."""
        run = self._run()
        if run.text and self.host.ui.text != "never":
            self.copy_out(run.text, f"run {run.number} of {name_of(run.model)}")
        elif run.request_id is not None:
            self.copy_out(run.request_id, "the id")
        else:
            self.say("there is nothing to copy yet", Tone.WARN)
