"""What tests of provider workers share: an observer that can be waited for, and a call's spec."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ksi_tui.config import ProviderSettings
from ksi_tui.engine.providers.base import CallSpec, Closed

BOUND_S = 30.0


class Observer:
    """Records what a call tells; `first` is set with its first text, `ended` with its close."""

    def __init__(self) -> None:
        self.pieces: list[tuple[str, int]] = []
        self.closed: list[Closed] = []
        self.first = asyncio.Event()
        self.ended = asyncio.Event()

    def on_text(self, text: str, tokens: int) -> None:
        self.pieces.append((text, tokens))
        self.first.set()

    def on_closed(self, closed: Closed) -> None:
        self.closed.append(closed)
        self.ended.set()

    @property
    def text(self) -> str:
        return "".join(text for text, _ in self.pieces)

    @property
    def tokens(self) -> int:
        return sum(tokens for _, tokens in self.pieces)


class Events:
    """Records what a pool tells, and can be waited for."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []
        self._changed = asyncio.Event()

    def __call__(self, name: str, data: dict[str, Any]) -> None:
        self.seen.append((name, data))
        self._changed.set()

    def names(self) -> list[str]:
        return [name for name, _ in self.seen]

    async def until(self, condition: Callable[[list[str]], bool]) -> None:
        """Return when the names so far fulfil the condition; TimeoutError if they don't."""
        async with asyncio.timeout(BOUND_S):
            while not condition(self.names()):
                self._changed.clear()
                await self._changed.wait()


def settings(base: str, **changes: Any) -> ProviderSettings:
    """Return a litellm provider's settings for a server on loopback."""
    fields = {"name": "upstream", "models": ("*",), "api_base": base, **changes}
    return ProviderSettings(**fields)


def spec(*, stream: bool = True, text: str = "hello", **changes: Any) -> CallSpec:
    """Return a call of a model that has a price and a known window."""
    fields: dict[str, Any] = {
        "request_id": "r-1",
        "provider": "upstream",
        "model": "openai/gpt-4o-mini",
        "messages": [{"role": "user", "content": text}],
        "stream": stream,
        **changes,
    }
    return CallSpec(**fields)
