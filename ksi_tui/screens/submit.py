"""The form for a prompt: what is sent, to which model, with which history, and who would take it.

Enter sends. An error is shown in place and nothing typed is lost. Looking at what would be
sent never holds up typing: it is asked for a moment after the last key, one at a time.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, Static

from ksi_tui.past_prompts import PastPrompt
from ksi_tui.screens import later
from ksi_tui.screens.comparison import Plan
from ksi_tui.screens.dialog import Act, Box, Choice, Sheet
from ksi_tui.screens.draft import PRIORITIES, Draft
from ksi_tui.screens.fields import Picker, Prompt, plain_text
from ksi_tui.screens.footer import key_hints
from ksi_tui.screens.host import ask, refusal
from ksi_tui.screens.looking import LookingForm, Preview
from ksi_tui.screens.outside import edit_outside
from ksi_tui.screens.pickers import ModelPicker, SessionPicker
from ksi_tui.typed_ahead import HandedTo
from ksi_tui.widgets.spans import Line, Span

log = logging.getLogger(__name__)

STREAM: tuple[tuple[str, bool | None], ...] = (
    ("where it can", None),
    ("yes", True),
    ("no", False),
)
HISTORY = ("what was said in the session", "none")
NARROW_OR_WIDE = [(0, "-narrow"), (124, "-wide")]


class SubmitScreen(HandedTo, LookingForm):
    """Takes a prompt and its settings. Answers the new request's id, a comparison, or None."""

    CSS_PATH: ClassVar[list[str | Path]] = [  # type: ignore[assignment] # as Textual takes it
        Path(__file__).with_name("dialog.tcss"),
        Path(__file__).with_suffix(".tcss"),
    ]
    HORIZONTAL_BREAKPOINTS = NARROW_OR_WIDE
    AUTO_FOCUS = "#prompt"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+o", "look", show=False),
        Binding("ctrl+g", "outside", show=False),
        Binding("ctrl+t", "compare", show=False),
    ]
    TITLE_TEXT: ClassVar[str] = "Submit a prompt"

    def __init__(self, draft: Draft | None = None) -> None:
        super().__init__()
        self._given = draft
        self._draft = Draft()
        self._sending = False
        self._shelf: int | None = None
        self._own = PastPrompt(prompt="")

    def compose(self) -> ComposeResult:
        draft = self._draft = self._given or self.host.draft or Draft()
        with Box():
            with Horizontal(id="columns"):
                with Vertical(id="form"):
                    yield Prompt(plain_text(draft.prompt), id="prompt", tab_behavior="focus")
                    with Horizontal(id="system-field"):
                        yield Static("System", classes="label", markup=False)
                        yield Prompt(plain_text(draft.system), id="system", tab_behavior="focus")
                    yield ModelPicker(draft.model, id="model")
                    yield SessionPicker(draft.session, id="session")
                    with Horizontal(classes="field"):
                        yield Static("Agent", classes="label", markup=False)
                        yield Input(draft.agent, placeholder="you", id="agent", max_length=200)
                    for name in ("priority", "stream", "history"):
                        with Horizontal(classes="field"):
                            yield Static(name.capitalize(), classes="label", markup=False)
                            yield Choice(id=name)
                yield Preview()
            yield Sheet(id="summary")
            yield Sheet(id="error")
            with Horizontal(id="acts"):
                yield Act("Send", id="act")
                yield Act("Side by side", id="compare")
                yield Act("Close the form", id="keep")
            yield Sheet(id="question")

    def on_mount(self) -> None:
        super().on_mount()
        draft = self._draft
        self.set_heading("Edit and send as new" if self._given else self.TITLE_TEXT)
        self.query_one("#priority", Choice).offer(PRIORITIES, PRIORITIES.index(draft.priority))
        streams = [value for _, value in STREAM]
        self.query_one("#stream", Choice).offer(
            [name for name, _ in STREAM], streams.index(draft.stream)
        )
        self.query_one("#history", Choice).offer(HISTORY, 0 if draft.history else 1)
        self.query_one("#history").disabled = draft.sent_as_messages
        prompt = self.query_one("#prompt", Prompt)
        prompt.move_cursor(prompt.document.end)
        hints = key_hints(
            ("enter", "send"),
            ("^j", "line"),
            ("^up", "past"),
            ("^o", "look"),
            ("^g", "edit"),
            ("^t", "compare"),
            ("esc", "close"),
        )
        self.query_one("#question", Sheet).show(Line((Span(" "), *hints.spans)))
        self.start(self._load_past, name="past-prompts", group="past")
        self._look_soon()

    async def _load_past(self) -> None:
        await asyncio.to_thread(self.host.past.load)

    @property
    def typed_in(self) -> bool:
        """Whether the prompt has the keys, as at first."""
        return self.focused is not None and self.focused.id == "prompt"

    def take_typed(self, letter: str) -> None:
        """Put a letter into the prompt."""
        self.query_one("#prompt", Prompt).insert(letter)

    # --- what is written -------------------------------------------------------------

    def written(self) -> Draft:
        """Return what stands in the form."""
        return replace(
            self._draft,
            prompt=self.query_one("#prompt", Prompt).text,
            system=self.query_one("#system", Prompt).text,
            model=self.query_one("#model", Picker).value,
            session=self.query_one("#session", Picker).value,
            agent=self.query_one("#agent", Input).value.strip(),
            priority=PRIORITIES[self.query_one("#priority", Choice).index],
            stream=STREAM[self.query_one("#stream", Choice).index][1],
            history=self.query_one("#history", Choice).index == 0,
        )

    @on(Prompt.Recalled)
    def _recall(self, event: Prompt.Recalled) -> None:
        """Bring back an earlier prompt; past the latest one stands what was being written."""
        kept = self.host.past.kept
        prompt, system = self.query_one("#prompt", Prompt), self.query_one("#system", Prompt)
        at = len(kept) if self._shelf is None else self._shelf
        if at == len(kept):
            self._own = PastPrompt(prompt=prompt.text, system=system.text)
        to = max(0, min(len(kept), at + event.step))
        if to == at:
            return
        self._shelf = to if to < len(kept) else None
        found = kept[to] if to < len(kept) else self._own
        prompt.fill(found.prompt)
        system.fill(found.system)
        prompt.recalls = self._shelf is not None

    def action_outside(self) -> None:
        """Let the text under the cursor, else the prompt, be changed in the user's editor."""
        field = self.focused if isinstance(self.focused, Prompt) else self.query_one(Prompt)
        self.start(
            partial(self._edit_outside, field), name="editor", group="editor", exclusive=True
        )

    async def _edit_outside(self, field: Prompt) -> None:
        edited = await edit_outside(self.app, field.text)
        if edited.text is None:
            self.show_error(edited.said)
        else:
            field.fill(edited.text)

    # --- what would be sent ----------------------------------------------------------

    def action_look(self) -> None:
        """Show what would be sent in place of the form, and back; for narrow terminals."""
        self.toggle_class("looking")
        looking = self.has_class("looking")
        self.set_focus(self.query_one("#preview" if looking else "#prompt"))

    # --- sending ---------------------------------------------------------------------

    @on(Prompt.Sent)
    @on(Input.Submitted)
    @on(Choice.Entered)
    def _enter(self) -> None:
        self._send_once()

    @on(Act.Pressed)
    def _pressed(self, event: Act.Pressed) -> None:
        if event.act.id == "keep":
            self.action_keep()
        elif event.act.id == "compare":
            self.action_compare()
        else:
            self._send_once()

    def _send_once(self) -> None:
        if not self._sending:
            self._sending = True
            self.start(self._send, name="submit")

    async def _send(self) -> None:
        draft = self.written()
        try:
            answer = await self._sent(draft)
            if answer is not None:
                await self._leave_with(answer, draft)
        finally:
            self._sending = self not in self.app.screen_stack  # what was left sends no more

    async def _sent(self, draft: Draft) -> str | None:
        """Send it; returns the request's id, or None where it says what is wrong."""
        if draft.blank:
            self.show_error("the prompt is empty")
            return None
        try:
            reply = await ask(self.host, "completion:async", **draft.request(self.host.ui.operator))
        except ValueError as wrong:
            self.show_error(str(wrong))
            return None
        if (refused := refusal(reply)) is not None:
            self.show_error(refused)
            return None
        return str(reply["request_id"])

    def action_compare(self) -> None:
        """Choose models that get what is written, side by side; the form stays until they do."""
        draft = self.written()
        if draft.blank:
            self.show_error("the prompt is empty")
        else:
            self.app.push_screen(later.compare_setup(draft), self._planned)

    def _planned(self, plan: Plan | None) -> None:
        if plan is not None and not self._sending:
            self._sending = True
            self.start(partial(self._leave_with, plan, plan.draft), name="submit")

    async def _leave_with(self, answer: str | Plan, draft: Draft) -> None:
        await self._remember(draft)
        if self._given is None:
            self.host.draft = None
        self.dismiss(answer)

    async def _remember(self, draft: Draft) -> None:
        past = PastPrompt(prompt=draft.prompt, system=draft.system)
        try:
            await asyncio.to_thread(self.host.past.add, past)
        except OSError as error:
            log.warning("a prompt was not kept", extra={"reason": str(error)})

    def action_keep(self) -> None:
        """Close the form and keep what was typed for the next time."""
        self.host.draft = self.written()
        self.dismiss(None)
