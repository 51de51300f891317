"""The standard streams: there even where they were closed, and output that nobody can take.

Whoever starts the program may have closed them, a disk may be full, a terminal may have gone.
What is written to them is the commands' business.
"""

from __future__ import annotations

import os
import sys
from typing import Final, TextIO

from ksi_tui.engine.errors import KsiError

_STANDARD: Final = ("stdin", "stdout", "stderr")


class OutputLost(KsiError):
    """What was to be printed has no place; the message says why."""


def keep_standard_places() -> None:
    """Let descriptors 0 to 2 lead somewhere, to nowhere where they were closed.

    Else the next file that is opened takes their place, and what is printed lands in it.
    """
    for descriptor, name in enumerate(_STANDARD):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free: this one
            os.set_inheritable(descriptor, True)
        if descriptor and getattr(sys, name) is None:
            # Kept for good: the interpreter flushes it at its end.
            setattr(sys, name, open(descriptor, "w", encoding="utf-8", closefd=False))  # noqa: SIM115


def flush_stdout() -> None:
    """Send what was written; raises BrokenPipeError, and OutputLost for any other reason."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise lost(error) from None


def lost(error: OSError) -> OutputLost:
    """Return the error for what stdout does not take; from now on it takes everything."""
    silence(sys.stdout)
    return OutputLost(f"cannot write to stdout: {error.strerror or error}")


def silence(stream: TextIO) -> None:
    """Let what is written to a stream go nowhere, the interpreter's last flush too."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
