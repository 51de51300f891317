"""The engine of another process that has this database: how to ask for it, how to attach to it.

Leaf module: what a dashboard is given and a dialog reads. The line to that engine is `remote`'s.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ksi_tui.client import EngineClient

Connect = Callable[[], "AbstractAsyncContextManager[EngineClient]"]
"""Returns the context manager of an engine's client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """Leads to an engine. `look` says who answers, not clean, and raises DoorClosed."""

    look: Callable[[], Awaitable[str]]
    connect: Connect
