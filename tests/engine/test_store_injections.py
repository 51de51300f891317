"""What the store keeps of injections, queued terms and chains, and what goes with a request."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.engine.injection.policy import (
    Blocked,
    Chain,
    ChainBounds,
    Injection,
    InjectionState,
    InjectionTerms,
    InjectMode,
    Position,
    QueuedTerms,
)
from ksi_tui.engine.models import Usage
from ksi_tui.engine.store import migrations
from ksi_tui.engine.store.base import CallBooked, Store
from ksi_tui.engine.store.injection_records import (
    InjectionMoved,
    InjectionSaved,
    PendingFound,
    TermsGone,
    TermsSaved,
)
from ksi_tui.engine.store.sqlite import open_store
from tests.engine.store_values import T0, accepted, call, finished, spec, started

TERMS = QueuedTerms(terms=InjectionTerms(targets=("a",)), bounds=ChainBounds(max_depth=2))


def injection(number: int, **fields: Any) -> Injection:
    given = {
        "injection_id": f"i-{number}",
        "session_id": "s",
        "mode": InjectMode.NEXT,
        "position": Position.POSTSCRIPT,
        "content": f"text {number}",
        "created_at": T0 + number,
    }
    return Injection(**{**given, **fields})


def saved(number: int, **fields: Any) -> InjectionSaved:
    return InjectionSaved(injection=injection(number, **fields))


def moved(number: int, state: InjectionState, request_id: str | None = None) -> InjectionMoved:
    return InjectionMoved(
        injection_id=f"i-{number}", state=state, at=T0 + 50, request_id=request_id
    )


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(tmp_path / "ksi.db")
    yield opened
    await opened.aclose()


async def test_an_injection_is_found_as_it_was_saved(store: Store) -> None:
    full = injection(
        1,
        source_id="r-1",
        trigger_type="t",
        follow_up_guidance="g",
        expires_at=T0 + 99,
        state=InjectionState.BLOCKED,
        request_id="r-2",
        bound_at=T0 + 3,
        blocked=Blocked(bound="token_budget", limit=5, found=6.5),
    )
    await store.write(InjectionSaved(injection=full), saved(2))
    assert list(await store.injections(["i-2", "i-1", "nobody"])) == [full, injection(2)]


async def test_half_of_a_surrogate_pair_refuses_nothing(store: Store) -> None:
    await store.write(saved(1, content="half \ud800", trigger_type="\udc00"))
    (found,) = await store.injections(["i-1"])
    assert (found.content, found.trigger_type) == ("half ?", "?")


async def test_only_what_is_still_to_be_sent_is_loaded_in_order(store: Store) -> None:
    states = list(InjectionState)
    await store.write(*(saved(n, state=state, request_id="r-9") for n, state in enumerate(states)))
    await store.write(saved(99, session_id="t", follow_up_guidance="12", expires_at=T0))
    found = list((await store.load()).injections)
    assert [each.injection_id for each in found] == ["i-0", "i-1", "i-99"]
    assert found[-1] == PendingFound(
        injection_id="i-99", session_id="t", chars=9, expires_at=T0, request_id=None
    )
    assert found[1].request_id == "r-9"


async def test_a_known_id_changes_nothing(store: Store) -> None:
    await store.write(saved(1))
    await store.write(saved(1, content="other"))
    assert list(await store.injections(["i-1"])) == [injection(1)]


async def test_in_one_transaction_the_last_move_of_each_counts(store: Store) -> None:
    # A release that was handed over first must not run after the binding of another request.
    await store.write(
        saved(1),
        saved(2),
        moved(2, InjectionState.BOUND, "r-0"),
        moved(2, InjectionState.PENDING),
        moved(1, InjectionState.BOUND, "r-1"),
        moved(1, InjectionState.PENDING),
        moved(2, InjectionState.BOUND, "r-2"),
    )
    found = {each.injection_id: each for each in await store.injections(["i-1", "i-2"])}
    assert (found["i-1"].state, found["i-1"].request_id) == (InjectionState.PENDING, None)
    assert (found["i-2"].state, found["i-2"].request_id) == (InjectionState.BOUND, "r-2")


async def test_a_move_tells_when_it_became_part_of_a_prompt(store: Store) -> None:
    await store.write(saved(1))
    await store.write(moved(1, InjectionState.BOUND, "r-1"))
    await store.write(replace(moved(1, InjectionState.USED, "r-1"), at=T0 + 70))
    (found,) = await store.injections(["i-1"])
    assert (found.state, found.request_id, found.bound_at) == (
        InjectionState.USED,
        "r-1",
        T0 + 50,
    )
    await store.write(saved(2), moved(2, InjectionState.QUEUED, "i-2"))
    (found,) = await store.injections(["i-2"])
    assert (found.mode, found.bound_at) == (InjectMode.DIRECT, T0 + 50)
    assert list(await store.direct_of(["i-1", "i-2", "r-1"])) == ["i-2"]


@pytest.mark.parametrize("state", [InjectionState.EXPIRED, InjectionState.CLEARED])
async def test_what_nobody_is_told_of_is_forgotten(store: Store, state: InjectionState) -> None:
    await store.write(accepted(1))
    await store.write(saved(1), saved(2, source_id="r-1"), saved(3, source_id="gone"))
    await store.write(*(moved(number, state) for number in (1, 2, 3)))
    found = await store.injections(["i-1", "i-2", "i-3"])
    assert [(each.injection_id, each.state) for each in found] == [("i-2", state)]


async def test_a_request_is_told_of_both_its_sides(store: Store) -> None:
    await store.write(accepted(1))
    about = [saved(1, source_id="r-1"), saved(2, request_id="r-1"), saved(3, source_id="r-2")]
    await store.write(*about)
    found = await store.request("r-1")
    assert found is not None
    assert [each.injection_id for each in found.injections] == ["i-1", "i-2"]


async def test_terms_are_kept_replaced_and_gone(store: Store) -> None:
    owed = replace(TERMS, bounds=None, owed=True)
    await store.write(TermsSaved(request_id="a", queued=TERMS))
    await store.write(
        TermsSaved(request_id="a", queued=owed), TermsSaved(request_id="b", queued=TERMS)
    )
    assert (await store.load()).injection_terms == {"a": owed, "b": TERMS}
    await store.write(TermsGone(request_id="a"), TermsGone(request_id="nobody"))
    await store.write(TermsGone(request_id="b"), TermsSaved(request_id="b", queued=owed))
    assert (await store.load()).injection_terms == {"b": owed}


async def test_what_a_request_asks_for_is_found_again(store: Store) -> None:
    asked = spec(
        1,
        injection=InjectionTerms(mode=InjectMode.DIRECT, ttl_s=5.0, targets=("a", "b")),
        chain=ChainBounds(token_budget=7, parent_request_id="r-0"),
        injected=True,
    )
    await store.write(replace(accepted(1), spec=asked))
    assert await store.specs(["r-1"]) == {"r-1": asked}


async def test_a_chain_counts_all_calls_of_root_and_descendants(store: Store) -> None:
    def child(number: int, parent: int) -> Any:
        chain = ChainBounds(parent_request_id=f"r-{parent}")
        return replace(accepted(number, at=T0 + number), spec=spec(number, chain=chain))

    await store.write(accepted(1), child(2, 1), child(3, 2), child(4, 1), accepted(5))
    used = Usage(input=1, cache_read=10, cache_write=100, output=1000, reasoning=10000)
    await store.write(*(CallBooked(call=call(number, usage=used)) for number in (1, 2, 3, 5)))
    await store.write(CallBooked(call=call(3, usage=None)))
    depths = {1: 1, 2: 2, 3: 3, 4: 2}
    for number, depth in depths.items():
        chain = await store.chain(f"r-{number}")
        assert chain == Chain(depth=depth, tokens=3 * used.total, root_at=T0)
    assert await store.chain("r-5") == Chain(depth=1, tokens=used.total, root_at=T0)
    assert await store.chain("nobody") is None


async def test_what_concerns_a_request_goes_with_it(tmp_path: Path) -> None:
    path = tmp_path / "ksi.db"
    async with await open_store(path) as store:
        chain = ChainBounds(parent_request_id="r-0")
        await store.write(replace(accepted(1), spec=spec(1, chain=chain)), started(1))
        await store.write(finished(1, 1), TermsSaved(request_id="r-1", queued=TERMS))
        await store.write(
            saved(1, request_id="r-1", state=InjectionState.USED),
            saved(2, source_id="r-1", state=InjectionState.BLOCKED),
            saved(3, source_id="r-1"),
            saved(4, source_id="r-1", request_id="r-2", state=InjectionState.USED),
        )
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("DELETE FROM requests")
    async with await open_store(path) as store:
        found = await store.injections([f"i-{number}" for number in range(1, 5)])
        # What is still to be sent stays, and what another request is told of.
        assert [each.injection_id for each in found] == ["i-3", "i-4"]
        assert (await store.load()).injection_terms == {}
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT COUNT(*) FROM chains").fetchone() == (0,)


async def test_an_old_database_gets_the_tables_and_keeps_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ksi.db"
    old = [step for step in migrations.migrations() if step.number < 4]
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "migrations", lambda: tuple(old))
        migrations.prepare(path)
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute(
            "INSERT INTO requests (row, request_id, session_id, asked_model, model, state, rank,"
            " place, queued_at, max_attempts, timeout_s, needs_mcp, lock_fails)"
            " VALUES (1, 'r-1', 's-1', 'm', 'm', 'queued', 3, 1, 5.0, 3, 900.0, 0, 0)"
        )
        raw.execute("INSERT INTO payloads VALUES (1, ?)", ('{"max_attempts":3,"prompt":"old"}',))
    async with await open_store(path) as store:
        (asked,) = (await store.specs(["r-1"])).values()
        assert (asked.prompt, asked.injection, asked.chain, asked.injected) == (
            "old",
            None,
            None,
            False,
        )
        assert await store.chain("r-1") == Chain(depth=1, tokens=0, root_at=5.0)
        await store.write(saved(1))
        assert len((await store.load()).injections) == 1
