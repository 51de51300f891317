"""What can go wrong with an engine that is elsewhere. Leaf module: cheap to import.

KsiError
├── DoorClosed                nobody answers where an engine should (exit code 2)
└── LineFault                 one exchange with the engine failed
    ├── NotSent               before anything was sent: nothing was done
    ├── Broken                after it was sent: it may have been done
    ├── Misread               what came back is not what an engine of this version says
    └── Refused               the engine will not, and says why: again would be no use
"""

from __future__ import annotations

from ksi_tui.engine.errors import KsiError


class DoorClosed(KsiError):
    """Nobody answers at a socket; the message names it."""


class LineFault(KsiError):
    """An exchange with the engine failed; the message says how, and is not clean."""


class NotSent(LineFault):
    """There was no connection: the engine has heard nothing."""


class Broken(LineFault):
    """The connection ended before the answer: the engine may have heard, and done it."""


class Misread(LineFault):
    """The answer is not what was agreed on."""


class Refused(LineFault):
    """The engine takes the question for a wrong one; the message is its own."""
