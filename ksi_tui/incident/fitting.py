"""Checks plain JSON from outside against shapes that are written as `TypedDict`s.

What a shape does not name is left out, what is missing takes an empty value where there is
one, and what is of another kind is refused (BundleError): screens may then trust it as they
trust the engine.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from functools import lru_cache
from typing import Any, Final, Union, get_args, get_origin, get_type_hints, is_typeddict

from ksi_tui.incident.errors import BundleError

Shape = Any
"""A TypedDict, or what may stand in one."""
_DEEPEST: Final = 40
_MISSING: Final = object()


class Time(str):
    """ISO 8601 with its offset from UTC."""

    __slots__ = ()


class Plain:
    """Any JSON that is not nested deeper than anybody would."""


def time_of(text: str) -> datetime:
    """Return a moment as replies tell it; ValueError where it is none."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError("no offset from UTC")
    return found


def fitted(shape: Shape, value: Any, where: str) -> Any:
    """Return the value as far as the shape names it; BundleError says `where` it does not fit."""
    origin: Any = get_origin(shape)
    if origin in (Union, types.UnionType):
        return _optional(get_args(shape), value, where)
    if is_typeddict(shape):
        return _object(shape, _of(dict, value, where), where)
    if origin is list:
        each = _of(list, value, where)
        return [fitted(get_args(shape)[0], item, f"{where}[{n}]") for n, item in enumerate(each)]
    if origin is dict:
        named = _of(dict, value, where)
        item = get_args(shape)[1]
        return {name: fitted(item, part, f"{where}.{name[:40]}") for name, part in named.items()}
    return _single(shape, value, where)


def _optional(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None:
        return None
    kind = next(kind for kind in kinds if kind is not type(None))
    return fitted(kind, value, where)


def _object(shape: Any, value: Mapping[str, Any], where: str) -> dict[str, Any]:
    found = {}
    for name, kind in _hints(shape).items():
        given = value.get(name, _MISSING)
        if given is _MISSING:
            if name in shape.__required_keys__:
                found[name] = _empty(kind, f"{where}.{name}")
        else:
            found[name] = fitted(kind, given, f"{where}.{name}")
    return found


@lru_cache(maxsize=128)
def _hints(shape: Any) -> dict[str, Any]:
    return get_type_hints(shape)


def _empty(kind: Any, where: str) -> Any:
    """Return what stands for a missing value; what has no empty one is an error."""
    origin: Any = get_origin(kind)
    if origin in (Union, types.UnionType) or kind is Plain:
        return None
    if origin in (list, dict):
        return origin()
    if is_typeddict(kind):
        return _object(kind, {}, where)
    if kind in (bool, int, float):
        return kind()
    raise BundleError(f"{where} is missing")


def _single(kind: Any, value: Any, where: str) -> Any:
    if kind is Plain:
        return _shallow(value, where, _DEEPEST)
    if kind is Time:
        try:
            time_of(_of(str, value, where))
        except ValueError:
            raise BundleError(f"{where}: {value[:40]!r} is no time") from None
        return value
    if issubclass(kind, Enum):
        if value not in list(kind):
            raise BundleError(f"{where}: {str(value)[:40]!r} is no {kind.__name__}")
        return value
    return _of((int, float) if kind is float else kind, value, where)


def _shallow(value: Any, where: str, room: int) -> Any:
    if not room:
        raise BundleError(f"{where}: nested too deep")
    if isinstance(value, dict):
        for item in value.values():
            _shallow(item, where, room - 1)
    elif isinstance(value, list):
        for item in value:
            _shallow(item, where, room - 1)
    return value


def _of(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise BundleError(f"{where}: found {type(value).__name__}")
    return value
