"""Sees what litellm 1.106.2 drops from a stream on its way: refusals, and later choices' ends.

It stands between litellm and the stream below it, hands plain text past litellm, changes
nothing else, and passes on the close.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Any

from ksi_tui.engine.providers.plain_text import PlainText, shorten


class WatchedStream:
    """The stream below litellm. Every refusal is handed on as (choice, text) while it passes.

    So is more text of the first choice, which goes no further. `finish_reasons` are those that
    the provider itself sent, by choice.
    """

    def __init__(
        self,
        stream: AsyncIterable[Any],
        on_refusal: Callable[[int, str], None],
        on_text: Callable[[str], None],
    ) -> None:
        shorten(stream)
        self._stream = stream
        self._iterator = aiter(stream)
        self._on_refusal = on_refusal
        self._on_text = on_text
        self.finish_reasons: dict[int, str] = {}

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        while type(chunk := await anext(self._iterator)) is PlainText:
            self._on_text(chunk.text)
        for choice in getattr(chunk, "choices", None) or ():
            index = getattr(choice, "index", None) or 0
            if refusal := getattr(getattr(choice, "delta", None), "refusal", None):
                self._on_refusal(index, refusal)
            if reason := getattr(choice, "finish_reason", None):
                self.finish_reasons[index] = reason
        return chunk

    async def aclose(self) -> None:
        """Close the stream below, and what that reads from where it cannot close itself."""
        for owner in (self._stream, getattr(self._stream, "streaming_response", None)):
            close = getattr(owner, "aclose", None) or getattr(owner, "close", None)
            if close is not None and inspect.isawaitable(closing := close()):
                await closing
