"""That what is reported is the sum of the calls, whatever happened to the requests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ksi_tui.config import Config
from ksi_tui.engine import CompletionEngine
from ksi_tui.engine.core import Core
from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import CallRecord, Usage
from ksi_tui.engine.store.base import UsageFolded
from ksi_tui.engine.store.records import UsageQuery
from ksi_tui.engine.usage_report import sums_reply
from tests.engine.engine_fixtures import HandClock, config, provider, until
from tests.engine.telling import ANSWER, Step, Telling
from tests.engine.test_store_usage import _sum

DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request of the history: who asks, what its calls do, how long until it is looked at."""

    session: int
    agent: str | None
    model: str
    steps: tuple[Step, ...]
    tools: bool
    later_s: float


usages = st.none() | st.builds(
    Usage, input=st.integers(0, 99), cache_read=st.integers(0, 9), output=st.integers(0, 99)
)
costs = st.none() | st.integers(0, 9).map(lambda quarters: quarters / 4)
kinds = st.sampled_from(
    [None, ErrorKind.PROVIDER_ERROR, ErrorKind.NETWORK_ERROR, ErrorKind.INVALID_REQUEST]
)
steps = st.builds(
    Step,
    usage=usages,
    cost=costs,
    kind=kinds,
    hold=st.booleans(),
    schemas=st.none() | st.integers(0, 9),
    savings=costs,
)
asked = st.builds(
    Asked,
    session=st.integers(1, 3),
    agent=st.sampled_from([None, "a1", "a2"]),
    model=st.sampled_from(["m1", "m2"]),
    steps=st.lists(steps, max_size=4).map(lambda some: (*some, ANSWER)),
    tools=st.booleans(),
    later_s=st.integers(0, 4 * 40_000).map(lambda quarters: quarters / 4),
)
lives = st.lists(st.lists(asked, max_size=5), min_size=1, max_size=3)


class Life:
    """One life of an engine over the database, and what a person does to it."""

    def __init__(self, settings: Config, clock: HandClock, plans: dict[str, list[Step]]) -> None:
        self.clock = clock
        self.providers = {each.name: Telling(each.name, plans) for each in settings.providers}
        self.engine = CompletionEngine(
            settings, clock=clock, build=lambda each: self.providers[each.name]
        )

    @property
    def core(self) -> Core:
        assert self.engine._parts is not None
        return self.engine._parts.core

    @property
    def closing(self) -> bool:
        """Whether a stopped call is still to be closed, and booked."""
        assert self.engine._parts is not None
        return bool(list(self.engine._parts.replies._closing))

    @property
    def held(self) -> list[str]:
        return sorted(one for each in self.providers.values() for one in each.holding)

    async def quiet(self) -> None:
        """Wait until every session that has a request holds one, and what was stopped is booked."""
        core = self.core

        def all_hold() -> bool:
            running = [lane.running for lane in core.queue.lanes()]
            held = set(self.held)
            return not (core.finishing or self.closing) and all(
                ticket is not None and ticket.request_id in held for ticket in running
            )

        await until(all_hold, "every session ends or holds")

    async def cancel_all(self) -> None:
        """Cancel what is held until nothing is left."""
        await self.quiet()
        while held := self.held:
            for request_id in held:
                await self.engine.emit("completion:cancel", {"request_id": request_id})
            await until(partial(self._none_held, held), "the calls are stopped")
            await self.quiet()

    def _none_held(self, ids: Sequence[str]) -> bool:
        return not set(ids) & set(self.held)


async def _submit(life: Life, requests: Sequence[Asked], number: int) -> int:
    for one in requests:
        number += 1
        data: dict[str, Any] = {"tools": [{"type": "function"}]} if one.tools else {}
        if one.agent is not None:
            data["agent_id"] = one.agent
        life.clock.now += one.later_s
        reply = await life.engine.emit(
            "completion:async",
            {
                "request_id": f"r-{number}",
                "session_id": f"s-{one.session}",
                "model": one.model,
                "prompt": "x",
                "max_attempts": 3,
                **data,
            },
        )
        assert "code" not in reply, reply
        if one.later_s > 5000:
            life.core.store.write(UsageFolded(at=life.clock.now))
    return number


async def _booked(core: Core) -> list[CallRecord]:
    await core.store.write()
    return [call for _, call in await core.store.usage_records(UsageQuery(), 0, 10_000)]


async def _check(life: Life) -> None:
    calls = await _booked(life.core)
    whole = await life.engine.emit("completion:token_usage")
    assert whole["usage"] == sums_reply(_sum(calls))
    assert whole["waste"]["tokens"] == _sum(calls).waste_tokens
    assert whole["mcp_statistics"]["mcp_requests"] == _sum(calls).mcp_requests
    assert whole["mcp_statistics"]["tool_schema_tokens"] == _sum(calls).tool_schema_tokens
    for selector, values in {
        "provider": {call.provider for call in calls},
        "model": {call.model for call in calls},
        "agent_id": {call.agent_id for call in calls if call.agent_id},
        "session_id": {call.session_id for call in calls},
    }.items():
        for value in values:
            reply = await life.engine.emit("completion:token_usage", {selector: value})
            mine = [call for call in calls if getattr(call, selector) == value]
            assert reply == {selector: value, "usage": sums_reply(_sum(mine))}
    # An answer goes to disk with its request's end; the screen counts it at its own.
    running = [lane.running for lane in life.core.queue.lanes()]
    runs = [ticket.run for ticket in running if ticket is not None and ticket.run is not None]
    _check_today(life, [*calls, *(run.answer for run in runs if run.answer)])


def _check_today(life: Life, booked: Iterable[CallRecord]) -> None:
    now = life.clock.now
    calls = [call for call in booked if call.finished_at >= now - now % DAY_S]
    tokens, sums = life.core.tokens, _sum(calls)
    assert (tokens.cost_today(now), tokens.unpriced_today(now)) == (sums.cost, sums.unpriced)
    assert tokens.waste_today(now) == (sums.waste_calls, sums.waste_s)
    view = tokens.view(now, 10)
    assert view.waste_tokens == sums.waste_tokens
    for row in view.rows:
        mine = _sum(call for call in calls if call.provider == row.provider)
        assert row.input == mine.usage.input + mine.usage.cache_read
        assert (row.output, row.unpriced) == (mine.usage.output, mine.unpriced)


@settings(max_examples=40)
@given(history=lives)
async def test_reports_are_the_sums_of_the_calls(history: list[list[Asked]]) -> None:
    numbered = [one for life in history for one in life]
    plans = {f"r-{number}": list(one.steps) for number, one in enumerate(numbered, 1)}
    clock, number = HandClock(), 0
    with tempfile.TemporaryDirectory() as folder:
        settings = config(
            Path(folder),
            providers=[provider("p"), provider("q", "m1", priority=2)],
            circuit={"fail_max": 100},  # who waits for a probe waits for a clock that stands
        )
        for index, requests in enumerate(history):
            life = Life(settings, clock, plans)
            async with life.engine:
                number = await _submit(life, requests, number)
                await life.quiet()
                if index == len(history) - 1:
                    await life.cancel_all()
                    counts = life.core.counts
                    assert sum(counts.values()) == number
                    assert all(state.final for state, count in counts.items() if count)
                await _check(life)
        last = Life(settings, clock, plans)
        async with last.engine:
            await _check(last)
