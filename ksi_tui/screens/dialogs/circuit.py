"""Force a circuit open or closed for a time, or let it go; says what traffic moves where."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Static

from ksi_tui.screens.dialog import Choice, Sheet
from ksi_tui.screens.dialogs import moment
from ksi_tui.screens.dialogs.confirm import Confirm
from ksi_tui.screens.dialogs.routes import moves
from ksi_tui.screens.dialogs.stakes import named
from ksi_tui.screens.done import Step
from ksi_tui.screens.host import ask, refusal
from ksi_tui.widgets import formats
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.rows import name_of
from ksi_tui.widgets.spans import Line, Tone

STATES = ("open", "closed", "let go")
TIMES = (("5 min", 300.0), ("30 min", 1800.0), ("2 h", 7200.0), ("until let go", None))


class CircuitDialog(Confirm[str]):
    """Asks for the state and for how long. Answers what happened, or None."""

    SAFE = "Leave the circuit"
    CRUMB = "force circuit"

    def __init__(self, provider: str) -> None:
        super().__init__()
        self._provider = provider
        self._all: Mapping[str, Any] = {}
        self._substitutes: Mapping[str, Any] = {}

    def compose_question(self) -> ComposeResult:
        for label, name in (("Hold it", "state"), ("For", "time")):
            with Horizontal(classes="field"):
                yield Static(label, classes="label", markup=False)
                yield Choice(id=name)
        yield Sheet(id="question")

    def on_mount(self) -> None:
        super().on_mount()
        self.set_heading(f"Force the circuit of {named(self._provider)}: reading…")
        self.query_one("#state", Choice).offer(STATES, 0)
        self.query_one("#time", Choice).offer([label for label, _ in TIMES], 1)
        self.label_act("reading…")
        self.start(self._open, name="read-circuit")

    async def _open(self) -> None:
        if await self._read():
            self.query_one("#state", Choice).offer(STATES, 2 if self._forced else 0)
            self._show()

    async def _read(self) -> bool:
        reply = await ask(self.host, "completion:provider_status")
        error = refusal(reply)
        found = reply.get("providers") or {}
        if error is None and self._provider not in found:
            error = f"there is no provider {self._provider}"
        if error is not None:
            self.show_error(error)
            return False
        self._all = found
        self._substitutes = (await ask(self.host, "completion:models")).get("substitutes") or {}
        return True

    @property
    def subject(self) -> str:
        """The provider."""
        return named(self._provider)

    # --- what is chosen --------------------------------------------------------------

    @property
    def _own(self) -> Mapping[str, Any]:
        return self._all.get(self._provider) or {}

    @property
    def _breaker(self) -> Mapping[str, Any]:
        return self._own.get("circuit_breaker") or {}

    @property
    def _forced(self) -> str | None:
        return self._breaker.get("forced")

    @property
    def _state(self) -> str:
        return STATES[self.query_one("#state", Choice).index]

    @property
    def _for_s(self) -> float | None:
        return TIMES[self.query_one("#time", Choice).index][1]

    def on_choice_chosen(self) -> None:
        self.ask_again()
        if self._all:
            self._show()

    # --- the picture -----------------------------------------------------------------

    def _show(self) -> None:
        name, state = named(self._provider), self._state
        at = formats.clock(self.moment) if self.moment is not None else ""
        note = f"as of {at}" if at else ""
        if state == "let go":
            self.set_heading(f"Let the circuit of {name} go?", note)
            self.label_act("Let it go")
        else:
            self.set_heading(f"Force the circuit of {name} {state}?", note)
            self.label_act(f"Hold it {state} {self._span}")
        facts = [("Now", self._now(), Tone.PLAIN), *self._follows(state)]
        rows = [shown for what, text, tone in facts for shown in self.fact(what, text, tone)]
        self.show(Line(), *rows, Line())

    @property
    def _span(self) -> str:
        label = TIMES[self.query_one("#time", Choice).index][0]
        return label if self._for_s is None else f"for {label}"

    def _now(self) -> str:
        breaker = self._breaker
        reason = f": {clean(str(breaker['reason']), 120)}" if breaker.get("reason") else ""
        if self._forced:
            until = breaker.get("forced_until")
            ends = f"until {moment.clock_of(until)}" if until else "until it is let go"
            return f"forced {self._forced} by {name_of(breaker.get('forced_by'))}, {ends}{reason}"
        return f"{name_of(breaker.get('state'))}, by itself{reason}"

    def _follows(self, state: str) -> list[tuple[str, str, Tone]]:
        if state == "let go":
            text = "closed: it lets calls through and opens by itself when they fail"
            if not self._forced:
                text = "nobody holds it; an open one closes, and opens again when calls fail"
            return [("Then", text, Tone.PLAIN)]
        undo = ("Undo", f"u within 10 min: {self._before()}", Tone.PLAIN)
        if state == "closed":
            text = "every call is let through, whatever fails; nothing opens it meanwhile"
            return [("Then", text, Tone.WARN), undo]
        flight = (self._own.get("stats") or {}).get("in_flight") or 0
        stays = f"{flight} in flight go on, no new call" if flight else "no new call"
        after = "a probe after that" if self._for_s is not None else "nothing ends it by itself"
        found = moves(self._provider, self._all, self.moment, self._substitutes)
        routes = [("Moves", text, tone) for text, tone in found]
        return [("Then", f"{stays}; {after}", Tone.PLAIN), *routes, undo]

    def _before(self) -> str:
        if self._forced:
            return f"forced {self._forced} again, for what is left of that"
        return "let go: closed, and free to decide"

    # --- the deed --------------------------------------------------------------------

    async def act(self) -> None:
        """Force it, or let it go, and remember how it was."""
        if not self._all or not await self._read():
            return
        state, back = self._state, self._way_back()
        reply = await self._send(state)
        error = refusal(reply)
        if error is not None:
            self.show_error(error)
            return
        name = named(self._provider)
        words = "let go" if state == "let go" else f"forced {state} {self._span}"
        if state != "let go" or self._forced:
            before = self._before()
            self.host.done.note(
                what=f"circuit of {name} {words}",
                back=f"circuit of {name}: {before}",
                after=f"circuit of {name}: {before}",
                steps=[back],
            )
        self.dismiss(f"circuit of {name} {words}; u takes that back")

    async def _send(self, state: str) -> dict[str, Any]:
        data: dict[str, Any] = {"provider": self._provider, **self.signed}
        if state == "let go":
            return await ask(self.host, "provider:reset", **data, keep_statistics=True)
        if self._for_s is not None:
            data["for_s"] = self._for_s
        return await ask(self.host, f"provider:{'open' if state == 'open' else 'close'}", **data)

    def _way_back(self) -> Step:
        """Return the event that brings the present state back."""
        if not self._forced:
            return ("provider:reset", {"provider": self._provider, "keep_statistics": True})
        left_s = moment.left_s(self._breaker.get("forced_until"), self.moment)
        held = {} if left_s is None else {"for_s": max(1.0, left_s)}
        event = "provider:open" if self._forced == "open" else "provider:close"
        return (event, {"provider": self._provider, **held})
