"""Providers that tell what a test says of usage and cost: one step a call, by request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from ksi_tui.config import Config
from ksi_tui.engine.errors import ErrorKind, ProviderFault
from ksi_tui.engine.models import Usage
from ksi_tui.engine.providers.base import CallObserver, CallResult, CallSpec, Closed
from tests.engine.engine_fixtures import HandClock, Rig, gathering


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one call does: answer, fail with `kind`, or `hold` until it is cancelled."""

    usage: Usage | None = None
    cost: float | None = None
    kind: ErrorKind | None = None
    hold: bool = False
    text: str = "hello"
    raw: Mapping[str, Any] | None = None
    schemas: int | None = None
    savings: float | None = None


ANSWER = Step(usage=Usage(input=7, output=3))


class Telling:
    """Plays a request's steps in their order, whoever of the providers is called; then answers."""

    def __init__(self, name: str, plans: Mapping[str, list[Step]]) -> None:
        self.name = name
        self.holding: set[str] = set()
        self._plans = plans

    async def call(self, spec: CallSpec, observer: CallObserver) -> CallResult:
        steps = self._plans.get(spec.request_id) or [ANSWER]
        step = steps.pop(0) if len(steps) > 1 else steps[0]
        if step.hold:
            await self._hold(spec.request_id, step, observer)
        if step.kind is not None:
            raise ProviderFault(
                step.kind,
                "scripted",
                usage=step.usage,
                cost=step.cost,
                price_version="told",
                tool_schema_tokens=step.schemas,
            )
        return CallResult(
            response={"choices": [{"message": {"role": "assistant", "content": step.text}}]},
            text=step.text,
            usage=step.usage or Usage(),
            raw_usage=step.raw,
            cost=step.cost,
            price_version="told",
            tool_schema_tokens=step.schemas,
            cache_savings=step.savings,
        )

    async def _hold(self, request_id: str, step: Step, observer: CallObserver) -> None:
        observer.on_text(step.text, 1)
        self.holding.add(request_id)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            observer.on_closed(
                Closed(after_ms=1.0, confirmed=True, usage=step.usage, cost=step.cost)
            )
            raise
        finally:
            self.holding.discard(request_id)

    async def aclose(self) -> None:
        """Hold nothing."""


def plans(steps: Mapping[str, Sequence[Step]]) -> dict[str, list[Step]]:
    """Return steps by request id, to be played."""
    return {request_id: list(each) for request_id, each in steps.items()}


@asynccontextmanager
async def told(
    settings: Config, steps: Mapping[str, Sequence[Step]], clock: HandClock | None = None
) -> AsyncIterator[Rig]:
    """Run an engine whose providers play these steps; what it emits is gathered on the rig."""
    rig, played = Rig(settings, clock), plans(steps)
    rig.providers = {each.name: Telling(each.name, played) for each in settings.providers}  # type: ignore[misc]
    async with gathering(rig):
        yield rig
