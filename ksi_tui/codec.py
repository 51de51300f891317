"""Frozen views to plain JSON and back, by their type hints.

What is read may come from another version of the program, in a bundle or over the door: a
field that is missing takes its default, one that is unknown is left out, and a value of the
wrong shape is refused (CodecError) rather than shown. What the views mean stays out of here.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping
from enum import Enum
from functools import lru_cache, partial
from typing import Any, Union, get_args, get_origin, get_type_hints

from ksi_tui.engine.errors import KsiError
from ksi_tui.numbers import in_bounds


class CodecError(KsiError):
    """Plain JSON that is not the view it should be; the message names where."""


def plain(value: Any) -> Any:
    """Return a view as plain JSON: dataclasses as objects, tuples as lists, enums as values."""
    if value is None or isinstance(value, str | int | float):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return {name: plain(getattr(value, name)) for name in _fields(_kind(value))}


def _kind(value: Any) -> Any:
    return type(value)


@lru_cache(maxsize=256)
def _fields(kind: Any) -> dict[str, Any]:
    if not dataclasses.is_dataclass(kind):
        raise TypeError(f"{kind.__name__} is no view")
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def rebuilt(kind: Any, data: Any, where: str = "") -> Any:
    """Return plain JSON as the view `kind`; `where` is named by a CodecError."""
    return _reader(kind)(data, where)


@lru_cache(maxsize=512)
def _reader(kind: Any) -> Callable[[Any, str], Any]:
    """Return what reads a kind; which that is is settled once (measured: in a third of the time).

    A dashboard far away reads ten snapshots a second by this.
    """
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return partial(_one_of, get_args(kind))
    if origin is Mapping:
        return partial(_mapping, get_args(kind)[1])
    if origin is tuple:
        return partial(_tuple, get_args(kind)[0])
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return partial(_view, kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return partial(_member, kind)
    return _number if kind is float else partial(_of, kind)


@lru_cache(maxsize=256)
def _readers(kind: Any) -> dict[str, Callable[[Any, str], Any]]:
    return {name: _reader(hint) for name, hint in _fields(kind).items()}


def _mapping(item: Any, data: Any, where: str) -> dict[str, Any]:
    read, held = _reader(item), _of(dict, data, where)
    return {key: read(part, f"{where}.{key[:40]}") for key, part in held.items()}


def _tuple(item: Any, data: Any, where: str) -> tuple[Any, ...]:
    read, each = _reader(item), _of(list, data, where)
    return tuple(read(part, f"{where}[{n}]") for n, part in enumerate(each))


def _number(data: Any, where: str) -> float:
    try:
        return in_bounds(float(_of((int, float), data, where)))
    except (ValueError, OverflowError):
        raise CodecError(f"{where}: {str(data)[:40]} is out of bounds") from None


def _of(kind: Any, data: Any, where: str) -> Any:
    if not isinstance(data, kind) or (isinstance(data, bool) and kind is not bool):
        raise CodecError(f"{where or 'the view'}: found {type(data).__name__}")
    return data


def _one_of(kinds: tuple[Any, ...], data: Any, where: str) -> Any:
    if data is None and type(None) in kinds:
        return None
    fault = CodecError(f"{where}: found nothing")
    for kind in kinds:
        if kind is not type(None):
            try:
                return _reader(kind)(data, where)
            except CodecError as error:
                fault = error
    raise fault


def _member(kind: type[Enum], data: Any, where: str) -> Enum:
    try:
        return kind(data)
    except ValueError:
        raise CodecError(f"{where}: {str(data)[:40]!r} is no {kind.__name__}") from None


def _view(kind: type, data: Any, where: str) -> Any:
    _of(dict, data, where)
    values = {
        name: read(data[name], f"{where}.{name}")
        for name, read in _readers(kind).items()
        if name in data
    }
    try:
        return kind(**values)
    except TypeError as error:
        raise CodecError(f"{where or kind.__name__}: {error}") from None
