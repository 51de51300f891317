"""The `ksi-tui` command that sends the same request again, to be pasted into a shell. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from ksi_tui.screens.draft import draft_of


def command_of(report: Mapping[str, Any]) -> str:
    """Return the command that sends a request like the one that a report tells of.

    Any POSIX shell takes it, whatever the texts hold: the request is one line of ASCII JSON
    inside quotes. What the form would send as new is what the command sends.
    """
    draft = draft_of(report)
    return command_for(draft.request(draft.agent or "operator"))


def command_for(data: Mapping[str, Any]) -> str:
    """Return the command that sends `completion:async` data."""
    text = json.dumps(data, ensure_ascii=True, separators=(", ", ": "))
    return f"printf '%s\\n' {shlex.quote(text)} | ksi-tui run -"
