"""The receipt of a retry of several: which go again, which don't, and why not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

from ksi_tui.screens.dialogs.outcomes import Outcome, failures, steps
from ksi_tui.screens.dialogs.stakes import counted, many, named
from ksi_tui.screens.done import Deed, Done
from ksi_tui.widgets import fit
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.rows import name_of
from ksi_tui.widgets.spans import Line, Span, Tone, line

_REASON_LIMIT = 300


@dataclass(kw_only=True)
class RetryReceipt:
    """A retry that the engine has on disk. `at` is the engine's time."""

    id: str
    at: float
    by: str
    reason: str | None
    session_id: str | None
    rows: tuple[Outcome, ...]
    took_s: float
    deed: Deed | None = None

    @property
    def again(self) -> tuple[Outcome, ...]:
        """Those that go again."""
        return tuple(row for row in self.rows if row.changed and row.error is None)

    @property
    def heading(self) -> str:
        """Its name and how it came out, clean."""
        return f"Receipt {self.id}: {len(self.again):,} of {len(self.rows):,} go again"

    def concerns(self, request_id: str | None, session_id: str | None) -> bool:
        """Whether it is about a request or a session."""
        if session_id is not None and session_id == self.session_id:
            return True
        return request_id is not None and any(row.request_id == request_id for row in self.rows)

    def texts(self) -> list[tuple[str, str]]:
        """Return no texts: what goes again begins anew."""
        return []

    def offer_undo(self, done: Done) -> None:
        """Let it be taken back: what had ended and goes again is stopped."""
        self.deed = note_retry(done, self.again, self.id)

    def lines(self, clock_s: float, most: int, width: int) -> list[Line]:
        """Return it as lines."""
        del clock_s  # nothing in it grows old
        order = sorted(self.rows, key=lambda row: row.error is None)
        shown = [line(Span(f" {'REQUEST':<9}{'WAS':<13}NOW", Tone.DIM)), *map(_row, order[:most])]
        if len(order) > most:
            shown.append(line(Span(f" and {len(order) - most:,} more: {self._sums()}", Tone.DIM)))
        said = [f"Refused: {text}" for text in failures(self.rows)[:3]]
        why = f': "{clean(self.reason, _REASON_LIMIT)}"' if self.reason else ""
        said.append(f"Recorded by {name_of(self.by)}{why}.")
        told = [text for each in said for text in fit.wrapped(each, width)]
        return [*shown, Line(), *(line(f" {text}") for text in told)]

    def _sums(self) -> str:
        was = counted(Counter(row.was for row in self.again))
        refused = sum(1 for row in self.rows if row.error)
        return f"{was or 'none'} go again" + (f", {refused:,} refused" if refused else "")

    def ticket(self) -> str:
        """Return it in plain sentences, for a ticket."""
        moment = datetime.fromtimestamp(self.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        why = f" ({clean(self.reason, _REASON_LIMIT)})" if self.reason else ""
        whose = f" of session {named(self.session_id)}" if self.session_id else ""
        said = [f"{name_of(self.by)} let {many(len(self.again), 'message')}{whose} go again{why}."]
        said += [f"Refused: {text}." for text in failures(self.rows)]
        return f"{moment}  {' '.join(said)} [{self.id}]"


def note_retry(done: Done, again: tuple[Outcome, ...], name: str = "") -> Deed | None:
    """Keep a retry that can be taken back: by stopping what had ended. None when nothing had.

    One in backoff that goes now cannot be sent back into its backoff.
    """
    ids = [row.request_id for row in again if row.was in ("failed", "cancelled")]
    if not ids:
        return None
    which = named(ids[0]) if len(ids) == 1 else many(len(ids))
    return done.note(
        what=f"{which} tried again" + (f" ({name})" if name else ""),
        back=f"{which} stopped; it then reads cancelled, and what it spent stays spent"
        if len(ids) == 1
        else f"{which} stopped; they then read cancelled, and what they spent stays spent",
        after=f"{which} stopped again",
        steps=steps("completion:cancel", ids),
    )


def _row(row: Outcome) -> Line:
    name = fit.pad(named(row.request_id, 8), 8)
    was = fit.pad(clean(row.was or "–", 12), 13)
    if row.error:
        return line(f" {name} {was}", Span(f"! {row.error}", Tone.BAD))
    now = Span("· goes again", Tone.OK) if row.changed else Span("as it was", Tone.DIM)
    return line(f" {name} {was}", now)
