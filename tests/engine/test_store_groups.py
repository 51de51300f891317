"""Group commit: who is told when, and that each write keeps its place, however it came to disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ksi_tui.engine.errors import StoreError
from ksi_tui.engine.models import State
from ksi_tui.engine.store.base import ProviderSaved, Write
from ksi_tui.engine.store.sqlite import SqliteStore, open_store
from tests.engine.store_values import accepted, moved

CROWD = 1000
MANY = 300
"""More writes than are gathered where they are handed over."""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = await open_store(tmp_path / "ksi.db")
    yield opened
    await opened.aclose()


async def test_a_crowd_is_told_while_the_next_transaction_is_on_its_way(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    told_at_commit: list[int] = []
    connection = store._writer._connection
    commit = connection.commit

    async def watched() -> None:
        told_at_commit.append(len(told))
        await commit()

    monkeypatch.setattr(connection, "commit", watched)
    later: list[asyncio.Future[None]] = []

    def note(number: int, _: asyncio.Future[None]) -> None:
        told.append(number)
        if number == 1:
            later.append(store.write(moved(1, State.QUEUED, State.PROCESSING)))

    crowd = [store.write(accepted(number)) for number in range(1, CROWD + 1)]
    for number, each in enumerate(crowd, start=1):
        each.add_done_callback(partial(note, number))
    await asyncio.gather(*crowd)
    await later[0]
    assert told == list(range(1, CROWD + 1)), "each once, in the order of their writes"
    assert told_at_commit[0] == 0
    assert 0 < told_at_commit[1] < CROWD, "the second one waited until everybody was told"


def _writes(kind: str, number: int) -> list[Write]:
    """What is handed over as `number`: a value that can be seen, as much as `kind` says."""
    saved: list[Write] = [ProviderSaved(provider="p", state={"number": number})]
    match kind:
        case "small":
            return saved
        case "large":
            return saved * MANY
        case "no json":
            return [ProviderSaved(provider="p", state={"number": {1j}})]
        case _:  # the request is there already
            return [accepted(1), *saved]


KINDS = st.sampled_from(["small", "large", "no json", "twin"])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(KINDS, st.integers(0, 3)), min_size=1, max_size=12))
async def test_what_is_refused_spoils_nothing_of_what_is_written_beside_it(
    tmp_path_factory: pytest.TempPathFactory, plan: list[tuple[str, int]]
) -> None:
    store = await open_store(tmp_path_factory.mktemp("groups") / "ksi.db")
    try:
        await store.write(accepted(1))
        futures = []
        for number, (kind, turns) in enumerate(plan):
            futures.append(store.write(*_writes(kind, number)))
            for _ in range(turns):
                await asyncio.sleep(0)
        outcomes = await asyncio.gather(*futures, return_exceptions=True)
        for (kind, _), outcome in zip(plan, outcomes, strict=True):
            fine = kind in ("small", "large")
            assert outcome is None if fine else isinstance(outcome, StoreError)
        kept = [number for number, (kind, _) in enumerate(plan) if kind in ("small", "large")]
        saved = (await store.load()).providers.get("p")
        assert saved == ({"number": kept[-1]} if kept else None)
    finally:
        await store.aclose()
