"""The progress bar of `run`, on stderr. Imported only where stderr is a terminal."""

from __future__ import annotations

import sys
from contextlib import suppress
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from ksi_tui.widgets.clean import clean

_NOTE_CHARS = 60


class Bar:
    """How far a run has come; goes away when it ends.

    Where stdout is a terminal too, what is written to `sys.stdout` meanwhile appears
    above the bar.
    """

    def __init__(self) -> None:
        self._progress = Progress(
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=Console(stderr=True, markup=False, highlight=False),
            transient=True,
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=True,
        )
        self._task = self._progress.add_task("", total=None)

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def show(self, *, done: int, total: int, note: str) -> None:
        """Show `done` of `total`, with a note in words."""
        self._progress.update(
            self._task, completed=done, total=total, description=clean(note, _NOTE_CHARS)
        )

    def stop(self) -> None:
        """Take the bar away. Harmless when it is gone, or its terminal."""
        with suppress(OSError):
            self._progress.stop()
