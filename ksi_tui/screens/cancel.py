"""Cancel: names what is to be stopped and what it hits, asks, and stops it.

The picture is read again right before stopping; when it differs, the dialog shows the
change and asks once more.
"""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Static

from ksi_tui.engine import events
from ksi_tui.screens.base import Target, refusal
from ksi_tui.screens.dialog import Act, Choice, Confirm, Sheet
from ksi_tui.screens.receipt import Stopped, StoppedRow
from ksi_tui.screens.victims import (
    MOST_ROWS,
    Victim,
    changes,
    frees,
    read_victims,
    victim_line,
)
from ksi_tui.widgets import fit
from ksi_tui.widgets.rows import name_of
from ksi_tui.widgets.spans import Line, Span, Tone, line


class CancelDialog(Confirm[Stopped | str]):
    """Asks what of a session is to be stopped. Answers what was stopped, "elsewhere", or None."""

    SAFE = "Keep running"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("n", "elsewhere", show=False)]

    def __init__(self, target: Target) -> None:
        super().__init__()
        self._target = target
        self._session_id = target.session_id or ""
        self._victims: tuple[Victim, ...] = ()
        self._stopping = False

    def compose_question(self) -> ComposeResult:
        with Horizontal(classes="field"):
            yield Static("Stop", classes="label", markup=False)
            yield Choice(id="choice")
        yield Sheet(id="question")

    def on_mount(self) -> None:
        super().on_mount()
        self.set_heading("Stop: reading what runs")
        self.run_worker(self._open(), name="read-victims")

    async def _open(self) -> None:
        if await self._read():
            whole = self._target.request_id is None
            self.query_one(Choice).offer(self._options(), 1 if whole else 0)
            self._show()

    # --- what would be hit -----------------------------------------------------------

    async def _read(self) -> bool:
        """Read the session's unfinished requests; False when the engine refused."""
        found = await read_victims(self.host, self._session_id)
        if isinstance(found, str):
            self.show_error(found)
            return False
        self._victims = found
        return True

    def _options(self) -> list[str]:
        whole = f"whole session {fit.middle(name_of(self._session_id), 24)}"
        one = fit.middle(name_of(self._target.request_id), 16)
        return [
            f"{one} only" if self._target.request_id else "no single one",
            f"{whole} ({len(self._victims)})",
        ]

    def _chosen(self) -> tuple[Victim, ...]:
        if self._whole:
            return self._victims
        return tuple(v for v in self._victims if v.request_id == self._target.request_id)

    @property
    def _whole(self) -> bool:
        return self._target.request_id is None or self.query_one(Choice).index == 1

    # --- the picture -----------------------------------------------------------------

    def on_choice_chosen(self) -> None:
        self._show()

    def _show(self, changed: str | None = None) -> None:
        chosen = self._chosen()
        many = "1 request" if len(chosen) == 1 else f"{len(chosen)} requests"
        session = fit.middle(name_of(self._session_id), 24)
        heading = f"Stop {many} of {session}?" if chosen else f"Nothing to stop in {session}"
        self.set_heading("The world changed: read again" if changed else heading)
        self.query_one("#act", Act).relabel(f"Stop {many}" if chosen else "Nothing to stop")
        self.query_one("#question", Sheet).show(*self._lines(chosen, changed))

    def _lines(self, chosen: tuple[Victim, ...], changed: str | None) -> list[Line]:
        lines = [Line(), line(Span(f"  {changed}", Tone.WARN)), Line()] if changed else [Line()]
        if not chosen:
            return [*lines, line("  It has finished already: there is nothing to stop."), Line()]
        head = f"  {'REQUEST':<9}{'IS':<14}{'TOKENS':>8}  WHAT HAPPENS"
        lines.append(line(Span(head, Tone.DIM)))
        lines += [victim_line(victim) for victim in chosen[:MOST_ROWS]]
        if len(chosen) > MOST_ROWS:
            lines.append(line(Span(f"  and {len(chosen) - MOST_ROWS} more", Tone.DIM)))
        facts = [
            ("Frees", frees(chosen)),
            ("They see", "completion:cancelled with your reason; the session goes on"),
            ("Later", "r puts a stopped request back at the end of its queue"),
        ]
        if self._target.request_id and any(victim.provider for victim in chosen):
            facts.append(("Milder", "n restarts it elsewhere; nothing is cancelled"))
        facts_lines = [line(Span(f"  {what:<10}", Tone.DIM), text) for what, text in facts]
        return [*lines, Line(), *facts_lines, Line()]

    # --- the deed --------------------------------------------------------------------

    def action_elsewhere(self) -> None:
        """Take the milder way."""
        if self._target.request_id is not None:
            self.dismiss("elsewhere")

    def act(self) -> None:
        """Read once more and stop what is shown."""
        if not self._stopping and self._chosen():
            self._stopping = True
            self.run_worker(self._stop(), name="stop", exclusive=True)

    async def _stop(self) -> None:
        before = {victim.request_id: victim.status for victim in self._chosen()}
        try:
            if not await self._read():
                return
            after = {victim.request_id: victim.status for victim in self._chosen()}
            if before != after:
                self.query_one(Choice).offer(self._options(), self.query_one(Choice).index)
                self._show(changes(before, after))
                self.query_one("#keep").focus()
                return
            await self._send()
        finally:
            self._stopping = False

    async def _send(self) -> None:
        client = self.host.client
        if client is None:
            self.show_error("the engine is not there")
            return
        chosen = self._chosen()
        target = (
            {"session_id": self._session_id}
            if self._whole
            else {"request_id": self._target.request_id}
        )
        closed = client.subscribe(events.UPSTREAM_CLOSED)
        began = self.host.clock()
        operator = self.host.ui.operator
        reason = {"reason": self.reason} if self.reason else {}
        reply = await client.emit("completion:cancel", {**target, **reason, "by": operator})
        error = refusal(reply)
        if error is not None:
            closed.end()
            self.show_error(error)
            return
        tokens = {victim.request_id: victim for victim in chosen}
        stopped = tuple(
            StoppedRow(
                request_id=str(entry["request_id"]),
                was=str(entry.get("was", "")),
                changed=bool(entry.get("changed", True)),
                upstream=bool(v and v.phase.running),
                tokens=v.tokens if v else 0,
            )
            for entry in reply.get("cancelled", ())
            for v in [tokens.get(str(entry["request_id"]))]
        )
        took_s = self.host.clock() - began
        self.dismiss(
            Stopped(
                session_id=self._session_id,
                rows=stopped,
                took_s=took_s,
                reason=self.reason,
                by=operator,
                closed=closed,
            )
        )
