"""Quit with work in flight: drain, leave it for next time, or cancel all of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from ksi_tui.screens.dialog import Box, Dialog, Sheet
from ksi_tui.screens.ending import Work, in_flight
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.spans import Line, Span, Tone, line

_READ_S = 0.5
_NAMED = 3


class QuitDialog(Dialog[str]):
    """Asks what becomes of the work. Answers "drain", "leave", "cancel", or None to stay.

    Its numbers are read anew twice a second, so that one decides on what is the case.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d", "answer('drain')", show=False),
        Binding("l", "answer('leave')", show=False),
        Binding("c", "answer('cancel')", show=False),
    ]

    def __init__(self, work: Work) -> None:
        super().__init__()
        self._work: Work | None = work

    def compose(self) -> ComposeResult:
        with Box():
            yield Sheet(id="question")

    def on_mount(self) -> None:
        super().on_mount()
        self.set_interval(_READ_S, self._read, name="work-in-flight")
        self._show()

    def _read(self) -> None:
        work = in_flight(self.host.client)
        if work != self._work:
            self._work = work
            self._show()

    def _show(self) -> None:
        if self._work is None:
            self.set_heading("Nothing is in flight any more")
            self.query_one("#question", Sheet).show(
                _way("l", "leave", "everything has ended"), _way("esc", "stay", "")
            )
            return
        work = self._work
        self.set_heading("Leave with work in flight?")
        waiting = work.queued + work.retrying
        self.query_one("#question", Sheet).show(
            line(
                f"  {work.running} at providers, {work.retrying} in backoff, {work.queued} queued."
            ),
            *_seen_by(work.others),
            Line(),
            _way(
                "d", "drain", f"let the {work.running} finish, then leave; {waiting} stay on disk"
            ),
            _way("l", "leave", "leave now; all of it goes on at the next start"),
            *self._stopping(work.running + waiting),
            _way("esc", "stay", ""),
        )

    def _stopping(self, count: int) -> list[Line]:
        """Return the way that changes requests, where this dashboard may."""
        if self.host.ui.read_only:
            return []
        return [_way("c", "cancel all", f"stop all {count}; their texts are kept")]

    def action_answer(self, answer: str) -> None:
        """Take one of the ways, unless it is not offered or the key was still on its way here."""
        if answer == "cancel" and self.host.ui.read_only:
            return
        if self.meant():
            self.dismiss(answer)


def _seen_by(others: Sequence[str]) -> list[Line]:
    """Return who is attached, and sees this engine end."""
    if not others:
        return []
    named = ", ".join(clean(name, 20) or "somebody" for name in others[:_NAMED])
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    return [line(Span(f"  Attached, and cut off by leaving: {named}{more}", Tone.WARN))]


def _way(key: str, what: str, follows: str) -> Line:
    return line("  ", Span(f"{key:<4}", Tone.KEY), f" {what:<12}", Span(follows, Tone.DIM))
