"""The completion engine: pure asyncio, knows no screen.

`CompletionEngine` is loaded on first use, so that looking at the engine's values
(`models`, `views`, `events`) does not load the engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ksi_tui.engine.completion_service import CompletionEngine

__all__ = ["CompletionEngine"]


def __getattr__(name: str) -> Any:
    if name == "CompletionEngine":
        from ksi_tui.engine.completion_service import CompletionEngine  # noqa: PLC0415

        return CompletionEngine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
