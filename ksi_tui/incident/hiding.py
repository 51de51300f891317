"""Takes prompts and replies out of records: each text becomes its hash and its length.

The hash is keyed by a secret that is thrown away with the bundle's making: within a bundle
equal texts have equal hashes, and nobody can find a text by guessing it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

TEXT_KEYS = frozenset({"prompt", "messages", "text", "result", "partial_text", "tools", "system"})
"""The keys of records under which texts of users or models stand."""


class Hiding:
    """Hides texts under one secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def text(self, text: str) -> str:
        """Return what stands in place of a text: `hash:9f86d081884c7d65 (1,234 characters)`."""
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=self._secret)
        return f"hash:{digest.hexdigest()[:16]} ({len(text):,} characters)"

    def record(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return a record whose texts are hidden; its other values as they are."""
        return {
            key: self._all(value) if key in TEXT_KEYS else self._within(value)
            for key, value in record.items()
        }

    def _within(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return self.record(value)
        return [self._within(item) for item in value] if isinstance(value, list | tuple) else value

    def _all(self, value: Any) -> Any:
        """Hide every text of a value, a message's role excepted."""
        if isinstance(value, Mapping):
            return {k: v if k == "role" else self._all(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self._all(item) for item in value]
        return self.text(value) if isinstance(value, str) else value
