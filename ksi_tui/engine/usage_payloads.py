"""The edge for reports: what the questions about use and history may carry.

Shapes and their faults only; the answers are `usage_series`' and `journal`'s.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ksi_tui.engine.payloads import Id, Payload


class Series(Payload):
    """Data of `completion:series`. `limit` bounds the series by name; the rest is one more."""

    hours: Annotated[float, Field(ge=0.25, le=168, allow_inf_nan=False)]
    by: Literal["model", "provider"] | None = None
    points: Annotated[int, Field(ge=2, le=300)] = 120
    limit: Annotated[int, Field(ge=1, le=50)] = 12


class JournalPage(Payload):
    """Data of `system:journal`: entries below `before`, the newest first."""

    pattern: Annotated[str, Field(min_length=1, max_length=200)] = "*"
    provider: Id | None = None
    session_id: Id | None = None
    request_id: Id | None = None
    before: Annotated[int, Field(ge=1, lt=2**63)] | None = None
    limit: Annotated[int, Field(ge=1, le=1_000)] = 100
