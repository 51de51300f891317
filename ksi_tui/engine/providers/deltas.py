"""Keeps what a stream's chunks hold beside the first choice's text, for those who follow it.

Pure; knows no SDK's classes. The whole answer is put together in `assembly`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_FIELDS = (
    *("content", "reasoning_content", "tool_calls", "function_call"),
    *("thinking_blocks", "annotations", "images", "audio"),
)
_JOINED = ("content", "reasoning_content", "refusal")


class Deltas:
    """Takes chunk after chunk, and hands out what has gathered as `[{"index", "delta"}]`."""

    def __init__(self) -> None:
        self._pieces: list[dict[str, Any]] = []
        self._plain = True

    def add(self, chunk: Any) -> None:
        """Take one chunk, object or mapping."""
        for choice in _get(chunk, "choices") or ():
            given = _get(choice, "delta")
            delta = {name: _plain(value) for name in _FIELDS if (value := _get(given, name))}
            logprobs = _plain(_get(choice, "logprobs"))
            if delta or logprobs:
                self._take(_get(choice, "index") or 0, delta, logprobs)

    def refuse(self, index: int, text: str) -> None:
        """Take a piece of a choice's refusal."""
        self._take(index, {"refusal": text}, None)

    def _take(self, index: int, delta: dict[str, Any], logprobs: Any) -> None:
        self._plain = self._plain and index == 0 and not logprobs and list(delta) == ["content"]
        last = self._pieces[-1] if self._pieces else None
        if last is not None and not logprobs and _continues(last, index, delta):
            (name,) = delta
            last["delta"][name] += delta[name]
            return
        piece = {"index": index, "delta": delta}
        self._pieces.append(piece | {"logprobs": logprobs} if logprobs else piece)

    def told(self) -> dict[str, Any]:
        """Return `{"deltas": …}` and forget it; {} where that is text of the first choice alone."""
        pieces, plain = self._pieces, self._plain
        self._pieces, self._plain = [], True
        return {} if plain else {"deltas": pieces}


def _continues(last: Mapping[str, Any], index: int, delta: Mapping[str, Any]) -> bool:
    """Whether a delta is more of the same text as the piece before."""
    names = list(delta)
    return (
        last["index"] == index
        and "logprobs" not in last
        and len(names) == 1
        and names[0] in _JOINED
        and list(last["delta"]) == names
    )


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _plain(value: Any) -> Any:
    """Return plain data without what an SDK's class adds as null."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    dump = getattr(value, "model_dump", None)
    return dump(exclude_none=True) if dump is not None else value
