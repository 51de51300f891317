"""What any `Store` must do. A test module subclasses `StoreContract` and says how to open one.

Each test writes through the seam, and most look again after a reopening: what a write's
future promised must be found by the next engine.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ksi_tui.engine.errors import ErrorKind, StoreError, StoreUnavailable
from ksi_tui.engine.models import (
    Action,
    AttemptRecord,
    CallRecord,
    LockTerms,
    OnConflict,
    Outcome,
    Priority,
    State,
    Usage,
    Verdict,
    VerdictKind,
)
from ksi_tui.engine.store.base import (
    Accepted,
    ActionTaken,
    AttemptBooked,
    CallBooked,
    Finished,
    Store,
)
from ksi_tui.engine.store.records import StoredRequest, Unfinished
from tests.engine.store_contract_outliving import Open, OutlivingContract
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


def _booked() -> AttemptRecord:
    verdicts = (
        Verdict(provider="openai", kind=VerdictKind.OPEN, detail="probe later", until=T0 + 9),
        Verdict(provider="azure", kind=VerdictKind.TAKEN),
    )
    return attempt(1, verdicts=verdicts, error_kind=ErrorKind.TIMEOUT, retry_at=T0 + 3)


def _lost() -> CallRecord:
    return call(
        1,
        outcome=Outcome.FAILED,
        first_token_at=T0 + 1.25,
        last_token_at=T0 + 2,
        error_kind=ErrorKind.TIMEOUT,
        error_message="no token for 60 s",
        status=504,
        usage=Usage(input=1, cache_read=2, cache_write=3, output=4, reasoning=5, estimated=True),
        raw_usage={"prompt_tokens": 6, "details": {"cached": 2}},
        cost=None,
        price_version="2026-11",
        partial_text="half an ans",
        upstream_closed_ms=4.5,
    )


def _did() -> Action:
    return Action(at=T0, name="completion:retry", target="r-1", by="op1", reason="why not")


def _done() -> Finished:
    return finished(
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


def _whole(booked: AttemptRecord, lost: CallRecord, did: Action) -> StoredRequest:
    """What is to be found of request 1 after all of these."""
    return StoredRequest(
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
        tokens=lost.usage.total if lost.usage is not None else None,
        attempt_records=[booked],
        calls=[lost],
        actions=[did],
    )


class StoreContract(OutlivingContract):
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
        await store.write(Accepted(spec=asked, place=1, at=T0, next_number=2))
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
        booked, lost, did = _booked(), _lost(), _did()
        await store.write(accepted(1))
        await store.write(started(1))
        await store.write(AttemptBooked(attempt=booked), CallBooked(call=lost))
        await store.write(ActionTaken(action=did), _done())
        await store.aclose()
        again = await open_again()
        found = await again.request("r-1")
        recovery = await again.load()
        await again.aclose()
        assert found == _whole(booked, lost, did)
        assert recovery.unfinished == []
        assert recovery.counts[State.COMPLETED] == 1
        assert (recovery.next_place, recovery.next_number, recovery.next_finish_seq) == (2, 2, 2)

    async def test_retrying_keeps_error_start_and_backoff(self, store: Store) -> None:
        await store.write(accepted(1), started(1))
        failed = {"error_kind": ErrorKind.TIMEOUT, "error_message": "slow"}
        counted = {"attempts": 1, "walks": 2, "interruptions": 3, "spent_s": 4.5}
        backoff = moved(1, State.PROCESSING, State.RETRYING, retry_at=T0 + 30, **failed, **counted)
        await store.write(backoff)
        (waiting,) = await store.unfinished(["r-1", "nobody"])
        await store.write(moved(1, State.RETRYING, State.PROCESSING, **counted))
        (running,) = await store.unfinished(["r-1"])
        assert waiting.state is State.RETRYING
        assert waiting.retry_at == T0 + 30
        assert (waiting.attempts, waiting.walks, waiting.interruptions) == (1, 2, 3)
        assert waiting.spent_s == 4.5
        assert running.state is State.PROCESSING
        assert running.retry_at is None
        for found in (waiting, running):
            assert found.started_at == T0 + 1
            assert (found.error_kind, found.error_message) == (ErrorKind.TIMEOUT, "slow")

    async def test_sent_elsewhere_changes_route_and_nothing_else(self, store: Store) -> None:
        await store.write(accepted(1), started(1))
        await store.write(
            moved(1, State.PROCESSING, State.QUEUED, model="claude", avoid=("openai",), place=9)
        )
        (found,) = await store.unfinished(["r-1"])
        assert (found.model, found.avoid, found.place) == ("claude", ("openai",), 9)
        assert (found.started_at, found.max_attempts) == (T0 + 1, 3)
        request = await store.request("r-1")
        assert request is not None
        assert request.spec.model == "gpt-4o"
        assert (await store.load()).next_place == 10

    async def test_a_retry_by_hand_forgets_the_end_but_not_the_history(self, store: Store) -> None:
        await store.write(accepted(1), accepted(2), started(1))
        await store.write(
            AttemptBooked(attempt=attempt(1)),
            CallBooked(call=call(1, outcome=Outcome.FAILED)),
            finished(
                1,
                1,
                State.FAILED,
                started_at=T0 + 1,
                ttft_ms=3.0,
                provider="openai",
                error_kind=ErrorKind.TIMEOUT,
                error_message="slow",
                text="half",
                by="op1",
                reason="r",
            ),
        )
        await store.write(
            moved(
                1,
                State.FAILED,
                State.QUEUED,
                place=3,
                max_attempts=5,
                queued_at=T0 + 50,
                avoid=("openai",),
            )
        )
        found = await store.request("r-1")
        recovery = await store.load()
        assert found is not None
        assert (found.state, found.place, found.queued_at) == (State.QUEUED, 3, T0 + 50)
        assert (found.attempts, found.max_attempts, found.spec.max_attempts) == (0, 5, 3)
        forgotten = ["started_at", "finished_at", "finish_seq", "ttft_ms", "provider", "text"]
        forgotten += ["result", "error_kind", "error_message", "by", "reason"]
        assert {name: getattr(found, name) for name in forgotten} == dict.fromkeys(forgotten)
        assert len(found.attempt_records) == len(found.calls) == 1
        assert [one.request_id for one in recovery.unfinished] == ["r-2", "r-1"]
        assert recovery.counts == {**dict.fromkeys(State, 0), State.QUEUED: 2}
        assert await store.results() == []
        assert recovery.next_finish_seq == 2

    async def test_the_order_of_writes_of_one_request_holds_in_one_call(self, store: Store) -> None:
        await store.write(
            accepted(1),
            started(1),
            finished(1, 1, State.FAILED, error_kind=ErrorKind.TIMEOUT, text="first"),
            moved(1, State.FAILED, State.QUEUED, queued_at=T0 + 5, place=2),
            moved(1, State.QUEUED, State.PROCESSING, model="other", started_at=T0 + 6),
            finished(1, 2, text="second", answered_model="other"),
            moved(1, State.COMPLETED, State.QUEUED, queued_at=T0 + 9),
            moved(1, State.QUEUED, State.PROCESSING, started_at=T0 + 10, attempts=1),
        )
        found = await store.request("r-1")
        assert found is not None
        assert (found.state, found.model, found.attempts) == (State.PROCESSING, "other", 1)
        assert (found.queued_at, found.started_at) == (T0 + 9, T0 + 10)
        assert (found.text, found.finish_seq, found.error_kind) == (None, None, None)
        counts = await store.counts()
        assert {state for state, count in counts.items() if count} == {State.PROCESSING}

    async def test_unfinished_ones_come_in_order_of_place(self, store: Store) -> None:
        await store.write(*[accepted(number) for number in range(1, 6)])
        await store.write(finished(2, 1), moved(1, State.QUEUED, State.QUEUED, place=6))
        recovery = await store.load()
        assert [one.request_id for one in recovery.unfinished] == ["r-3", "r-4", "r-5", "r-1"]
        assert [one.place for one in await store.unfinished(["r-1", "r-2", "r-3"])] == [3, 6]

    async def test_states_of_many(self, store: Store) -> None:
        await store.write(*[accepted(number) for number in range(1, 2501)])
        await store.write(started(7), finished(7, 1, State.CANCELLED))
        asked = [f"r-{number}" for number in range(2, 2600)]
        states = await store.states(asked)
        assert len(states) == 2499
        assert states["r-7"] is State.CANCELLED
        assert states["r-2500"] is State.QUEUED
        assert await store.states([]) == {}
        sessions = await store.sessions_of(asked)
        assert len(sessions) == 2499
        assert sessions["r-7"] == accepted(7).spec.session_id
        assert await store.sessions_of([]) == {}

    async def test_an_empty_write_is_done_when_the_earlier_ones_are(self, store: Store) -> None:
        earlier = store.write(accepted(1))
        await store.write()
        assert earlier.done()
        assert await store.states(["r-1"]) == {"r-1": State.QUEUED}

    async def test_a_known_id_is_refused_and_harms_nobody_beside_it(self, store: Store) -> None:
        await store.write(accepted(1))
        again = accepted(2, request_id="r-1")
        refused, other = store.write(again), store.write(accepted(3))
        with pytest.raises(StoreError):
            await refused
        await other
        assert (await store.counts())[State.QUEUED] == 2
        await store.write(started(1))
        assert (await store.states(["r-1"]))["r-1"] is State.PROCESSING

    # --- results --------------------------------------------------------------------------

    async def test_a_result_is_printed_as_the_contract_says(self, store: Store) -> None:
        await store.write(accepted(1, agent_id="a1"), started(1))
        wasted = call(1, outcome=Outcome.FAILED, usage=Usage(input=99), cost=9.0)
        answer = call(
            1,
            ordinal=2,
            provider="azure",
            usage=Usage(input=1, cache_read=2, cache_write=3, output=4, reasoning=5),
            cost=0.5,
        )
        done = finished(
            1,
            1,
            started_at=T0 + 1,
            ttft_ms=250.0,
            provider="azure",
            answered_model="gpt-4o-mini",
            result=envelope("hello"),
            text="hello",
        )
        await store.write(CallBooked(call=wasted), CallBooked(call=answer), done)
        ((seq, printed),) = await store.results()
        assert seq == 1
        assert printed == {
            "request_id": "r-1",
            "session_id": "s-1",
            "agent_id": "a1",
            "status": "completed",
            "text": "hello",
            "provider": "azure",
            "model": "gpt-4o-mini",
            "requested_model": "gpt-4o",
            "attempts": 1,
            "usage": {
                "input": 1,
                "cache_read": 2,
                "cache_write": 3,
                "output": 4,
                "reasoning": 5,
                "estimated": False,
            },
            "cost": 0.5,
            "error": None,
            "queued_at": "2023-11-14T22:13:20.000Z",
            "started_at": "2023-11-14T22:13:21.000Z",
            "finished_at": "2023-11-14T22:13:22.500Z",
            "latency_ms": 2500.0,
            "ttft_ms": 250.0,
        }

    async def test_a_cancelled_ones_late_call_is_in_its_result(self, store: Store) -> None:
        await store.write(accepted(1), started(1))
        await store.write(
            finished(
                1,
                1,
                State.CANCELLED,
                error_kind=ErrorKind.CANCELLED,
                error_message="by op1",
                text="half",
            )
        )
        ((_, early),) = await store.results()
        late = call(1, outcome=Outcome.CANCELLED, usage=Usage(input=3, estimated=True), cost=None)
        await store.write(CallBooked(call=late))
        ((_, printed),) = await store.results()
        assert (early["usage"], early["cost"]) == (Usage().plain(), None)
        assert printed["usage"]["input"] == 3
        assert printed["usage"]["estimated"] is True
        assert (printed["cost"], printed["text"]) == (None, "half")
        assert printed["error"] == {"kind": "cancelled", "message": "by op1"}

    async def test_results_come_in_the_order_of_finishing_and_in_pages(self, store: Store) -> None:
        ends = [State.COMPLETED, State.FAILED, State.CANCELLED]
        for number in range(1, 10):
            await store.write(accepted(number, session_id=f"s-{number % 2}"))
        for seq, number in enumerate(range(9, 0, -1), start=1):
            await store.write(
                finished(number, seq, ends[seq % 3], session_id=f"s-{number % 2}", was=State.QUEUED)
            )
        seqs = [seq for seq, _ in await store.results()]
        page = [seq for seq, _ in await store.results(after=3, limit=4)]
        failed = [seq for seq, _ in await store.results(state=State.FAILED)]
        of_session = await store.results(session_id="s-0", after=2)
        failed_of_session = await store.results(session_id="s-1", state=State.FAILED, limit=2)
        assert seqs == list(range(1, 10))
        assert page == [4, 5, 6, 7]
        assert failed == [1, 4, 7]
        assert [seq for seq, _ in of_session] == [4, 6, 8]
        assert [seq for seq, _ in failed_of_session] == [1, 7]
        assert {printed["session_id"] for _, printed in of_session} == {"s-0"}

    # --- the end --------------------------------------------------------------------------

    async def test_closing_writes_what_is_pending_and_then_refuses(
        self, store: Store, open_again: Open
    ) -> None:
        pending = [store.write(accepted(number)) for number in range(1, 200)]
        await store.aclose()
        assert all(future.done() and future.exception() is None for future in pending)
        with pytest.raises(StoreUnavailable):
            await store.write(accepted(200))
        again = await open_again()
        counts = await again.counts()
        await again.aclose()
        assert counts[State.QUEUED] == 199
