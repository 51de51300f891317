"""What a filter can ask for, as data: the grammar, the completion and the help all read this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import Priority, State
from ksi_tui.engine.views import Phase


class FieldKind(StrEnum):
    """How a field is asked for."""

    TEXT = "text"  # name:value
    CHOICE = "choice"  # name:value, of a few known words
    META = "meta"  # meta.KEY:value
    COUNT = "count"  # name>1k
    MONEY = "money"  # name>0.01, dollars
    DURATION = "duration"  # name>30s

    @property
    def compared(self) -> bool:
        """Whether the field is a number that one compares with."""
        return self in (FieldKind.COUNT, FieldKind.MONEY, FieldKind.DURATION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One thing to ask for. `choices` are its known words; `example` is a term with it."""

    name: str
    kind: FieldKind
    about: str
    example: str
    choices: tuple[str, ...] = ()


STATUS_WORDS: Final = tuple(dict.fromkeys([*map(str, State), *(str(phase) for phase in Phase)]))
"""The states of a request, and what it is doing in the words of the screen."""

_ALL: Final = (
    Field(
        name="session",
        kind=FieldKind.TEXT,
        about="the session's id",
        example="session:acme-42",
    ),
    Field(
        name="agent",
        kind=FieldKind.TEXT,
        about="the agent that asked",
        example="agent:research*",
    ),
    Field(
        name="model",
        kind=FieldKind.TEXT,
        about="the model asked for, or the one that answers",
        example="model:gpt-4o-mini",
    ),
    Field(
        name="provider",
        kind=FieldKind.TEXT,
        about="the provider that answers or answered",
        example="provider:openai,anthropic",
    ),
    Field(
        name="status",
        kind=FieldKind.CHOICE,
        about="its state, or what it is doing",
        example="status:failed,cancelled",
        choices=STATUS_WORDS,
    ),
    Field(
        name="error",
        kind=FieldKind.TEXT,
        about="kind or text of its last error",
        example="error:timeout",
        choices=tuple(map(str, ErrorKind)),
    ),
    Field(
        name="why",
        kind=FieldKind.TEXT,
        about="what an unfinished one waits for",
        example='why:"lock held by"',
    ),
    Field(
        name="priority",
        kind=FieldKind.CHOICE,
        about="how urgent it is",
        example="priority:critical,high",
        choices=tuple(map(str, Priority)),
    ),
    Field(
        name="meta",
        kind=FieldKind.META,
        about="what the caller noted under KEY",
        example="meta.customer:globex",
    ),
    Field(name="id", kind=FieldKind.TEXT, about="the request's id", example="id:r-81"),
    Field(
        name="age",
        kind=FieldKind.DURATION,
        about="how long ago it was queued",
        example="age>30s",
    ),
    Field(
        name="tokens",
        kind=FieldKind.COUNT,
        about="tokens of all its calls",
        example="tokens>1k",
    ),
    Field(
        name="cost",
        kind=FieldKind.MONEY,
        about="dollars of all its calls, as far as priced",
        example="cost>0.01",
    ),
    Field(
        name="attempts",
        kind=FieldKind.COUNT,
        about="attempts begun",
        example="attempts>1",
    ),
    Field(
        name="latency",
        kind=FieldKind.DURATION,
        about="from when it was queued to its end",
        example="latency>2s",
    ),
    Field(
        name="ttft",
        kind=FieldKind.DURATION,
        about="time to first token",
        example="ttft>1s",
    ),
)

FIELDS: Final[Mapping[str, Field]] = {field.name: field for field in _ALL}
"""Every field by its name, in the order in which they are offered."""
