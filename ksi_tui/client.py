"""The one door to an engine.

Screens and commands hold an `EngineClient` and nothing else of the engine. In
process it is the engine itself: `CompletionEngine` has exactly this shape. The values that
go through the door are loaded on first use: the first frame has none yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from ksi_tui.engine.events import Event, Subscription
    from ksi_tui.engine.views import Snapshot, SnapshotQuery

__all__ = ["Distant", "EngineClient", "Event", "Snapshot", "SnapshotQuery", "Subscription"]

_EVENTS, _VIEWS = ("Event", "Subscription"), ("Snapshot", "SnapshotQuery")


class EngineClient(Protocol):
    """Drives an engine and looks at it."""

    async def emit(self, name: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a named event and return its reply; a refusal is `{"error": …, "code": …}`."""
        ...

    def subscribe(self, pattern: str = "*") -> Subscription:
        """Return the notifications that fit `pattern` (`*` per segment), a snapshot first.

        `request:<id>` follows one request, its answer as it comes (`completion:delta`) too.
        """
        ...

    def snapshot(self, query: SnapshotQuery | None = None) -> Snapshot:
        """Return the engine as it is now; never waits."""
        ...


@runtime_checkable
class Distant(Protocol):
    """What the client of an engine that runs elsewhere tells beside: how its line is."""

    @property
    def lost(self) -> str | None:
        """What is wrong with the line, in words that are not clean; None if nothing.

        They say since when, when it is tried next, and how old what is shown is.
        """
        ...

    @property
    def age_s(self) -> float:
        """How old the newest picture of the engine is, in seconds."""
        ...

    @property
    def name(self) -> str:
        """What the engine calls itself; not clean, empty where it does not say."""
        ...

    def on_picture(self, came: Callable[[], None]) -> None:
        """Have `came` called from now on when a newer picture of the engine is there."""
        ...


def __getattr__(name: str) -> Any:
    if name in _EVENTS:
        from ksi_tui.engine import events  # noqa: PLC0415

        return getattr(events, name)
    if name in _VIEWS:
        from ksi_tui.engine import views  # noqa: PLC0415

        return getattr(views, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
