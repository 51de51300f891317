"""What is wrong with an event's data, in words: where, what was found, what is allowed.

Nothing of the validator's or of Python's own words reaches a caller who speaks JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import AliasChoices, BaseModel

from ksi_tui.names import NAME_PATTERN, NAME_WORDS

MAX_PATH_CHARS = 250
"""So much of the way to a wrong key is told; the longest name of our own is far below it."""


def explained(fault: Any, model: type[BaseModel]) -> str:
    """Return one fault of the validator as a sentence."""
    where = shortened(".".join(str(part) for part in fault["loc"]), MAX_PATH_CHARS)
    kind = fault["type"]
    if kind == "extra_forbidden":
        return f"unknown key {where!r}; {_known(model, fault['loc'])}"
    if kind == "missing":
        return f"{where} is missing"
    message = fault["msg"].removeprefix("Value error, ")
    if kind == "value_error":
        return f"{where}: {message}" if where else message
    if kind == "string_pattern_mismatch":
        message = pattern_words(fault)
    message = _PLAIN_WORDS.get(kind, message)
    return f"{where}: {message}; found {shown(fault['input'])}"


def pattern_words(fault: Any) -> str:
    """Return what a text that fits no pattern should be: a name's, or else an id's."""
    if fault["ctx"]["pattern"] == NAME_PATTERN:
        return f"this is a name: {NAME_WORDS}"
    return "control characters and marks of direction are not allowed"


_PLAIN_WORDS = {
    "dict_type": "this is an object",
    "model_type": "this is an object",
    "model_attributes_type": "this is an object",
    "list_type": "this is a list",
    "tuple_type": "this is a list",
}
"""What the validator's own words would tell of Python and of patterns."""


def _known(model: type[BaseModel], loc: Sequence[int | str]) -> str:
    """Return which keys are allowed where an unknown one was found."""
    fields: Mapping[str, Any] = model.model_fields
    for part in loc[:-1]:
        field = fields.get(str(part))
        inner = next(_models_of(field.annotation), None) if field is not None else None
        if inner is None:
            return "it is not allowed there"
        fields = inner.model_fields
    last = loc[-1]
    for name, field in fields.items():
        alias = field.validation_alias
        if isinstance(alias, AliasChoices) and last in alias.choices:
            return f"it means the same as {name}: give one of them"
    return f"allowed: {', '.join(fields)}" if fields else "this takes no data"


def _models_of(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models in a field's type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_of(inner)


def shown(value: Any, limit: int = 80) -> str:
    """Return what was found, as it would be typed; never long, and whatever it is."""
    try:
        return shortened(repr(value[: limit + 1] if isinstance(value, str) else value), limit)
    except RecursionError:
        return "something nested too deep"
    except ValueError:  # Python writes no number of so many digits
        return "a number too long to tell"


def shortened(text: str, limit: int = 80) -> str:
    """Return text from outside so short that an error stays readable."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
