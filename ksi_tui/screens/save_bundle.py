"""Saves an incident bundle: how far back, with texts or without, and where it went."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Static

from ksi_tui.incident.errors import BundleError
from ksi_tui.incident.save import Saved, Wanted
from ksi_tui.screens.base import KsiScreen
from ksi_tui.screens.dialog import Act, Box, Choice, Dialog, Sheet
from ksi_tui.screens.footer import key_hints
from ksi_tui.widgets import fit, formats
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.spans import Line, Span, Tone, line

_MINUTES = (5, 15, 60)
_TEXTS = ("hashes instead", "as they are")
_PATH_LIMIT = 400
_INDENT = "  "
_LEAST = 20


class SaveBundle(Dialog[None]):
    """Asks what a bundle is to hold, writes it, and says where.

    Left while it is written, that goes on, and the screen below says how it ended.
    """

    AUTO_FOCUS = "#minutes"
    SAID: ClassVar[str] = (
        "What the screen was fed, the settings without secrets, the circuits' history and the "
        "requests' records, in one private file. ksi-tui open shows it."
    )

    def __init__(self) -> None:
        super().__init__()
        self._saving = False
        self._said = self.SAID

    def compose(self) -> ComposeResult:
        with Box():
            yield Sheet(id="question")
            with Horizontal(classes="field"):
                yield Static("The last", classes="label", markup=False)
                yield Choice(id="minutes")
            with Horizontal(classes="field"):
                yield Static("Texts", classes="label", markup=False)
                yield Choice(id="texts")
            yield Sheet(id="error")
            with Horizontal(id="acts"):
                yield Act("Close", id="keep")
                yield Act("Save the bundle", id="act")
            yield Sheet(id="hints")

    def on_mount(self) -> None:
        super().on_mount()
        self.set_heading("Save an incident bundle")
        self.query_one("#minutes", Choice).offer([f"{n} minutes" for n in _MINUTES], 1)
        self.query_one("#texts", Choice).offer(_TEXTS, 0)
        hints = key_hints(("tab", "next"), ("left/right", "choose"), ("enter", "press"))
        self.query_one("#hints", Sheet).show(Line(), Line((Span("  "), *hints.spans)))

    def head_again(self) -> None:
        """Fit the text too to the box as it now is."""
        super().head_again()
        self._say(self._said)

    def _say(self, text: str) -> None:
        self._said, question = text, self.query_one("#question", Sheet)
        rows = fit.wrapped(text, max(_LEAST, question.size.width - 2 * len(_INDENT)))
        question.show(Line(), *(line(_INDENT + row) for row in rows), Line())

    def on_act_pressed(self, event: Act.Pressed) -> None:
        """Close, or save once."""
        if event.act.id == "keep":
            self.action_keep()
        elif not self._saving and self.meant():
            self._saving = True
            self.query_one("#act", Act).relabel("saving…")
            # The app's, not the dialog's: it goes on when the dialog is left.
            self.app.run_worker(self._save(), name="save-bundle", group="bundle")

    async def _save(self) -> None:
        wanted = Wanted(
            minutes=_MINUTES[self.query_one("#minutes", Choice).index],
            texts=self.query_one("#texts", Choice).index == 1,
            by=self.host.ui.operator,
            name=self.host.display_name,
        )
        try:
            saved = await self.host.save_bundle(wanted, self._tell)
        except BundleError as error:
            self._failed(str(error))
        else:
            self._show(saved)
        self._saving = False
        if self.is_current:
            self.query_one("#act", Act).relabel("Save the bundle")

    def _tell(self, how_far: str) -> None:
        if self.is_current:
            going_on = Span("  esc leaves, it goes on", Tone.DIM)
            said = line(Span(f"  ○ {how_far}", Tone.BUSY), going_on)
            self.query_one("#error", Sheet).show(said, Line())

    def _failed(self, why: str) -> None:
        if self.is_current:
            self.show_error(why)
        elif isinstance(self.app.screen, KsiScreen):
            self.app.screen.say(f"no incident bundle was saved: {why}", Tone.BAD)

    def _show(self, saved: Saved) -> None:
        path = clean(str(saved.path), _PATH_LIMIT)
        if not self.is_current:
            if isinstance(self.app.screen, KsiScreen):
                self.app.screen.say(f"incident bundle saved in {path}")
            return
        self.query_one("#error", Sheet).show()
        self._say(
            f"Saved {formats.count(saved.size)}B: {saved.frames} moments, "
            f"{saved.requests} requests, in\n{path}"
        )
