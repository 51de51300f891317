"""Shows, beside a form, what it would send: turns, tokens, share of the window, who takes it.

Never holds up typing: it is asked for a moment after the last change, one at a time. What
stands in the form is the form's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textual import events, on
from textual.timer import Timer
from textual.widgets import TextArea

from ksi_tui.screens import offers
from ksi_tui.screens.comparison import Plan
from ksi_tui.screens.dialog import Choice, Dialog, Sheet
from ksi_tui.screens.draft import Draft
from ksi_tui.screens.fields import Picker
from ksi_tui.screens.host import ask, refusal
from ksi_tui.widgets.pane import TextPane
from ksi_tui.widgets.spans import Span, Tone, line

LOOK_AFTER_S = 0.25
"""How long after the last change it is looked at what would be sent, in seconds."""


class Preview(TextPane):
    """What would be sent, wrapped anew whenever the pane has another width.

    The first time is when it is laid out; the answer may be there before.
    """

    def __init__(self) -> None:
        super().__init__("What would be sent", id="preview")

    def on_resize(self, _event: events.Resize) -> None:
        if isinstance(self.screen, LookingForm):
            self.screen.wrap_preview()


class LookingForm(Dialog[str | Plan]):
    """A form with a line `#summary` and a pane `#preview` about what it would send."""

    def __init__(self) -> None:
        super().__init__()
        self._preview: Mapping[str, Any] | None = None
        self._timer: Timer | None = None
        self._looking = self._look_again = False

    def written(self) -> Draft:
        """Return what stands in the form."""
        raise NotImplementedError

    @on(TextArea.Changed)
    @on(Choice.Chosen)
    @on(Picker.Typed)
    def _look_soon(self) -> None:
        """Look a moment after the last change at what would be sent."""
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(LOOK_AFTER_S, self._look, name="look")

    def _look(self) -> None:
        if self._looking:
            self._look_again = True
        else:
            self._looking = True
            self.start(self._look_up, name="preview", group="preview")

    async def _look_up(self) -> None:
        try:
            data = self.written().preview()
            reply = await ask(self.host, "completion:preview", **data)
        except ValueError as error:  # the messages are no JSON yet
            reply = {"error": str(error), "code": "invalid_request"}
        finally:
            self._looking = False
        self._show_preview(reply)
        if self._look_again:
            self._look_again = False
            self._look()

    def wrap_preview(self) -> None:
        """Show the last answer in the present width."""
        if self._preview is not None:
            self._show_preview(self._preview)

    def _show_preview(self, reply: Mapping[str, Any]) -> None:
        self._preview = reply
        summary, pane = self.query_one("#summary", Sheet), self.query_one("#preview", TextPane)
        error = refusal(reply)
        if error is not None:
            summary.show(line(Span(f" {error}", Tone.WARN)))
            pane.show([])
            return
        summary.show(line(" ", *offers.summary(reply).spans))
        shown = self.host.ui.text != "never"
        pane.set_head("What would be sent", _messages(reply))
        pane.show(offers.preview_lines(reply, pane.text_width, shown=shown))


def _messages(reply: Mapping[str, Any]) -> str:
    count = len(reply.get("messages") or ())
    return f"{count} message{'' if count == 1 else 's'}"
