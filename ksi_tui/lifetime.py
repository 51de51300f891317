"""The dashboard's life on a terminal: signals, a terminal that goes, being stopped and going on.

Whatever ends or stops the program, the terminal is then as it was found. Neither layout nor
the engine's life go here; the app closes that itself.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from ksi_tui import exits, starting
from ksi_tui.hangup import watched_terminal

if TYPE_CHECKING:
    from textual.driver import Driver

    from ksi_tui.app import KsiApp

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


async def run_dashboard(app: KsiApp) -> int:
    """Run the dashboard until its user quits or a signal ends it; return the exit code.

    A signal leaves the terminal as it was found. The engine is closed by its context before this
    returns: while it drains one more signal interrupts what still runs, and another one ends the
    process as it is. Once nothing runs signals do nothing. Raises SettingsRefused.
    """
    loop = asyncio.get_running_loop()
    ending = _Ending(app)
    for number in ENDING:
        loop.add_signal_handler(number, ending.on_signal, number)
    try:
        with watched_terminal(partial(loop.call_soon_threadsafe, app.leave)):
            await app.run_async()
    finally:
        ending.left(runs_on=app.runs_on())
        await app.close_engine()
        for number in ENDING:
            loop.remove_signal_handler(number)
        starting.nothing_left()
    if app.refused is not None:
        raise app.refused
    return app.return_code if app.return_code is not None else app.exit_code


class _Ending:
    """What signals mean: to the dashboard, and once it has left, to what still drains."""

    def __init__(self, app: KsiApp) -> None:
        self._app = app
        self._left = False
        self._hurried = False

    def left(self, *, runs_on: bool) -> None:
        """Note that the terminal is given back, and tell there why the program is not over yet."""
        self._left = True
        if runs_on:
            sys.stderr.write("ksi-tui: what runs is given its time to end; ctrl+c interrupts it\n")

    def on_signal(self, number: signal.Signals) -> None:
        """Leave; once that is done end the drain, and then the process."""
        if number is signal.SIGINT and self._app.handed_over:
            return  # the editor's, in whose terminal it was typed
        if not self._left or number is signal.SIGHUP:  # a terminal that goes may tell it twice
            self._app.leave()
        elif not self._hurried:
            self._hurried = True
            self._app.hurry()
        else:
            os._exit(exits.INTERRUPTED)


@contextmanager
def _as_found(driver: Driver) -> Iterator[None]:
    """Give the terminal back and take it again; what was changed meanwhile is taken anew."""
    driver.suspend_application_mode()
    yield
    driver.resume_application_mode()


def go_on_cleanly(app: KsiApp, driver: Driver) -> None:
    """Take the terminal once when the process goes on, however it was stopped.

    Textual takes it at every SIGCONT. After a SIGTSTP that is right; after a bare SIGSTOP,
    or a SIGCONT to a process that runs, it would hold it twice over and at the end restore
    its own modes as the terminal's.
    """

    def on_sigcont(*_: Any) -> None:
        if getattr(driver, "_must_signal_resume", True):  # stopped by SIGTSTP: it was given back
            driver.resume_application_mode()
        elif getattr(driver, "_auto_restart", True):
            with _as_found(driver):
                pass
            app.call_later(app.repaint)

    signal.signal(signal.SIGCONT, on_sigcont)
