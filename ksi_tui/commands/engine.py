"""Makes the engine for the commands that run one. Importing this loads the engine."""

from __future__ import annotations

from ksi_tui import logs
from ksi_tui.config import Config
from ksi_tui.engine import CompletionEngine


def engine_of(config: Config, *, resume: bool = True) -> CompletionEngine:
    """Return an engine that logs into the log file, not yet entered.

    With `resume=False` what an earlier life left unfinished stays untouched.
    """
    logs.set_up_structlog()
    return CompletionEngine(config, resume=resume)
