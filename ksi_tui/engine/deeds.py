"""Says in words what a person did, who it was and why: `paused by op1: deploy`.

One wording for pauses and forced circuits, so that a screen, a `why` and an error message
say it alike. Names and reasons come from outside and are raw here.
"""

from __future__ import annotations


def deed(done: str, by: str | None, reason: str | None) -> str:
    """Return `done` with who did it and why, as far as that is known."""
    who = f" by {by}" if by else ""
    why = f": {reason}" if reason else ""
    return f"{done}{who}{why}"
