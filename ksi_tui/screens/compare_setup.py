"""Which models get the same request, and how often: the choice before a comparison."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Input, Static

from ksi_tui.screens.comparison import MOST_MODELS, MOST_TIMES, Plan
from ksi_tui.screens.dialog import Act, Box, Choice, Dialog, Sheet
from ksi_tui.screens.draft import Draft
from ksi_tui.screens.footer import key_hints
from ksi_tui.screens.pickers import ModelPicker
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.rows import name_of
from ksi_tui.widgets.spans import Line, Span, Tone, line

TIMES = 3
_MODELS = tuple((f"model-{nth}", f"Model {nth}") for nth in range(1, MOST_MODELS + 1))
_MORE = "one more, or none"
_HISTORY = ("none", "what was said in the session")


class CompareSetup(Dialog[Plan]):
    """Takes two to four models and a number of times. Answers the plan, or None."""

    AUTO_FOCUS = "#model-2 PickInput"

    def __init__(self, draft: Draft) -> None:
        super().__init__()
        self._draft = draft

    def compose(self) -> ComposeResult:
        draft = self._draft
        with Box():
            yield Sheet(id="prompt-line")
            for index, (name, label) in enumerate(_MODELS):
                value = draft.model if index == 0 else ""
                without = "" if index == 0 else _MORE
                yield ModelPicker(value, id=name, label=label, without=without)
            with Horizontal(classes="field"):
                yield Static("Times", classes="label", markup=False)
                yield Input(str(TIMES), id="times", max_length=2)
            with Horizontal(classes="field"):
                yield Static("History", classes="label", markup=False)
                yield Choice(id="history")
            yield Sheet(id="error")
            with Horizontal(id="acts"):
                yield Act("Send them", id="act")
                yield Act("Send nothing", id="keep")
            yield Sheet(id="hints")

    def on_mount(self) -> None:
        super().on_mount()
        self.set_heading("The same request to several models")
        said = self._draft.prompt if self.host.ui.text != "never" else "hidden"
        self.query_one("#prompt-line", Sheet).show(
            line(Span(" Prompt    ", Tone.DIM), clean(said, 200)), Line()
        )
        can_have = bool(self._draft.session) and not self._draft.sent_as_messages
        self.query_one("#history", Choice).offer(_HISTORY if can_have else _HISTORY[:1], 0)
        hints = key_hints(
            ("enter", "send"),
            ("tab", "next"),
            ("up/down", "choose"),
            ("esc", "send nothing"),
        )
        self.query_one("#hints", Sheet).show(Line(), Line((Span(" "), *hints.spans)))

    @on(Input.Submitted)
    @on(Choice.Entered)
    def _enter(self) -> None:
        self._send()

    @on(Act.Pressed)
    def _pressed(self, event: Act.Pressed) -> None:
        if event.act.id == "keep":
            self.action_keep()
        else:
            self._send()

    def _send(self) -> None:
        first, *others = (self.query_one(f"#{name}", ModelPicker) for name, _ in _MODELS)
        models = [first.named, *(picker.value for picker in others)]
        chosen = tuple(dict.fromkeys(model for model in models if model))
        times = self.query_one("#times", Input).value.strip()
        if len(chosen) < 2:
            said = f"only {name_of(chosen[0])} is named" if chosen else "no model is named"
            self.show_error(f"a comparison needs two different models: {said}")
        elif not (times.isascii() and times.isdigit() and 1 <= int(times) <= MOST_TIMES):
            self.show_error(f"times is a whole number from 1 to {MOST_TIMES}")
        else:
            history = self.query_one("#history", Choice).index == 1
            plan = Plan(draft=self._draft, models=chosen, times=int(times), history=history)
            self.dismiss(plan)
