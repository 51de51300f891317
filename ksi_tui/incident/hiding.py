"""Takes prompts and replies out of records: each text becomes its hash and its length.

The hash is keyed by a secret that is thrown away with the bundle's making: within a bundle
equal texts have equal hashes, and nobody can find a text by guessing it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

_TEXTS: Final = frozenset(
    {"prompt", "messages", "system", "partial_text", "response", "content", "arguments"}
    | {"tools", "tool_calls", "params", "extra_body", "follow_up_guidance", "sent"}
)
"""Keys under which nothing but texts of users and models stands."""
_WORDED: Final = frozenset(
    {"cause", "root", "outlook", "moves", "chain", "links", "timeline", "blocked"}
)
"""Keys under which a `text` is the engine's own."""
_NAMES: Final = frozenset({"role", "type", "finish_reason", "model", "object", "provider"})
_NAME: Final = re.compile(r"[\w./:-]{1,64}")


_HASH: Final = re.compile(r"hash:[0-9a-f]{16} \([\d,]+ characters\)")


def is_hash(text: str) -> bool:
    """Return whether a text is nothing but what stands in place of one."""
    return _HASH.fullmatch(text) is not None


class Hiding:
    """Hides texts under one secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def text(self, text: str) -> str:
        """Return what stands in place of a text: `hash:9f86d081884c7d65 (1,234 characters)`."""
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=self._secret)
        return f"hash:{digest.hexdigest()[:16]} ({len(text):,} characters)"

    def record(self, record: Mapping[str, Any], within: str = "") -> dict[str, Any]:
        """Return a record whose texts are hidden; its other values as they are.

        `within` is the key under which the record stands in another one.
        """
        return {
            key: self._all(value) if _is_text(key, value, within) else self._within(value, key)
            for key, value in record.items()
        }

    def _within(self, value: Any, key: str) -> Any:
        if isinstance(value, Mapping):
            return self.record(value, key)
        if isinstance(value, list | tuple):
            return [self._within(item, key) for item in value]
        return value

    def _all(self, value: Any) -> Any:
        """Hide every text of a value, the names of roles and kinds excepted."""
        if isinstance(value, Mapping):
            return {
                key: item if _is_name(key, item) else self._all(item) for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self._all(item) for item in value]
        return self.text(value) if isinstance(value, str) else value


def _is_text(key: str, value: Any, within: str) -> bool:
    if key == "result":  # an envelope, whose `response` is one
        return isinstance(value, str)
    return key in _TEXTS or (key == "text" and within not in _WORDED)


def _is_name(key: str, value: Any) -> bool:
    return key in _NAMES and isinstance(value, str) and _NAME.fullmatch(value) is not None


def texts_of(record: Mapping[str, Any], within: str = "") -> Iterator[str]:
    """Yield every text of a record that `Hiding` would hide."""
    for key, value in record.items():
        if _is_text(key, value, within):
            yield from _strings(value)
        elif isinstance(value, Mapping):
            yield from texts_of(value, key)
        elif isinstance(value, list | tuple):
            for item in value:
                if isinstance(item, Mapping):
                    yield from texts_of(item, key)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if not _is_name(key, item):
                yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)
