"""The verdict where it is seen without looking at the screen: title, bell, a command of the user's.

What the verdict is, is the engine's; how it is worded, the header's.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress

from ksi_tui.engine.states import Level, Verdict
from ksi_tui.ui_settings import Ui
from ksi_tui.widgets import formats
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.terminal import spelled

TITLE_LIMIT = 120
ALERT_S = 30.0
"""So long an alert may run, in seconds; then it is ended."""
_CAUSE_LIMIT = 400
_WORSE = (
    Level.OK,
    Level.STARTING,
    Level.STOPPING,
    Level.PAUSED,
    Level.STALE,
    Level.DEGRADED,
    Level.READ_ONLY,
    Level.DOWN,
)
"""From good to bad."""
_NOT_TOLD = (Level.STARTING, Level.STOPPING)
"""The way in and out is nobody's alarm."""


class Signs:
    """Shows each verdict. `write` sends to the terminal; `complain` says what went wrong."""

    def __init__(
        self, ui: Ui, name: str, write: Callable[[str], object], complain: Callable[[str], object]
    ) -> None:
        self._ui = ui
        self.name = name
        self._write = write
        self._complain = complain
        self._title: str | None = None
        self._told = Level.OK
        self._waiting: tuple[Verdict, Level] | None = None
        self._task: asyncio.Task[None] | None = None

    def forget_title(self) -> None:
        """Set the title with the next verdict even when it did not change."""
        self._title = None

    def show(self, verdict: Verdict) -> None:
        """Set the title; where the level changed ring and run what is to be run."""
        title = clean(
            f"{formats.LEVELS[verdict.level].text} {self.name}: {verdict.cause}", TITLE_LIMIT
        )
        if self._ui.ascii:
            title = spelled(title)
        if title != self._title:
            self._title = title
            self._write(f"\x1b]0;{title}\x07")
        if verdict.level is self._told or verdict.level in _NOT_TOLD:
            return
        before, self._told = self._told, verdict.level
        if self._ui.bell and _WORSE.index(verdict.level) > _WORSE.index(before):
            self._write("\x07")
        if self._ui.alert:
            self._waiting = (verdict, before)
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._alert(self._ui.alert), name="alert")

    async def aclose(self) -> None:
        """End an alert that still runs."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _alert(self, command: str) -> None:
        """Run the command once a change, one at a time; of those that wait the last counts."""
        while self._waiting is not None:
            (verdict, before), self._waiting = self._waiting, None
            wrong = await self._run(command, verdict, before)
            if wrong is not None:
                self._complain(f"ui.alert: {wrong}")

    async def _run(self, command: str, verdict: Verdict, before: Level) -> str | None:
        """Return what went wrong, or None. The verdict goes in by variables, never by a shell."""
        told = {
            "KSI_VERDICT": verdict.level.value,
            "KSI_VERDICT_BEFORE": before.value,
            "KSI_CAUSE": clean(verdict.cause, _CAUSE_LIMIT),
            "KSI_NAME": clean(self.name, TITLE_LIMIT),
        }
        import shlex  # noqa: PLC0415 - the first frame's title needs none of it

        try:
            words = shlex.split(command)
            process = await asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                env={**os.environ, **told},
                start_new_session=True,
            )
        except (OSError, ValueError, TypeError) as error:
            return f"{error}" or type(error).__name__
        try:
            code = await asyncio.wait_for(process.wait(), ALERT_S)
        except TimeoutError:
            return f"it still ran after {ALERT_S:.0f} s and was ended"
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        return f"it ended with exit code {code}" if code else None
