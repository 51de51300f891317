"""How the dashboard ends: by its user, asked first while work is in flight, or by a fault of ours.

What becomes of the work is `screens.ending`'s to know and the engine's to do.
"""

from __future__ import annotations

import logging
from typing import Any

from rich.text import Text

from ksi_tui import exits
from ksi_tui.driving import DrivingApp
from ksi_tui.left import of_what_was_left
from ksi_tui.screens import later
from ksi_tui.screens.base import KsiScreen
from ksi_tui.widgets.spans import Tone

log = logging.getLogger(__name__)


class LeavingApp(DrivingApp):
    """An app over an engine that is left by `q`, by ctrl+c, or by a fault."""

    def __init__(self, *args: Any, **kept: Any) -> None:
        super().__init__(*args, **kept)
        self._asked_to_quit = False

    def action_leave(self) -> None:
        """Quit; with work in flight ask first what becomes of it."""
        from ksi_tui.screens.ending import in_flight  # noqa: PLC0415 - after the first frame

        work = in_flight(self.client) if self.own_engine else None
        if work is None:
            self.leave()
        elif not self._asked_to_quit:
            self._asked_to_quit = True
            self.push_screen(later.quit_dialog(work), self._after_quit)

    def _after_quit(self, answer: str | None) -> None:
        self._asked_to_quit = False
        if answer is not None:
            self.run_worker(self._end(answer), name="end-work", exclusive=True, group="end")

    async def _end(self, answer: str) -> None:
        from ksi_tui.screens.ending import end_work  # noqa: PLC0415 - after the first frame

        await self._demo.stop()
        refused = await end_work(self, answer)
        if refused is None:
            self.leave()
        elif isinstance(self.screen, KsiScreen):
            self.screen.say(f"not left: {refused}", Tone.BAD)

    async def action_quit(self) -> None:
        """Quit as `q` does."""
        self.action_leave()

    def action_help_quit(self) -> None:
        """Take ctrl+c as `q`."""
        self.action_leave()

    def _handle_exception(self, error: Exception) -> None:
        """Record a fault of our own and end with one line; a traceback belongs in the log.

        What was left while it still read something has nobody to show it to: it ends nothing. Nor
        does what was being built as somebody left: half of it is never there.
        """
        if self._exit or of_what_was_left(self):
            log.warning("what was left could not show what it had asked for: %r", error)
            if self._exit:
                self._close_messages_no_wait()
            return
        log.error("unhandled exception in the dashboard", exc_info=error)
        self._return_code = exits.SOME_FAILED
        if self._exception is None:
            self._exception = error
            self._exception_event.set()
            said = f"ksi-tui ended by a fault of its own ({type(error).__name__}); the log has it"
            self._exit_renderables.append(Text(said))
        self._close_messages_no_wait()
