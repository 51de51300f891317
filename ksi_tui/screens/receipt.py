"""The receipt of a cancel: what was stopped, whether the upstream is closed, what was kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from ksi_tui.engine.events import Subscription
from ksi_tui.screens.base import key_hints
from ksi_tui.screens.dialog import Dialog, Sheet
from ksi_tui.widgets import fit, formats
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.rows import name_of
from ksi_tui.widgets.spans import Line, Span, Tone, line

UNCONFIRMED_S = 5.0
"""After this many seconds without a word the upstream is called unconfirmed."""
_MOST_ROWS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppedRow:
    """What became of one request; `upstream`: its stream was open when it was stopped."""

    request_id: str
    was: str
    changed: bool
    upstream: bool
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """A cancel that the engine has on disk. `closed` brings the upstreams' ends."""

    session_id: str
    rows: tuple[StoppedRow, ...]
    took_s: float
    reason: str | None
    by: str
    closed: Subscription


class Receipt(Dialog[None]):
    """Shows a cancel's outcome until it is closed; `y` copies it for a ticket."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "copy", show=False),
        Binding("enter,q", "keep", show=False),
    ]

    def __init__(self, stopped: Stopped) -> None:
        super().__init__()
        self._stopped = stopped
        self._after_ms: dict[str, float] = {}
        self._waiting = True
        self._copied = ""

    def compose(self) -> ComposeResult:
        with Vertical(id="box"):
            yield Sheet(id="question")

    def on_mount(self) -> None:
        super().on_mount()
        changed = sum(row.changed for row in self._stopped.rows)
        self.set_heading(
            f"Receipt: {changed} of {len(self._stopped.rows)} stopped, "
            f"took {self._stopped.took_s:.2f} s"
        )
        self.run_worker(self._watch(), name="upstream-closed")
        self.set_timer(UNCONFIRMED_S, self._give_up)
        self._show()

    def on_unmount(self) -> None:
        self._stopped.closed.end()

    async def _watch(self) -> None:
        open_ones = {row.request_id for row in self._stopped.rows if row.upstream and row.changed}
        async for event in self._stopped.closed:
            request_id = str(event.data.get("request_id", ""))
            if request_id in open_ones:
                self._after_ms[request_id] = float(event.data.get("after_ms", 0.0))
                self._show()
            if open_ones <= self._after_ms.keys():
                break

    def _give_up(self) -> None:
        self._waiting = False
        self._show()

    def _show(self) -> None:
        self.query_one("#question", Sheet).show(*self._lines())

    def _lines(self) -> list[Line]:
        stopped = self._stopped
        head = f"  {'REQUEST':<9}{'NOW':<13}{'UPSTREAM':<46}{'KEPT':>9}"
        lines = [line(Span(head, Tone.DIM))]
        lines += [self._row(row) for row in stopped.rows[:_MOST_ROWS]]
        if len(stopped.rows) > _MOST_ROWS:
            lines.append(line(Span(f"  and {len(stopped.rows) - _MOST_ROWS} more", Tone.DIM)))
        why = f': "{clean(stopped.reason, 120)}"' if stopped.reason else ""
        hints = key_hints(("y", "copy for the ticket"), ("esc", "close"))
        return [
            *lines,
            Line(),
            line(f"  Recorded, by {name_of(stopped.by)}{why}."),
            line(f"  Session {name_of(stopped.session_id)} takes new messages."),
            Line(),
            line(Span(f"  {self._copied}", Tone.DIM))
            if self._copied
            else Line((Span("  "), *hints.spans)),
        ]

    def _row(self, row: StoppedRow) -> Line:
        now = Span("× cancelled", Tone.WARN) if row.changed else Span("√ ended first", Tone.OK)
        kept = f"{formats.count(row.tokens)} tok" if row.tokens else formats.NOTHING
        name = fit.pad(fit.middle(name_of(row.request_id), 8), 8)
        return line(
            f"  {name} ",
            Span(fit.pad(now.text, 13), now.tone),
            f"{self._upstream(row):<46}{kept:>9}",
        )

    def _upstream(self, row: StoppedRow) -> str:
        if not row.changed:
            return f"not stopped: it was {clean(row.was, 20)}"
        if not row.upstream:
            return "was never sent"
        after_ms = self._after_ms.get(row.request_id)
        if after_ms is not None:
            return f"{after_ms:.0f} ms, confirmed"
        return "closing…" if self._waiting else "unconfirmed after 5 s: upstream may still bill"

    def action_copy(self) -> None:
        """Copy the receipt, and say by which way."""
        self.run_worker(self._copy(), name="copy", exclusive=True, group="copy")

    async def _copy(self) -> None:
        text = "\n".join(shown.text.rstrip() for shown in self._lines()[:-2])
        self._copied = await self.host.copy(text)
        self._show()
