"""The receipt of a cancel: what became of every request, its upstream, the lock, the session.

It outlives its page: whoever holds it may look at it again. What it does not know when it
is made, `follow` asks the engine for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from ksi_tui.client import Subscription
from ksi_tui.screens.dialogs.hits import Hit
from ksi_tui.screens.dialogs.outcomes import failures, outcomes, steps
from ksi_tui.screens.dialogs.stakes import many, named
from ksi_tui.screens.done import Deed, Done
from ksi_tui.screens.host import Host, ask
from ksi_tui.widgets import fit, formats
from ksi_tui.widgets.clean import clean, clean_block
from ksi_tui.widgets.rows import name_of
from ksi_tui.widgets.spans import Line, Span, Tone, line

UNCONFIRMED_S = 5.0
"""After this many seconds without a word the upstream is called unconfirmed."""
LISTEN_S = 120.0
"""For how long a late word from an upstream is still taken down."""
TEXT_LIMIT = 100_000
_REASON_LIMIT = 300
_LOOK_AT = 12
"""Of how many requests the record is read for the receipt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppedRow:
    """What became of one request.

    `upstream`: a call was open when it was stopped; `closed_ms`: how long its end took, once
    it is confirmed. `saved` in dollars, `saved_tokens` where there is no price: estimates of
    what it would still have used, from its model's average.
    """

    request_id: str
    was: str
    changed: bool
    upstream: bool
    tokens: int = 0
    error: str | None = None
    now: str = "cancelled"
    model: str | None = None
    spent: float = 0.0
    closed_ms: float | None = None
    saved: float | None = None
    saved_tokens: int | None = None
    text: str = ""


def stopped_rows(reply: Mapping[str, Any], seen: Sequence[Hit]) -> tuple[StoppedRow, ...]:
    """Return the rows of a reply, with what was seen of them right before."""
    before = {hit.request_id: hit for hit in seen}
    return tuple(
        StoppedRow(
            request_id=each.request_id,
            was=each.was,
            changed=each.changed,
            error=each.error,
            now="cancelled" if each.changed else each.was,
            upstream=each.changed and (hit.phase.running if hit else each.was == "processing"),
            tokens=hit.tokens if hit else 0,
            model=hit.model if hit else None,
            spent=(hit.spent or 0.0) if hit else 0.0,
        )
        for each in outcomes(reply.get("cancelled") or ())
        for hit in [before.get(each.request_id)]
    )


@dataclass(kw_only=True)
class StopReceipt:
    """A cancel that the engine has on disk. `at` is the engine's time, `began` the app's clock."""

    id: str
    at: float
    by: str
    reason: str | None
    session_id: str | None
    rows: tuple[StoppedRow, ...]
    took_s: float
    began: float
    closed: Subscription
    deed: Deed | None = None
    session_lines: tuple[str, ...] = ()
    accepts: bool | None = None
    late: bool = field(default=False)

    # --- what it is ------------------------------------------------------------------

    @property
    def stopped(self) -> tuple[StoppedRow, ...]:
        """Those that were stopped."""
        return tuple(row for row in self.rows if row.changed)

    @property
    def heading(self) -> str:
        """Its name and how it came out, clean."""
        return f"Receipt {self.id}: {len(self.stopped):,} of {len(self.rows):,} stopped"

    def concerns(self, request_id: str | None, session_id: str | None) -> bool:
        """Whether it is about a request or a session."""
        if session_id is not None and session_id == self.session_id:
            return True
        return request_id is not None and any(row.request_id == request_id for row in self.rows)

    def texts(self) -> list[tuple[str, str]]:
        """Return what had arrived of whom, by request id; clean blocks."""
        return [(row.request_id, row.text) for row in self.rows if row.text]

    def offer_undo(self, done: Done) -> None:
        """Let it be taken back: what was stopped comes back to its place."""
        ids = [row.request_id for row in self.stopped]
        if not ids:
            return
        anew = [row for row in self.stopped if row.was == "processing"]
        back = f"{many(len(ids))} back in place"
        back += f", {many(len(anew))} of them anew from the beginning" if anew else ""
        self.deed = done.note(
            what=f"{many(len(ids))}{self._whose} stopped ({self.id})",
            back=back,
            after=f"{many(len(ids))}{self._whose} back in place",
            steps=steps("completion:retry", ids, in_place=True),
        )

    @property
    def _whose(self) -> str:
        return f" of session {named(self.session_id)}" if self.session_id else ""

    # --- what becomes known later ------------------------------------------------------

    async def follow(self, host: Host) -> None:
        """Ask for what is not known yet, and listen until every upstream has said its end."""
        try:
            await self._look(host)
            await self._ask_session(host)
            await self._ask_averages(host)
            async with asyncio.timeout(LISTEN_S):
                await self._listen()
        except TimeoutError:
            pass  # the rows say that it is unconfirmed
        finally:
            self.closed.end()

    def _update(self, request_id: str, **changes: Any) -> None:
        self.rows = tuple(
            replace(row, **changes) if row.request_id == request_id else row for row in self.rows
        )

    @property
    def _open(self) -> set[str]:
        return {row.request_id for row in self.rows if row.upstream and row.closed_ms is None}

    async def _listen(self) -> None:
        if not self._open:
            return
        async for event in self.closed:
            request_id = str(event.data.get("request_id", ""))
            if request_id in self._open:
                self._update(request_id, closed_ms=float(event.data.get("after_ms", 0.0)))
            if not self._open:
                return

    async def _look(self, host: Host) -> None:
        """Read the records of the first: the text that was kept, and what is written of its end."""
        for row in self.rows[:_LOOK_AT]:
            reply = await ask(host, "completion:request_status", request_id=row.request_id)
            if "code" in reply:
                continue
            calls = [c for each in reply.get("attempts") or () for c in each.get("calls") or ()]
            last = calls[-1] if calls else {}
            text = ""
            if host.ui.text != "never":
                text = str(reply.get("text") or last.get("partial_text") or "")
            kept = int((last.get("usage") or {}).get("output") or 0) if calls else 0
            closed_ms = last.get("upstream_closed_ms") if row.upstream else None
            self._update(
                row.request_id,
                text=clean_block(text, TEXT_LIMIT),
                tokens=kept or row.tokens,
                now=row.now if row.changed else str(reply.get("status") or row.now),
                closed_ms=row.closed_ms if closed_ms is None else float(closed_ms),
                model=row.model or reply.get("model"),
            )

    async def _ask_session(self, host: Host) -> None:
        if self.session_id is None:
            return
        reply = await ask(host, "completion:session_status", session_id=self.session_id)
        if "code" in reply:
            return
        session, name = reply.get("session") or {}, named(self.session_id)
        holder = session.get("lock_holder")
        lock = f"Lock {name} {f'held by {named(holder)}' if holder else 'free'}."
        pause = session.get("paused")
        now = formats.clock(host.client.snapshot().at) if host.client is not None else ""
        said = f"yes ({now})" if not pause else f"yes, but it is paused by {named(pause.get('by'))}"
        self.accepts = True
        self.session_lines = (f"{lock} Session takes new messages: {said}.",)

    async def _ask_averages(self, host: Host) -> None:
        """Estimate what was saved: a model's average request, less what this one had used."""
        models = dict.fromkeys(row.model for row in self.stopped[:_LOOK_AT] if row.model)
        for model in list(models)[:4]:
            reply = await ask(host, "completion:token_usage", model=model, hours=24 * 7)
            usage = reply.get("usage") or {}
            count = int(usage.get("request_count") or 0)
            if not count:
                continue
            priced, cost = not usage.get("unpriced"), usage.get("cost")
            mean = float(cost) / count if priced and cost is not None else None
            tokens = float(usage.get("avg_tokens_per_request") or 0)
            for row in self.stopped[:_LOOK_AT]:
                if row.model == model:
                    self._update(
                        row.request_id,
                        saved=None if mean is None else max(0.0, mean - row.spent),
                        saved_tokens=max(0, round(tokens) - row.tokens),
                    )

    # --- how it reads ------------------------------------------------------------------

    def lines(self, clock_s: float, most: int, width: int) -> list[Line]:
        """Return it as lines; `clock_s` is the app's clock now."""
        self.late = clock_s - self.began >= UNCONFIRMED_S
        head = f" {'REQUEST':<9}{'NOW':<13}{'UPSTREAM CLOSED':<22}{'KEPT':>7}{'SAVED':>10}"
        order = sorted(self.rows, key=lambda row: row.error is None)
        shown = [line(Span(head, Tone.DIM)), *(self._row(row) for row in order[:most])]
        if len(order) > most:
            shown.append(line(Span(f" and {len(order) - most:,} more: {self._sums()}", Tone.DIM)))
        notes = [*self._notes(), *self.session_lines, self._recorded()]
        told = [text for note in notes for text in fit.wrapped(note, width)]
        bad = self._notes()
        tones = [Tone.WARN if any(text in each for each in bad) else Tone.PLAIN for text in told]
        return [
            *shown,
            Line(),
            *(line(Span(f" {text}", tone)) for text, tone in zip(told, tones, strict=True)),
        ]

    def _row(self, row: StoppedRow) -> Line:
        name = fit.pad(named(row.request_id, 8), 8)
        if not row.changed:
            first = row.now in ("completed", "failed", "cancelled")
            state = f"{name_of(row.now)} · {'finished first, ' if first else ''}not stopped"
            tone = Tone.BAD if row.error else Tone.OK if row.now == "completed" else Tone.WARN
            glyph = "√" if row.now == "completed" and not row.error else "!"
            said = row.error or state
            return line(f" {name} ", Span(f"{glyph} {said}", tone))
        waits = row.upstream and row.closed_ms is None and not self.late
        kept = f"{formats.count(row.tokens)} tok" if row.tokens else formats.NOTHING
        return line(
            f" {name} ",
            Span(fit.pad("× cancelling" if waits else "× cancelled", 13), Tone.WARN),
            f"{self._upstream(row):<20}{kept:>9}{self._saved(row):>10}",
        )

    def _upstream(self, row: StoppedRow) -> str:
        if not row.upstream:
            return "was never sent" if not row.tokens else "was not being called"
        if row.closed_ms is not None:
            return f"{row.closed_ms:.0f} ms, confirmed"
        return "unconfirmed" if self.late else "closing…"

    def _saved(self, row: StoppedRow) -> str:
        if row.saved is not None:
            return f"~{formats.money(row.saved)}"
        return f"~{formats.count(row.saved_tokens)} tok" if row.saved_tokens else formats.NOTHING

    def _sums(self) -> str:
        ended = sum(1 for row in self.rows if not row.changed and not row.error)
        failed = sum(1 for row in self.rows if row.error)
        parts = [f"{len(self.stopped):,} stopped"]
        parts += [f"{ended:,} finished first"] if ended else []
        parts += [f"{failed:,} refused"] if failed else []
        return ", ".join(parts)

    def _notes(self) -> list[str]:
        notes = [f"Refused: {text}" for text in failures(outcomes(map(_plain, self.rows)))[:3]]
        if self.late and self._open:
            who = ", ".join(named(each) for each in list(self._open)[:3])
            notes.append(f"{who}: unconfirmed after 5 s: upstream may still bill.")
        return notes

    def _recorded(self) -> str:
        why = f': "{clean(self.reason, _REASON_LIMIT)}"' if self.reason else ""
        return f"Recorded as {self.id} by {name_of(self.by)}{why}."

    def ticket(self) -> str:
        """Return it in plain sentences, for a ticket."""
        moment = datetime.fromtimestamp(self.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        why = f" ({clean(self.reason, _REASON_LIMIT)})" if self.reason else ""
        stopped = self.stopped
        said = [f"{name_of(self.by)} stopped {many(len(stopped), 'message')}{self._whose}{why}."]
        answered = [row for row in stopped if row.upstream]
        if answered:
            kept = sum(row.tokens for row in answered)
            were = "One was" if len(answered) == 1 else f"{len(answered):,} were"
            said.append(f"{were} being answered: {kept:,} tokens kept.")
        ended = [row for row in self.rows if not row.changed and not row.error]
        if ended:
            said.append(f"{many(len(ended), 'message')} had finished first.")
        said += [f"Not stopped: {text}." for text in failures(outcomes(map(_plain, self.rows)))]
        if self.late and self._open:
            said.append(
                f"The provider has not confirmed the end of {many(len(self._open), 'call')}: "
                "it may still bill."
            )
        if self.accepts:
            said.append("The session accepts new messages.")
        return f"{moment}  {' '.join(said)} [{self.id}]"


def _plain(row: StoppedRow) -> dict[str, Any]:
    return {
        "request_id": row.request_id,
        "was": row.was,
        "changed": row.changed,
        "error": row.error,
    }
