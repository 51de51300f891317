"""The form for a prompt. Enter sends; an error is shown in place and nothing typed is lost."""

from __future__ import annotations

from typing import Any

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Input, Static, TextArea

from ksi_tui.screens.base import ask, key_hints, refusal
from ksi_tui.screens.dialog import Act, Choice, Dialog, Sheet
from ksi_tui.widgets.spans import Line, Span

PRIORITIES = ("critical", "high", "normal", "low", "background")
_STREAM: tuple[tuple[str, bool | None], ...] = (
    ("where it can", None),
    ("yes", True),
    ("no", False),
)
_FIELDS = (
    ("model", "Model", "the default model"),
    ("session", "Session", "a session of its own"),
    ("agent", "Agent", "you"),
)


class Prompt(TextArea):
    """A text of several lines in which enter sends; ctrl+j and shift+enter begin a line."""

    class Sent(Message):
        """Enter was pressed."""

    def on_key(self, event: events.Key) -> None:
        """Take enter and its relatives before the editor does."""
        if event.key not in ("enter", "ctrl+j", "shift+enter"):
            return
        event.stop()
        event.prevent_default()
        if event.key == "enter":
            self.post_message(self.Sent())
        else:
            self.insert("\n")


class SubmitScreen(Dialog[str]):
    """Takes a prompt and its settings. Answers the new request's id, or None."""

    AUTO_FOCUS = "#prompt"

    def __init__(self) -> None:
        super().__init__()
        self._sending = False

    def compose(self) -> ComposeResult:
        draft = self.host.draft
        with Vertical(id="box"):
            yield Prompt(draft.get("prompt", ""), id="prompt", tab_behavior="focus")
            for key, label, without in _FIELDS:
                with Horizontal(classes="field"):
                    yield Static(label, classes="label", markup=False)
                    yield Input(draft.get(key, ""), placeholder=without, id=key, max_length=200)
            with Horizontal(classes="field"):
                yield Static("Priority", classes="label", markup=False)
                yield Choice(id="priority")
            with Horizontal(classes="field"):
                yield Static("Stream", classes="label", markup=False)
                yield Choice(id="stream")
            yield Sheet(id="error")
            with Horizontal(id="acts"):
                yield Act("Send", id="act")
                yield Act("Close the form", id="keep")
            yield Sheet(id="question")

    def on_mount(self) -> None:
        super().on_mount()
        self.set_heading("Submit a prompt")
        self.query_one("#priority", Choice).offer(PRIORITIES, PRIORITIES.index("normal"))
        self.query_one("#stream", Choice).offer([name for name, _ in _STREAM], 0)
        hints = key_hints(
            ("enter", "send"),
            ("ctrl+j", "new line"),
            ("tab", "next"),
            ("esc", "close, keeps the draft"),
        )
        self.query_one("#question", Sheet).show(Line(), Line((Span(" "), *hints.spans)))

    # --- sending ---------------------------------------------------------------------

    @on(Prompt.Sent)
    @on(Input.Submitted)
    def _enter(self) -> None:
        self._send_once()

    @on(Act.Pressed)
    def _pressed(self, event: Act.Pressed) -> None:
        if event.act.id == "keep":
            self.action_keep()
        else:
            self._send_once()

    def _send_once(self) -> None:
        if not self._sending:
            self._sending = True
            self.run_worker(self._send(), name="submit")

    async def _send(self) -> None:
        data = self._data()
        try:
            if not data["prompt"].strip():
                self.show_error("the prompt is empty")
                return
            reply = await ask(self.host, "completion:async", **data)
        finally:
            self._sending = False
        error = refusal(reply)
        if error is not None:
            self.show_error(error)
            return
        self.host.draft.clear()
        self.dismiss(str(reply["request_id"]))

    def _data(self) -> dict[str, Any]:
        data: dict[str, Any] = {
            "prompt": self.query_one(Prompt).text,
            "priority": PRIORITIES[self.query_one("#priority", Choice).index],
            "agent_id": self.host.ui.operator,
        }
        for key, name in (("model", "model"), ("session", "session_id"), ("agent", "agent_id")):
            value = self.query_one(f"#{key}", Input).value.strip()
            if value:
                data[name] = value
        stream = _STREAM[self.query_one("#stream", Choice).index][1]
        return data if stream is None else {**data, "stream": stream}

    def action_keep(self) -> None:
        """Close the form and keep what was typed for the next time."""
        self.host.draft.update(
            {key: self.query_one(f"#{key}", Input).value for key, _, _ in _FIELDS}
        )
        self.host.draft["prompt"] = self.query_one(Prompt).text
        self.dismiss(None)
