"""Signals before a command runs, and after it: they end the program at once, without a word.

Python would raise KeyboardInterrupt wherever it is just then. While code is being loaded that is a
traceback, and within the callbacks that imports run by the hundred it is dropped with a note on
stderr, and the program goes on as if nobody had said anything. What a signal means to a command
that runs is the command's own business.

Nothing may be imported here that the interpreter has not loaded by itself: a signal that comes
before `end_by_signals` is Python's, and that is as short as can be.
"""

import _signal  # type: ignore[import-not-found]  # built in; `signal` takes 2 ms to name what is here
import os

from ksi_tui.exits import INTERRUPTED

_PYTHONS_OWN = (
    (_signal.SIGINT, _signal.default_int_handler),
    (_signal.SIGTERM, _signal.SIG_DFL),
)
_HELD_OFF = (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGQUIT)


def end_by_signals() -> None:
    """Let a signal end the process here and now: nothing has begun that would have to be ended.

    One that is ignored, or that somebody else takes, is left alone.
    """
    for number, own in _PYTHONS_OWN:
        _exchange(number, own, _end)


def as_python_has_them() -> None:
    """Undo `end_by_signals`."""
    for number, own in _PYTHONS_OWN:
        _exchange(number, _end, own)


def nothing_left() -> None:
    """Let signals do nothing until `end_with`: whom they could end has ended, and tidies up."""
    for number in _HELD_OFF:
        _signal.signal(number, _nothing)


def end_with(code: int) -> None:
    """Let a signal end the process with its own code, now that nothing is left to be done."""
    for number, own in (*_PYTHONS_OWN, *((number, _nothing) for number in _HELD_OFF)):
        _exchange(number, own, lambda *_: os._exit(code))


def _exchange(number: int, expected: object, handler: object) -> None:
    if _signal.getsignal(number) == expected:
        try:
            _signal.signal(number, handler)
        except ValueError:  # a thread has no say over signals
            return


def _nothing(*_: object) -> None:
    pass


def _end(*_: object) -> None:
    os._exit(INTERRUPTED)
