"""Writing a request from any screen: a new one, one like an old one, one to several models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ksi_tui.screens import later
from ksi_tui.screens.host import ask, refusal
from ksi_tui.screens.navigating import NavigatingScreen
from ksi_tui.widgets.spans import Tone

if TYPE_CHECKING:
    from ksi_tui.screens.comparison import Plan
    from ksi_tui.screens.draft import Draft


class ComposingScreen(NavigatingScreen):
    """A full screen from which requests are written."""

    def action_submit(self) -> None:
        """Open the form for a prompt, and what became of it."""
        self._write(None)

    def action_edit(self) -> None:
        """Open the form with what the target's request had."""
        self._with_draft("edit", self._write)

    def action_edit_outside(self) -> None:
        """Let the target's prompt be changed in the user's editor, then open the form with it."""
        self._with_draft("edit", self._write_outside)

    def action_compare(self) -> None:
        """Choose models to send the target's request to, side by side."""
        self._with_draft("side by side", self._compare)

    def _with_draft(self, what: str, then: Callable[[Draft], None]) -> None:
        target = self.target()
        if target is None or target.request_id is None:
            self.say(f"{what} needs a request under the cursor", Tone.WARN)
        elif self.host.ui.text == "never":
            self.say(f'{what} would show the prompt, and ui.text is "never"', Tone.WARN)
        else:
            self.start(
                partial(self._read_draft, target.request_id, what, then),
                name="read-draft",
                group="draft",
            )

    async def _read_draft(self, request_id: str, what: str, then: Callable[[Draft], None]) -> None:
        from ksi_tui.screens.draft import draft_of  # noqa: PLC0415 - after the first frame

        report = await ask(self.host, "completion:request_status", request_id=request_id)
        error = refusal(report)
        if error is not None:
            self.say(f"{what}: {error}", Tone.BAD)
        elif self.is_current:
            then(draft_of(report))

    def _write(self, draft: Draft | None) -> None:
        self.app.push_screen(later.submit_form(draft), self._after_submit)

    def _write_outside(self, draft: Draft) -> None:
        self.start(partial(self._edit_outside, draft), name="editor", group="draft")

    async def _edit_outside(self, draft: Draft) -> None:
        edited = await later.edit_outside(self.app, draft.prompt)
        if edited.text is None:
            self.say(edited.said, Tone.WARN)
        else:
            self._write(replace(draft, prompt=edited.text))

    def _after_submit(self, answer: str | Plan | None) -> None:
        if isinstance(answer, str):
            self.open_request(answer)
        else:
            self._after_setup(answer)

    def _compare(self, draft: Draft) -> None:
        self.app.push_screen(later.compare_setup(draft), self._after_setup)

    def _after_setup(self, plan: Plan | None) -> None:
        if plan is not None:
            self.go(later.compare_screen(plan))
