"""The settings of `[ui]` as the screens see them, and a first look at them without pydantic.

`config.UiSettings` validates; `FirstUi` holds the same values for the first frame, which
does not wait for that. Leaf module, and cheap to import: nothing but values goes in.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

TEXTS = ("on_open", "always", "never")
"""When prompts and replies show: only where one opens them, in lists too, or nowhere."""
LEAST_HZ, MOST_HZ = 0.5, 30


def login_name() -> str:
    """Return who is at the keys, as far as the system knows."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "operator"


class Ui(Protocol):
    """What screens read of `[ui]`."""

    @property
    def theme(self) -> str | None: ...
    @property
    def keymap(self) -> Mapping[str, str]: ...
    @property
    def ascii(self) -> bool: ...
    @property
    def refresh_hz(self) -> float: ...
    @property
    def operator(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def read_only(self) -> bool: ...
    @property
    def bell(self) -> bool: ...
    @property
    def filters(self) -> Mapping[str, str]: ...
    @property
    def alert(self) -> str | None: ...


@dataclass(frozen=True, kw_only=True)
class FirstUi:
    """`[ui]` before the settings as a whole are validated; its defaults are the settings'."""

    theme: str | None = None
    keymap: Mapping[str, str] = field(default_factory=dict)
    ascii: bool = False
    refresh_hz: float = 10
    operator: str = field(default_factory=login_name)
    text: str = "on_open"
    read_only: bool = False
    bell: bool = True
    filters: Mapping[str, str] = field(default_factory=dict)
    alert: str | None = None


_PLAIN: Mapping[str, Callable[[Any], bool]] = {
    "theme": lambda value: isinstance(value, str),
    "keymap": lambda value: (
        isinstance(value, dict) and all(isinstance(key, str) for key in value.values())
    ),
    "ascii": lambda value: isinstance(value, bool),
    "refresh_hz": lambda value: type(value) in (int, float) and LEAST_HZ <= value <= MOST_HZ,
    "operator": lambda value: isinstance(value, str) and 1 <= len(value) <= 64,
    "text": lambda value: value in TEXTS,
    "filters": lambda value: value == {},  # what a filter says is for the full validation
    "read_only": lambda value: isinstance(value, bool),
    "bell": lambda value: isinstance(value, bool),
    "alert": lambda value: isinstance(value, str),
}


def first_ui(table: Any) -> FirstUi | None:
    """Return `[ui]` as TOML holds it, or None when anything in it needs the full validation."""
    if not isinstance(table, dict):
        return None
    if not all(key in _PLAIN and _PLAIN[key](value) for key, value in table.items()):
        return None
    return FirstUi(**table)
