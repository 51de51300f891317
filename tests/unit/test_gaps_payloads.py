"""How much of what waits is kept in memory, and that the rest is read when it is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest

from ksi_tui.engine import payload_cache
from ksi_tui.engine.models import RequestSpec
from ksi_tui.engine.payload_cache import PayloadCache
from ksi_tui.engine.store.base import Store
from ksi_tui.engine.ticket import Ticket, ticket_of


class Disk:
    """A store that knows payloads and counts what is asked of it."""

    def __init__(self, *specs: RequestSpec) -> None:
        self._specs = {spec.request_id: spec for spec in specs}
        self.asked: list[list[str]] = []

    async def specs(self, request_ids: Sequence[str]) -> dict[str, RequestSpec]:
        self.asked.append(list(request_ids))
        return {name: self._specs[name] for name in request_ids if name in self._specs}


def asked(name: str, characters: int = 5_000) -> RequestSpec:
    return RequestSpec(
        request_id=name,
        session_id="s",
        model="m",
        prompt="x" * characters,
        timeout_s=900,
        max_attempts=3,
    )


def ticket(spec: RequestSpec) -> Ticket:
    return ticket_of(spec, place=1, now=0.0)


@pytest.fixture
def _little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payload_cache, "BUDGET_CHARS", 10_000)


@pytest.mark.usefixtures("_little_room")
async def test_memory_is_bounded_and_what_is_over_is_read_from_disk() -> None:
    first, second = asked("first"), asked("second")
    disk = Disk(first, second)
    cache = PayloadCache(cast(Store, disk))
    one, two = ticket(first), ticket(second)
    cache.keep(one, first)
    cache.keep(two, second)
    assert (one.spec, two.spec) == (first, None)
    assert await cache.load(one) is first
    assert disk.asked == []
    assert await cache.load(two) is second
    assert disk.asked == [["second"]]


@pytest.mark.usefixtures("_little_room")
def test_what_is_forgotten_makes_room() -> None:
    first, second = asked("first"), asked("second")
    cache = PayloadCache(cast(Store, Disk()))
    one, two = ticket(first), ticket(second)
    cache.keep(one, first)
    cache.forget(one)
    cache.keep(two, second)
    assert (one.spec, two.spec) == (None, second)


async def test_a_payload_that_is_not_there_is_an_error_and_no_wait() -> None:
    cache = PayloadCache(cast(Store, Disk()))
    with pytest.raises(KeyError, match="gone"):
        await cache.load(ticket(asked("gone")))
