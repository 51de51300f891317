"""What any `Store` must do. A test module subclasses `StoreContract` and says how to open one.

Each test writes through the seam, and most look again after a reopening: what a write's
future promised must be found by the next engine.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from ksi_tui.engine.errors import ErrorKind, StoreUnavailable
from ksi_tui.engine.models import (
    Action,
    CallRecord,
    Lock,
    LockTerms,
    Message,
    OnConflict,
    Outcome,
    Priority,
    State,
    Usage,
    Verdict,
    VerdictKind,
)
from ksi_tui.engine.store.base import (
    ActionTaken,
    AttemptBooked,
    CallBooked,
    LockGone,
    LockSaved,
    Moved,
    ProviderSaved,
    SessionSeen,
    Store,
    StoredRequest,
    Unfinished,
)
from tests.engine.store_values import (
    T0,
    accepted,
    attempt,
    call,
    envelope,
    finished,
    moved,
    spec,
    started,
)

Open = Callable[[], Awaitable[Store]]


class StoreContract:
    """Subclass it with a fixture `open_again` that opens one and the same database."""

    @pytest.fixture
    async def store(self, open_again: Open) -> AsyncIterator[Store]:
        opened = await open_again()
        yield opened
        await opened.aclose()

    # --- requests -------------------------------------------------------------------------

    async def test_a_new_store_is_empty(self, store: Store) -> None:
        recovery = await store.load()
        assert (recovery.unfinished, recovery.sessions, recovery.locks) == ([], [], [])
        assert recovery.counts == dict.fromkeys(State, 0)
        assert (recovery.next_place, recovery.next_number, recovery.next_finish_seq) == (1, 1, 1)
        assert await store.request("r-1") is None
        assert await store.session("s-1") is None
        assert store.fault is None

    async def test_an_accepted_request_is_found_with_all_that_was_asked(
        self, store: Store, open_again: Open
    ) -> None:
        asked = spec(
            1,
            messages=({"role": "user", "content": "häh? \ud800 \U0001f600\x00"},),
            agent_id="a1",
            client_id="c1",
            priority=Priority.INJECT,
            stream=False,
            history=False,
            timeout_s=12.5,
            max_attempts=7,
            lock=LockTerms(timeout_s=30.0, on_conflict=OnConflict.FAIL),
            params={"temperature": 0.5, "extra_body": {"ksi": {"mcp_config_path": "/x"}}},
            metadata={"deep": {"list": [1, None, True]}},
        )
        await store.write(_accept(asked))
        await store.aclose()
        again = await open_again()
        found = await again.request("r-1")
        recovery = await again.load()
        specs = await again.specs(["r-1", "nobody"])
        await again.aclose()
        assert found is not None
        assert found.spec == asked
        assert specs == {"r-1": asked}
        assert recovery.unfinished == [
            Unfinished(
                request_id="r-1",
                session_id="s-1",
                agent_id="a1",
                model="gpt-4o",
                state=State.QUEUED,
                rank=Priority.INJECT.rank,
                level=Priority.INJECT.level,
                place=1,
                queued_at=T0,
                started_at=None,
                retry_at=None,
                attempts=0,
                walks=0,
                interruptions=0,
                max_attempts=7,
                timeout_s=12.5,
                spent_s=0.0,
                stream=False,
                needs_mcp=True,
                lock_timeout_s=30.0,
                lock_fails=True,
                avoid=(),
                error_kind=None,
                error_message=None,
            )
        ]

    async def test_a_whole_life_is_found_again(self, store: Store, open_again: Open) -> None:
        verdicts = (
            Verdict(provider="openai", kind=VerdictKind.OPEN, detail="probe later", until=T0 + 9),
            Verdict(provider="azure", kind=VerdictKind.TAKEN),
        )
        booked = attempt(1, verdicts=verdicts, error_kind=ErrorKind.TIMEOUT, retry_at=T0 + 3)
        lost = call(
            1,
            outcome=Outcome.FAILED,
            first_token_at=T0 + 1.25,
            last_token_at=T0 + 2,
            error_kind=ErrorKind.TIMEOUT,
            error_message="no token for 60 s \ud800",
            status=504,
            usage=Usage(1, 2, 3, 4, 5, True) if False else _usage(),
            raw_usage={"prompt_tokens": 6, "details": {"cached": 2}},
            cost=None,
            price_version="2026-11",
            partial_text="half an ans",
            upstream_closed_ms=4.5,
        )
        done = finished(
            1,
            1,
            attempts=2,
            walks=2,
            started_at=T0 + 1,
            ttft_ms=250.0,
            provider="azure",
            answered_model="gpt-4o-mini",
            result=envelope("hello"),
            text="hello",
        )
        did = Action(at=T0, name="completion:retry", target="r-1", by="op1", reason="why not")
        await store.write(accepted(1))
        await store.write(started(1))
        await store.write(AttemptBooked(attempt=booked), CallBooked(call=lost))
        await store.write(ActionTaken(action=did), done)
        await store.aclose()
        again = await open_again()
        found = await again.request("r-1")
        recovery = await again.load()
        await again.aclose()
        assert found == StoredRequest(
            spec=spec(1),
            state=State.COMPLETED,
            place=1,
            queued_at=T0,
            started_at=T0 + 1,
            finished_at=T0 + 2.5,
            finish_seq=1,
            retry_at=None,
            attempts=2,
            walks=2,
            interruptions=0,
            max_attempts=3,
            spent_s=1.5,
            model="gpt-4o",
            avoid=(),
            provider="azure",
            answered_model="gpt-4o-mini",
            ttft_ms=250.0,
            text="hello",
            result=envelope("hello"),
            error_kind=None,
            error_message=None,
            by=None,
            reason=None,
            attempt_records=[booked],
            calls=[_without_surrogate(lost)],
            actions=[did],
        )
        assert recovery.unfinished == []
        assert recovery.counts[State.COMPLETED] == 1
        assert (recovery.next_place, recovery.next_number, recovery.next_finish_seq) == (2, 2, 2)
