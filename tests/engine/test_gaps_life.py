"""A request's life where something is out of the ordinary: faults of the engine's own parts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from ksi_tui.engine import payload_cache
from ksi_tui.engine.errors import ErrorKind, StoreUnavailable
from ksi_tui.engine.models import RequestSpec, State, Usage
from ksi_tui.engine.store.base import CallBooked, Finished, ProviderSaved, Write
from ksi_tui.engine.ticket import Ticket
from ksi_tui.engine.upkeep import housekeeping
from tests.engine.engine_fixtures import (
    FINAL,
    USED,
    HandClock,
    answers,
    config,
    fails,
    held,
    in_turn,
    running,
    until,
)


@pytest.mark.parametrize("unread", ["specs", "turns"])
async def test_what_cannot_be_read_now_is_tried_again_and_costs_no_attempt(
    tmp_path: Path, unread: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payload_cache, "BUDGET_CHARS", 0)
    clock = HandClock()
    async with running(config(tmp_path), clock=clock) as rig:
        await rig.ended(await rig.submit("earlier", session_id="s"))
        read = getattr(rig.core.store, unread)
        tried = 0

        async def unreadable(*args: Any) -> Any:
            nonlocal tried
            tried += 1
            if tried <= 2:
                raise StoreUnavailable("cannot read the database: the disk reports an error")
            return await read(*args)

        monkeypatch.setattr(rig.core.store, unread, unreadable)
        first = await rig.submit("1", session_id="s", max_attempts=1)
        behind = await rig.submit("2", session_id="s")
        for _ in range(2):
            seen = tried
            await rig.state(first, State.RETRYING)
            assert tried == max(1, seen)
            assert await rig.why(first) == "backoff 1 s (temporary_failure)"
            assert "cannot read the database" in str(await rig.status(first))
            rig.advance(1)
        await rig.ended(first, behind)
        report = await rig.status(first)
        assert (report["status"], len(report["attempts"])) == ("completed", 1)
        assert report["error"] is None
        assert rig.p.prompts == ["earlier", "1", "2"]
        await rig.settled()


async def test_one_that_is_cancelled_while_its_payload_cannot_be_read_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payload_cache, "BUDGET_CHARS", 0)
    async with running(config(tmp_path), clock=HandClock()) as rig:

        async def unreadable(_: Any) -> Any:
            raise StoreUnavailable("cannot read the database")

        monkeypatch.setattr(rig.core.store, "specs", unreadable)
        request_id = await rig.submit(session_id="s")
        await rig.state(request_id, State.RETRYING)
        await rig.emit("completion:cancel", request_id=request_id)
        await rig.ended(request_id)
        await rig.settled()


async def test_a_request_began_when_it_first_ran(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, retry={"initial_delay_s": 8})
    script = in_turn(fails(ErrorKind.NETWORK_ERROR), answers)
    async with running(settings, clock=clock, scripts={"p": script}) as rig:
        request_id = await rig.submit()
        await rig.state(request_id, State.RETRYING)
        rig.advance(8)
        await rig.ended(request_id)
        report = await rig.status(request_id)
        assert report["started_at"] == report["queued_at"] == "2027-01-15T08:00:00.000Z"
        assert report["finished_at"] == "2027-01-15T08:00:08.000Z"


async def test_a_fault_of_the_engine_fails_its_request_and_its_session_goes_on(
    tmp_path: Path,
) -> None:
    async with running(config(tmp_path)) as rig:
        load = rig.core.payloads.load

        async def unreadable(ticket: Ticket) -> RequestSpec:
            raise RuntimeError(f"cannot read {ticket.request_id}")

        rig.core.payloads.load = unreadable  # type: ignore[method-assign]
        request_id = await rig.submit(session_id="s")
        told = await rig.event("completion:error", request_id)
        assert told["kind"] == "temporary_failure"
        assert "engine fault" in told["error"]
        assert f"cannot read {request_id}" in told["error"]
        rig.core.payloads.load = load  # type: ignore[method-assign]
        await rig.event("completion:result", await rig.submit(session_id="s"))
        await rig.settled()


async def test_an_end_that_is_not_on_disk_is_told_to_nobody(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        write = rig.core.store.write

        def refuse_ends(*writes: Write) -> asyncio.Future[None]:
            if not any(isinstance(each, Finished) for each in writes):
                return write(*writes)
            refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            refused.set_exception(StoreUnavailable("the disk is gone"))
            return refused

        rig.core.store.write = refuse_ends  # type: ignore[method-assign]
        lost = await rig.submit(session_id="s")
        await until(lambda: lost not in rig.core.tickets)
        rig.core.store.write = write  # type: ignore[method-assign]
        await rig.ended(await rig.submit(session_id="s"))
        assert [rig.events(name, lost) for name in FINAL] == [[], [], []]
        assert len(rig.events("completion:result")) == 1


async def test_a_sick_database_is_said_on_the_screen_and_to_whoever_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(tmp_path, engine={"max_concurrency": 1})
    async with running(settings, scripts={"p": held}) as rig:
        await rig.submit()
        await rig.calls(1)
        waiting = await rig.submit()
        assert rig.engine.snapshot().notices == ()
        monkeypatch.setattr(cast(Any, rig.core.store)._writer, "fault", "the disk is full")
        assert rig.engine.snapshot().notices == ("the disk is full",)
        (row,) = rig.engine.snapshot().queues
        assert (row.head_id, row.why) == (waiting, "database: the disk is full")


async def test_sessions_stand_by_how_long_their_head_waits_and_the_last_to_end_first(
    tmp_path: Path,
) -> None:
    clock = HandClock()
    settings = config(tmp_path, engine={"max_concurrency": 1})
    async with running(settings, clock=clock, scripts={"p": held}) as rig:
        first = await rig.submit("1", session_id="a")
        await rig.calls(1)
        clock.now += 1
        second = await rig.submit("2", session_id="b")
        clock.now += 1
        third = await rig.submit("3", session_id="a")
        clock.now += 1
        shown = rig.engine.snapshot()
        assert [row.head_id for row in shown.queues] == [second, third]
        for number, request_id in enumerate((first, second), start=1):
            rig.p.of(str(number)).go.set()
            await rig.ended(request_id)
            clock.now += 1
            await rig.calls(number + 1)
        ended = [view.request_id for view in rig.engine.snapshot().active]
        assert ended == [third, second, first]


async def test_housekeeping_ends_idle_sessions_and_keeps_what_providers_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "LOOK_EVERY_S", 0.001)
    clock = HandClock()
    settings = config(tmp_path, engine={"session_idle_minutes": 1})
    async with running(settings, clock=clock) as rig:
        written: list[Write] = []
        write = rig.core.store.write

        def seen(*writes: Write) -> asyncio.Future[None]:
            written.extend(writes)
            return write(*writes)

        rig.core.store.write = seen  # type: ignore[method-assign]
        await rig.ended(await rig.submit(session_id="s"))
        await until(lambda: any(isinstance(each, ProviderSaved) for each in written))
        (saved,) = [each for each in written if isinstance(each, ProviderSaved)]
        assert (saved.provider, saved.state["health"]["total"]) == ("p", 1)
        assert rig.core.sessions.get("s") is not None
        clock.now += 121
        await until(lambda: rig.core.sessions.get("s") is None)


async def test_the_trend_goes_on_over_a_restart(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock) as rig:
        await rig.ended(await rig.submit())
    clock.now += 90
    async with running(config(tmp_path), clock=clock) as rig:
        tokens = rig.engine.snapshot().tokens
        assert tokens is not None
        assert sum(tokens.trend) * tokens.step_s == pytest.approx(USED.output, rel=0.2)
        assert [row.output for row in tokens.rows] == [USED.output]


async def test_a_session_is_known_with_all_its_agents_after_a_restart(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await rig.ended(await rig.submit(session_id="s", agent_id="a1"))
        rig.p.script = held
        await rig.submit(session_id="s", agent_id="a2")
        await rig.calls(2)
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        sessions = (await rig.emit("completion:status"))["sessions"]
        assert (sessions["total_sessions"], sessions["agents_with_sessions"]) == (1, 2)
        assert rig.core.sessions.sessions_of("a1") == {"s"}


async def test_a_close_is_told_once_it_is_on_disk(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        write = rig.core.store.write
        on_disk: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        booked: list[Write] = []

        def slow(*writes: Write) -> asyncio.Future[None]:
            if any(isinstance(each, CallBooked) for each in writes):
                booked.extend(writes)
                return on_disk
            return write(*writes)

        rig.core.store.write = slow  # type: ignore[method-assign]
        request_id = await rig.submit()
        await rig.calls(1)
        await rig.emit("completion:cancel", request_id=request_id)
        await until(lambda: booked)
        await rig.status(request_id)
        assert rig.events("completion:upstream_closed") == []
        await asyncio.gather(write(*booked))
        on_disk.set_result(None)
        await rig.event("completion:upstream_closed", request_id)


async def test_what_a_failed_call_used_and_cost_is_kept(tmp_path: Path) -> None:
    spent = {"usage": Usage(input=4, output=2), "cost": 0.25, "price_version": "v1"}
    script = in_turn(fails(ErrorKind.NETWORK_ERROR, "cut", **spent), answers)
    async with running(config(tmp_path), scripts={"p": script}) as rig:
        request_id = await rig.submit()
        await rig.ended(request_id)
        report = await rig.status(request_id)
        (failed,) = report["attempts"][0]["calls"]
        assert (failed["cost"], failed["price_version"], failed["waste"]) == (0.25, "v1", True)
        waste = (await rig.emit("completion:token_usage"))["waste"]
        assert (waste["tokens"], waste["cost"], waste["calls"]) == (6, 0.25, 1)


async def test_prices_of_the_settings_hold_for_a_failed_call_too(tmp_path: Path) -> None:
    script = in_turn(fails(ErrorKind.NETWORK_ERROR, "cut", usage=Usage(input=4, output=2)), answers)
    prices = {"m1": {"input": 1_000_000, "output": 2_000_000}}
    async with running(config(tmp_path, prices=prices), scripts={"p": script}) as rig:
        request_id = await rig.submit()
        await rig.ended(request_id)
        report = await rig.status(request_id)
        (failed,) = report["attempts"][0]["calls"]
        assert (failed["cost"], failed["price_version"]) == (8.0, "settings")
        assert report["unpriced"] == 0


async def test_what_a_provider_did_last_is_kept_at_the_end(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await rig.ended(await rig.submit())
    async with running(config(tmp_path)) as rig:
        reply = await rig.emit("completion:provider_status", provider="p")
        assert reply["stats"]["successful_calls"] == 1
