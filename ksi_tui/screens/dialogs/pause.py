"""Pause, or let go on: a session, a provider or everything; says how many it holds."""

from __future__ import annotations

from dataclasses import dataclass

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Static

from ksi_tui.client import Snapshot, SnapshotQuery
from ksi_tui.engine.views import PauseView
from ksi_tui.screens.base import Target
from ksi_tui.screens.dialog import Choice, Sheet
from ksi_tui.screens.dialogs.confirm import Confirm
from ksi_tui.screens.dialogs.stakes import many, named
from ksi_tui.screens.host import ask, refusal
from ksi_tui.widgets import formats
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.rows import name_of
from ksi_tui.widgets.spans import Line, line

_PAUSES = SnapshotQuery(
    active_limit=0, queue_limit=0, lock_limit=0, pause_limit=1000, trend_points=1
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A scope that can be paused: `scope` and `id` as events name them."""

    scope: str
    id: str | None

    @property
    def name(self) -> str:
        """The scope in words, clean."""
        return "everything" if self.id is None else f"{self.scope} {named(self.id)}"

    @property
    def event(self) -> dict[str, str]:
        """It as an event's data."""
        return {"scope": self.scope} | ({} if self.id is None else {"id": self.id})


def scopes_of(target: Target | None) -> list[Held]:
    """Return what may be paused from a target: its session, its provider, everything."""
    found = []
    if target is not None and target.session_id is not None:
        found.append(Held(scope="session", id=target.session_id))
    if target is not None and target.provider is not None:
        found.append(Held(scope="provider", id=target.provider))
    return [*found, Held(scope="engine", id=None)]


class PauseDialog(Confirm[str]):
    """Asks how far a pause goes, or whether it ends. Answers what happened, or None."""

    CRUMB = "pause"

    def __init__(self, target: Target | None) -> None:
        super().__init__()
        self._scopes = scopes_of(target)
        self._snapshot: Snapshot | None = None
        self._queued: int | None = None

    def compose_question(self) -> ComposeResult:
        with Horizontal(classes="field"):
            yield Static("Pause", classes="label", markup=False)
            yield Choice(id="choice")
        yield Sheet(id="question")

    def on_mount(self) -> None:
        super().on_mount()
        self._look()
        paused = [i for i, held in enumerate(self._scopes) if self._pause_of(held)]
        self.query_one(Choice).offer([s.name for s in self._scopes], paused[0] if paused else 0)
        self._show()
        self.start(self._count, name="count-queued")

    async def _count(self) -> None:
        """Read how many of the session wait."""
        session = next((held.id for held in self._scopes if held.scope == "session"), None)
        if session is None:
            return
        reply = await ask(self.host, "completion:session_status", session_id=session)
        if refusal(reply) is None:
            self._queued = int((reply.get("queue") or {}).get("queue_size") or 0)
            self._show()

    def _look(self) -> None:
        if self.host.client is not None:
            self._snapshot = self.host.client.snapshot(_PAUSES)

    def on_choice_chosen(self) -> None:
        self.ask_again()
        self._look()
        self._show()

    # --- the picture -----------------------------------------------------------------

    @property
    def _held(self) -> Held:
        return self._scopes[self.query_one(Choice).index]

    def _pause_of(self, held: Held) -> PauseView | None:
        pauses = self._snapshot.pauses if self._snapshot else ()
        return next((p for p in pauses if (p.scope, p.id) == (held.scope, held.id)), None)

    def _show(self) -> None:
        held = self._held
        pause = self._pause_of(held)
        at = formats.clock(self._snapshot.at) if self._snapshot else ""
        verb = "Let go on" if pause else "Pause"
        self.set_heading(f"{verb}: {held.name}?", f"as of {at}" if at else "")
        self.label_act(f"Resume {held.name}" if pause else f"Pause {held.name}")
        facts = self._resuming(pause) if pause else self._pausing(held)
        rows = [shown for what, text in facts for shown in self.fact(what, text)]
        self.show(Line(), *rows, *self._wider(held), Line())

    def _resuming(self, pause: PauseView) -> list[tuple[str, str]]:
        why = f": {clean(pause.reason, 200)}" if pause.reason else ""
        held = "nobody can tell" if pause.waiting is None else many(pause.waiting)
        return [
            ("Paused", f"{formats.age(pause.since_s)} ago by {name_of(pause.by)}{why}"),
            ("Holds", held),
            ("Then", "what it holds goes on in its order, as slots come free"),
        ]

    def _pausing(self, held: Held) -> list[tuple[str, str]]:
        return [
            ("Holds", self._would_hold(held)),
            ("Runs on", f"what has begun{self._in_flight(held)}; new requests are taken, and wait"),
            ("Clocks", "deadlines stand still while it is paused"),
            ("Undo", "u within 10 min, or p again: it goes on"),
        ]

    def _would_hold(self, held: Held) -> str:
        snapshot = self._snapshot
        if snapshot is None:
            return formats.NOTHING
        if held.scope == "session":
            return "reading…" if self._queued is None else f"{many(self._queued)} that wait"
        if held.scope == "engine":
            totals = snapshot.totals
            return f"{many(totals.queued)} that wait, {totals.retrying:,} in backoff"
        return f"what only {named(held.id)} serves; the rest goes to others"

    def _in_flight(self, held: Held) -> str:
        """Return how many calls of a provider run, in words."""
        providers = self._snapshot.providers if self._snapshot else ()
        view = next((p for p in providers if p.name == held.id), None)
        return f" ({many(view.in_flight, 'call')})" if view is not None else ""

    def _wider(self, held: Held) -> list[Line]:
        """Return which other scope of these is paused too: ending one is not enough then."""
        others = [s for s in self._scopes if s != held and self._pause_of(s)]
        return [line(f" {other.name} is paused as well") for other in others]

    # --- the deed --------------------------------------------------------------------

    async def act(self) -> None:
        """Pause or resume, as shown."""
        held, pause = self._held, self._pause_of(self._held)
        event = "queue:resume" if pause else "queue:pause"
        reply = await ask(self.host, event, **held.event, **self.signed)
        error = refusal(reply)
        if error is not None:
            self.show_error(error)
        elif not reply.get("changed", True):
            self.dismiss(f"{held.name} was {'going on' if pause else 'paused'} already")
        else:
            self._note(held, pause)
            done = "goes on" if pause else "is paused"
            self.dismiss(f"{held.name} {done}; u takes that back")

    def _note(self, held: Held, pause: PauseView | None) -> None:
        if pause is None:
            self.host.done.note(
                what=f"{held.name} paused",
                back=f"{held.name} goes on",
                after=f"{held.name} goes on",
                steps=[("queue:resume", held.event)],
            )
            return
        reason = {"reason": pause.reason} if pause.reason else {}
        self.host.done.note(
            what=f"{held.name} let go on",
            back=f"{held.name} is paused again, now by {name_of(self.host.ui.operator)}",
            after=f"{held.name} is paused again",
            steps=[("queue:pause", {**held.event, **reason})],
        )
