"""Takes a stream's chunks that are nothing but more text past the classes of SDK and litellm.

Nine chunks of ten hold one word. The SDK makes six objects of each and litellm as many again,
0.4 ms a chunk, which neither of them looks at. Reading, ends, errors and closing stay theirs,
and so does every chunk that holds anything else; so does the first, which tells who answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

_OF_CHUNK: Final = frozenset(
    ("id", "object", "created", "model", "system_fingerprint", "service_tier", "obfuscation")
)
"""What a chunk may say beside its choices and is the same in each, or padding."""


@dataclass(frozen=True, slots=True)
class PlainText:
    """More text of a stream's only choice."""

    text: str


def text_of(chunk: Any) -> str | None:
    """Return the text that a chunk adds to choice 0; None where it says, or may say, more."""
    if not isinstance(chunk, dict):
        return None
    choices = chunk.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        return None
    if any(v is not None and k not in _OF_CHUNK and k != "choices" for k, v in chunk.items()):
        return None
    text: Any = None
    for name, value in choices[0].items():
        if name == "delta":
            text = _content(value)
        elif value is not None and not (name == "index" and value == 0):
            return None
    return text if isinstance(text, str) and text else None


def _content(delta: Any) -> Any:
    if not isinstance(delta, dict):
        return None
    for name, value in delta.items():
        if value is not None and name != "content" and (name, value) != ("role", "assistant"):
            return None
    return delta.get("content")


def shorten(stream: Any) -> None:
    """Have a stream of the SDK's give `PlainText` in place of objects, where it can be told so.

    It is told by the one thing it makes objects with: the client that it belongs to.
    """
    client = getattr(stream, "_client", None)
    if callable(getattr(client, "_process_response_data", None)):
        stream._client = _Shortening(client)


class _Shortening:
    """A client as a stream of its sees it."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._begun = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def _process_response_data(self, *, data: Any, **more: Any) -> Any:
        text = text_of(data) if self._begun else None
        self._begun = True
        if text is not None:
            return PlainText(text)
        return self._client._process_response_data(data=data, **more)
