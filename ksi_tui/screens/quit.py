"""Quit with work in flight: drain, leave it for next time, or cancel all of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from ksi_tui.client import EngineClient, SnapshotQuery
from ksi_tui.screens.base import Host, ask
from ksi_tui.screens.dialog import Dialog, Sheet
from ksi_tui.widgets.spans import Line, Span, Tone, line

_NOTHING = SnapshotQuery(active_limit=0, queue_limit=0, lock_limit=0, trend_points=1)
_EVERYTHING = SnapshotQuery(active_limit=10**6, queue_limit=10**6, lock_limit=0, trend_points=1)
_DRAIN_S = 24 * 3600.0
_ROUNDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is unfinished: requests at providers, in backoff and queued."""

    running: int
    retrying: int
    queued: int


def in_flight(client: EngineClient | None) -> Work | None:
    """Return what is unfinished, or None when nothing is."""
    if client is None:
        return None
    totals = client.snapshot(_NOTHING).totals
    if not (totals.active or totals.retrying or totals.queued):
        return None
    return Work(running=totals.active, retrying=totals.retrying, queued=totals.queued)


class QuitDialog(Dialog[str]):
    """Asks what becomes of the work. Answers "drain", "leave", "cancel", or None to stay."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d", "answer('drain')", show=False),
        Binding("l", "answer('leave')", show=False),
        Binding("c", "answer('cancel')", show=False),
    ]

    def __init__(self, work: Work) -> None:
        super().__init__()
        self._work = work

    def compose(self) -> ComposeResult:
        with Vertical(id="box"):
            yield Sheet(id="question")

    def on_mount(self) -> None:
        super().on_mount()
        work = self._work
        self.set_heading("Leave with work in flight?")
        waiting = work.queued + work.retrying
        self.query_one("#question", Sheet).show(
            line(
                f"  {work.running} at providers, {work.retrying} in backoff, {work.queued} queued."
            ),
            Line(),
            _way(
                "d", "drain", f"let the {work.running} finish, then leave; {waiting} stay on disk"
            ),
            _way("l", "leave", "leave now; everything goes on when ksi-tui starts next"),
            _way("c", "cancel all", f"stop all {work.running + waiting}; their texts are kept"),
            _way("esc", "stay", ""),
        )

    def action_answer(self, answer: str) -> None:
        """Take one of the ways, unless the key was still on its way here."""
        if self.meant():
            self.dismiss(answer)


def _way(key: str, what: str, follows: str) -> Line:
    return line("  ", Span(f"{key:<4}", Tone.KEY), f" {what:<12}", Span(follows, Tone.DIM))


async def end_work(host: Host, answer: str) -> str | None:
    """Do what was chosen; return why it was not done, or None when the dashboard may leave."""
    if answer == "cancel":
        return await _cancel_all(host)
    grace_s = _DRAIN_S if answer == "drain" else 0.0
    reply = await ask(host, "system:shutdown", grace_s=grace_s)
    return str(reply["error"]) if "error" in reply else None


async def _cancel_all(host: Host) -> str | None:
    for _ in range(_ROUNDS):
        if host.client is None or in_flight(host.client) is None:
            return None
        seen = host.client.snapshot(_EVERYTHING)
        sessions = {view.session_id for view in seen.queues}
        sessions |= {v.session_id for v in seen.active if v.phase.running}
        sessions |= {view.session_id for view in seen.active if view.phase.value == "retrying"}
        for session_id in sorted(sessions):
            await ask(
                host,
                "completion:cancel",
                session_id=session_id,
                by=host.ui.operator,
                reason="dashboard quit: cancel all",
            )
        if not sessions:
            return "nothing more could be cancelled"
    return "new requests kept coming; l leaves them for next time"
