"""Send a request elsewhere: shows who could take it, and lets it go on there under its id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input, Static

from ksi_tui.screens.base import Target
from ksi_tui.screens.dialog import Sheet
from ksi_tui.screens.dialogs.confirm import Confirm
from ksi_tui.screens.dialogs.routes import Candidate, circuit_of, serving
from ksi_tui.screens.dialogs.stakes import named
from ksi_tui.screens.host import ask, refusal
from ksi_tui.widgets import fit, formats
from ksi_tui.widgets.rows import name_of
from ksi_tui.widgets.spans import Line, Span, Tone, line

_OCCUPIES = ("slot", "circuit", "cooldown", "rate", "running", "no_token")
"""Kinds of causes whose target is a provider."""


class Picker(Sheet, can_focus=True):
    """One of several lines; up and down choose."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "step(-1)", show=False),
        Binding("down,j", "step(1)", show=False),
        Binding("left", "app.focus_previous", show=False),
        Binding("right", "app.focus_next", show=False),
    ]

    class Stepped(Message):
        """Another line is to be chosen: that many on."""

        def __init__(self, step: int) -> None:
            super().__init__()
            self.step = step

    def action_step(self, step: int) -> None:
        self.post_message(self.Stepped(step))

    def on_focus(self, _event: events.Focus) -> None:
        self.redraw()

    def on_blur(self, _event: events.Blur) -> None:
        self.redraw()


class ElsewhereDialog(Confirm[str]):
    """Asks where a request goes on, as `model` where one is proposed. Answers what happened."""

    SAFE = "Leave it there"
    CRUMB = "elsewhere"
    HINTS = (
        ("tab", "next"),
        ("up/down", "choose"),
        ("enter", "press"),
        ("esc", "leave it"),
    )

    def __init__(self, target: Target, model: str = "") -> None:
        super().__init__()
        self._proposed = model
        self._request_id = target.request_id or ""
        self._provider = target.provider
        self._model = ""
        self._asked = ""
        self._running = False
        self._avoids: frozenset[str] = frozenset()
        self._all: Mapping[str, Any] = {}
        self._prices: dict[str, str] = {}
        self._substitutes: Mapping[str, Any] = {}
        self._chosen: str | None = None

    def compose_question(self) -> ComposeResult:
        yield Picker(id="candidates")
        yield Sheet(id="question")
        with Horizontal(classes="field"):
            yield Static("Model", classes="label", markup=False)
            yield Static("[", classes="edge", markup=False)
            yield Input(
                self._proposed,
                id="model",
                max_length=200,
                placeholder="as before; or another one's name",
            )
            yield Static("]", classes="edge", markup=False)

    def on_mount(self) -> None:
        super().on_mount()
        self.set_heading(f"Send {named(self._request_id)} elsewhere: reading…")
        self.label_act("reading…")
        self.start(self._open, name="read-candidates")

    @property
    def subject(self) -> str:
        """The request."""
        return named(self._request_id)

    # --- what there is ----------------------------------------------------------------

    async def _open(self) -> None:
        report = await ask(self.host, "completion:request_status", request_id=self._request_id)
        status = await ask(self.host, "completion:provider_status")
        error = refusal(report) or refusal(status)
        if error is not None:
            self.show_error(error)
            return
        self._all = status.get("providers") or {}
        self._asked = str(report.get("requested_model") or "")
        self._model = self._asked or str(report.get("model") or "")
        self._avoids = frozenset(str(each) for each in report.get("avoid") or ())
        self._running = report.get("status") == "processing"
        self._provider = self._provider or _waits_for(report)
        await self._read_models()
        self._choose_next()
        self._show()

    async def _read_models(self) -> None:
        reply = await ask(self.host, "completion:models")
        self._substitutes = reply.get("substitutes") or {}
        for each in reply.get("models") or ():
            prices = each.get("input_price"), each.get("output_price")
            if None not in prices:
                shown = f"{formats.money(prices[0])}, {formats.money(prices[1])}"
                self._prices[str(each.get("model"))] = shown

    @property
    def _wanted(self) -> str:
        """The model that is asked for now."""
        return self.query_one("#model", Input).value.strip() or self._model

    @property
    def _candidates(self) -> list[Candidate]:
        found = self._serving()
        here = {self._provider} if self._wanted == self._model else set()
        return [c for c in found if c.name not in here and c.name not in self._avoids]

    def _serving(self) -> list[Candidate]:
        return serving(self._wanted, self._all, self.moment, self._substitutes)

    def _choose_next(self) -> None:
        """Choose the one that would be next: the first usable, else the first."""
        found = self._candidates
        usable = [c.name for c in found if c.usable]
        names = [c.name for c in found]
        if self._chosen not in names:
            self._chosen = next(iter(usable or names), None)

    def on_picker_stepped(self, event: Picker.Stepped) -> None:
        names = [c.name for c in self._candidates]
        if self._chosen in names:
            place = names.index(self._chosen) + event.step
            self._chosen = names[max(0, min(place, len(names) - 1))]
            self.ask_again()
            self._show()

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.input.id == "model" and self._all:
            self._choose_next()
            self._show()

    # --- the picture ------------------------------------------------------------------

    def _show(self) -> None:
        name, found = named(self._request_id), self._candidates
        at = formats.clock(self.moment) if self.moment is not None else ""
        self.set_heading(f"Send {name} elsewhere?", f"as of {at}" if at else "")
        where = named(self._chosen, 20) if self._chosen else "nobody"
        self.label_act(f"Send it to {where}" if self._chosen else "Nobody to send it to")
        self.query_one(Picker).show(*self._table(found))
        self.query_one("#question", Sheet).show(Line(), *self._facts(found), Line())

    def _table(self, found: Sequence[Candidate]) -> list[Line]:
        head = f"     {'PROVIDER':<14}{'CIRCUIT':<18}{'SLOTS':<15}$/M IN, OUT"
        lines = [line(Span(head, Tone.DIM))]
        for one in found:
            price = self._prices.get(one.model, formats.NOTHING)
            circuit, tone = circuit_of(one)
            mark = "(•)" if one.name == self._chosen else "( )"
            name = fit.pad(named(one.name, 13), 14)
            lines.append(
                line(
                    f" {mark} ",
                    name,
                    Span(fit.pad(circuit, 18), tone),
                    f"{one.slots:<15}{price}",
                    cursor=one.name == self._chosen and self.query_one(Picker).has_focus,
                )
            )
        if not found:
            said = f" nobody else serves {name_of(self._wanted)}; another model's name may help"
            lines.append(line(Span(said, Tone.WARN)))
        return lines

    def _facts(self, found: Sequence[Candidate]) -> list[Line]:
        chosen = next((c for c in found if c.name == self._chosen), None)
        facts = [("From", self._from())]
        if self._running:
            facts.append(("Stops", "its call; what arrived is booked as waste, not as a failure"))
        if chosen is not None and not chosen.usable:
            circuit, _ = circuit_of(chosen)
            facts.append(("Then", f"it waits: {named(chosen.name)} {circuit}, {chosen.slots}"))
        if chosen is not None and chosen.model != self._model:
            facts.append(("Answers", f"{name_of(chosen.model)}, not {name_of(self._model)}"))
        facts.append(("Keeps", "its id, its place and its attempts; the answer begins anew"))
        sees = "the answer anew, from its first word" if self._running else "their answer, later"
        facts.append(("They see", sees))
        facts.append(("Undo", "cannot be taken back; n sends it on"))
        return [shown for what, text in facts for shown in self.fact(what, text)]

    def _from(self) -> str:
        where = named(self._provider) if self._provider else "nobody yet"
        return f"{where}, asked for {name_of(self._asked or self._model)}"

    # --- the deed ---------------------------------------------------------------------

    async def act(self) -> None:
        """Send it there: away from where it is and from whoever would come before."""
        if self._chosen is None:
            self.show_error("nobody else serves that model")
            return
        model = self._wanted if self._wanted != self._model else None
        avoid = self._avoided()
        if not avoid and model is None:
            self.dismiss(f"{named(self._request_id)} goes to {named(self._chosen)} anyway")
            return
        how = ({"avoid": avoid} if avoid else {}) | ({"model": model} if model else {})
        reply = await ask(
            self.host, "completion:retry", request_id=self._request_id, **how, **self.signed
        )
        error = refusal(reply)
        if error is not None:
            self.show_error(error)
            return
        away = f"leaves {named(self._provider)}" if self._provider else "goes on"
        self.dismiss(f"{named(self._request_id)} {away}: next attempt at {named(self._chosen)}")

    def _avoided(self) -> list[str]:
        names = [c.name for c in self._serving()]
        before = names[: names.index(self._chosen)] if self._chosen in names else []
        here = (
            [self._provider] if self._provider in names and self._provider != self._chosen else []
        )
        return list(dict.fromkeys([*here, *before]))


def _waits_for(report: Mapping[str, Any]) -> str | None:
    """Return the provider that a request is at or waits for, or None."""
    cause = report.get("cause") or {}
    if cause.get("kind") in _OCCUPIES and cause.get("target"):
        return str(cause["target"])
    return (
        str(report["provider"])
        if report.get("status") == "processing" and report.get("provider")
        else None
    )
