"""What the events about finding may carry."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from ksi_tui.engine.filter.grammar import MAX_CHARS
from ksi_tui.engine.payloads import Payload
from ksi_tui.engine.store.found import NamesOf, SortBy

MAX_ROWS = 1000
MAX_IDS = 10_000
_META = "meta."


class FindRequests(Payload):
    """Data of `completion:requests`."""

    filter: str = ""
    sort: SortBy = SortBy.QUEUED
    descending: bool | None = None
    offset: Annotated[int, Field(ge=0, lt=2**31)] = 0
    limit: Annotated[int, Field(ge=1, le=MAX_IDS)] | None = None
    ids_only: bool = False

    @model_validator(mode="after")
    def _within(self) -> Self:
        if not self.ids_only and (self.limit or 0) > MAX_ROWS:
            raise ValueError(f"limit: at most {MAX_ROWS}, or {MAX_IDS} with ids_only")
        return self


class FindNames(Payload):
    """Data of `completion:names`."""

    field: str
    prefix: Annotated[str, Field(max_length=MAX_CHARS)] = ""
    limit: Annotated[int, Field(ge=1, le=1000)] = 20

    @model_validator(mode="after")
    def _known(self) -> Self:
        if not self.field.startswith(_META) and self.field not in frozenset(NamesOf):
            raise ValueError(f"field: allowed: {', '.join(NamesOf)}, meta.KEY")
        return self

    @property
    def key(self) -> str | None:
        """The key of the metadata whose values are asked for."""
        return self.field.removeprefix(_META) if self.field.startswith(_META) else None

    @property
    def of(self) -> NamesOf:
        """Whose names are asked for."""
        return NamesOf.META if self.key is not None else NamesOf(self.field)
