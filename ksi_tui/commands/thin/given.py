"""What is piped into a thin command."""

from __future__ import annotations

import sys

from ksi_tui.engine.errors import InputError


def stdin_text() -> str:
    """Return all of stdin; raises InputError where that is closed, unreadable or no text."""
    if sys.stdin is None:
        raise InputError("cannot read stdin: it is closed")
    try:
        return sys.stdin.buffer.read().decode()
    except OSError as error:
        raise InputError(f"cannot read stdin: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"stdin is not UTF-8 text (byte {error.start + 1})") from None
