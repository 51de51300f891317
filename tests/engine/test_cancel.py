"""Cancel in every phase: what stops, what is kept, what goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import State
from ksi_tui.engine.store.records import StoredRequest
from tests.engine.engine_fixtures import (
    Rig,
    config,
    fails,
    held,
    in_turn,
    provider,
    running,
    until,
    until_turn,
)


async def cancel(rig: Rig, request_id: str, **data: Any) -> dict[str, Any]:
    return await rig.emit("completion:cancel", request_id=request_id, **data)


def reply(request_id: str, was: str, *, changed: bool = True) -> dict[str, Any]:
    return {
        "request_id": request_id,
        "status": "cancelled",
        "cancelled": [{"request_id": request_id, "was": was, "changed": changed}],
    }


# --- in every phase ------------------------------------------------------------------------


async def test_queued_behind_another(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        ids = [await rig.submit(f"{number}", session_id="s") for number in range(3)]
        await rig.calls(1)
        assert await cancel(rig, ids[1], by="op", reason="mistake") == reply(ids[1], "queued")
        told = await rig.event("completion:cancelled", ids[1])
        assert told == {
            "request_id": ids[1],
            "session_id": "s",
            "reason": "mistake",
            "by": "op",
            "was": "queued",
            "partial_text": "",
        }
        rig.p.calls[0].go.set()
        (await rig.calls(2))[1].go.set()
        await rig.ended(*ids)
        assert rig.p.prompts == ["0", "2"]
        assert rig.events("completion:upstream_closed") == []
        status = await rig.status(ids[1])
        assert (status["status"], status["by"], status["reason"]) == ("cancelled", "op", "mistake")
        assert status["error"] == {"kind": "cancelled", "message": "mistake"}


async def test_waiting_for_a_lock(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await rig.emit("conversation:acquire_lock", session_id="s", agent_id="a1")
        waiting = await rig.submit("1", session_id="s")
        assert await cancel(rig, waiting) == reply(waiting, "queued")
        await rig.settled()
        assert rig.core.locks.get("s") is not None


async def test_waiting_for_a_provider(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=[provider("p", max_concurrency=1)])
    async with running(settings, scripts={"p": held}) as rig:
        await rig.submit("runs")
        await rig.calls(1)
        waiting = await rig.submit("waits")
        assert await cancel(rig, waiting) == reply(waiting, "queued")
        rig.p.calls[0].go.set()
        await rig.settled()
        assert rig.p.prompts == ["runs"]


async def test_in_backoff_and_the_session_goes_on_at_once(tmp_path: Path) -> None:
    settings = config(tmp_path, retry={"initial_delay_s": 600, "max_delay_s": 600})
    async with running(settings) as rig:
        rig.p.script = in_turn(fails(ErrorKind.NETWORK_ERROR), held)
        first = await rig.submit("first", session_id="s")
        await rig.state(first, State.RETRYING)
        second = await rig.submit("second", session_id="s")
        assert await cancel(rig, first) == reply(first, "retrying")
        (await rig.calls(2))[1].go.set()
        await rig.ended(second)
        await rig.settled()


async def test_connecting(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        request_id = await rig.submit()
        (up,) = await rig.calls(1)
        assert await cancel(rig, request_id) == reply(request_id, "processing")
        await rig.settled()
        assert up.cancelled
        closed = await rig.event("completion:upstream_closed", request_id)
        assert (closed["after_ms"], closed["confirmed"]) == (1.0, True)
        (attempt,) = (await rig.status(request_id))["attempts"]
        assert attempt["calls"][0]["outcome"] == "cancelled"
        assert attempt["calls"][0]["usage"] is None


async def test_in_mid_stream_the_partial_text_and_its_usage_are_kept(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        request_id = await rig.submit("a question", session_id="s", agent_id="a1")
        (up,) = await rig.calls(1)
        up.say("one ", 1)
        up.say("two", 1)
        await cancel(rig, request_id)
        told = await rig.event("completion:cancelled", request_id)
        assert (told["partial_text"], told["was"]) == ("one two", "processing")
        await rig.settled()
        status = await rig.status(request_id)
        assert status["text"] == "one two"
        call = status["attempts"][0]["calls"][0]
        assert (call["partial_text"], call["waste"], call["upstream_closed_ms"]) == (
            "one two",
            True,
            1.0,
        )
        assert call["usage"]["estimated"] is True
        assert call["usage"]["output"] > 0
        waste = (await rig.emit("completion:token_usage"))["waste"]
        assert waste["calls"] == 1
        assert waste["tokens"] > 0


async def test_before_its_run_has_begun(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        asked = asyncio.create_task(rig.emit("completion:async", prompt="x", request_id="job"))
        await until_turn(lambda: "job" in rig.core.entering)
        cancelled = await cancel(rig, "job")
        assert cancelled["cancelled"][0]["changed"] is True
        assert (await asked)["request_id"] == "job"
        await rig.ended("job")
        await rig.settled()
        assert rig.events("completion:result") == []


async def test_in_the_moment_between_dispatch_and_the_first_step(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        request_id = await rig.just_dispatched()
        assert await cancel(rig, request_id) == reply(request_id, "processing")
        await rig.settled()
        assert rig.p.calls == []


async def test_in_every_phase_the_neutral_circuit_stays_as_it_is(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=[provider("p", circuit={"fail_max": 1})])
    async with running(settings, scripts={"p": held}) as rig:
        for number in range(3):
            request_id = await rig.submit(f"{number}")
            await rig.calls(number + 1)
            await cancel(rig, request_id)
        await rig.settled()
        stats = await rig.emit("completion:provider_status", provider="p")
        assert stats["circuit_breaker"]["state"] == "closed"
        assert stats["circuit_breaker"]["recent_failures"] == 0
        assert (stats["stats"]["total_calls"], stats["stats"]["failed_calls"]) == (3, 0)


# --- the close of the upstream -------------------------------------------------------------


async def test_the_reply_does_not_wait_for_the_upstream_but_the_slot_does(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=[provider("p", max_concurrency=1)])
    async with running(settings, scripts={"p": held}) as rig:
        rig.p.closes_at_once = False
        first = await rig.submit("first")
        (up,) = await rig.calls(1)
        second = await rig.submit("second")
        assert await cancel(rig, first) == reply(first, "processing")
        await until(lambda: up.cancelled)
        assert rig.events("completion:upstream_closed") == []
        assert await rig.why(second) == "p at 1 of 1"
        up.close(after_ms=42.0)
        closed = await rig.event("completion:upstream_closed", first)
        assert closed["after_ms"] == 42.0
        await rig.calls(2)
        call = (await rig.status(first))["attempts"][0]["calls"][0]
        assert call["upstream_closed_ms"] == 42.0
        up.close(after_ms=99.0)
        entry = rig.core.providers.get("p")
        assert entry is not None
        assert entry.in_flight == 1


async def test_a_call_whose_upstream_closes_while_it_is_asked_for_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        rig.p.closes_at_once = False
        request_id = await rig.submit()
        (up,) = await rig.calls(1)
        await cancel(rig, request_id)
        await until(lambda: up.cancelled)
        await rig.ended(request_id)
        read = rig.core.store.request

        async def read_before_the_close(request_id: str) -> StoredRequest | None:
            stored = await read(request_id)
            up.close(after_ms=42.0)
            await rig.event("completion:upstream_closed", request_id)
            return stored

        monkeypatch.setattr(rig.core.store, "request", read_before_the_close)
        for _ in range(2):
            (call,) = (await rig.status(request_id))["attempts"][0]["calls"]
            assert (call["upstream_closed_ms"], call["closing"]) == (42.0, False)


async def test_a_close_that_nobody_confirmed_is_told_as_such(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        rig.p.closes_at_once = False
        request_id = await rig.submit()
        (up,) = await rig.calls(1)
        await cancel(rig, request_id)
        await until(lambda: up.cancelled)
        up.close(after_ms=5_000, confirmed=False)
        closed = await rig.event("completion:upstream_closed", request_id)
        assert closed["confirmed"] is False
        await rig.settled()
        call = (await rig.status(request_id))["attempts"][0]["calls"][0]
        assert call["upstream_closed_ms"] is None


async def test_a_call_that_was_still_closing_at_the_end_is_booked(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        rig.p.closes_at_once = False
        request_id = await rig.submit()
        (up,) = await rig.calls(1)
        up.say("partial")
        await cancel(rig, request_id)
    async with running(config(tmp_path)) as rig:
        call = (await rig.status(request_id))["attempts"][0]["calls"][0]
        assert (call["partial_text"], call["upstream_closed_ms"]) == ("partial", None)


# --- twice, all of a session, races --------------------------------------------------------


async def test_cancelling_twice_is_harmless(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        request_id = await rig.submit()
        await rig.calls(1)
        both = await asyncio.gather(
            cancel(rig, request_id, by="first"), cancel(rig, request_id, by="second")
        )
        assert both[0] == reply(request_id, "processing")
        assert both[1] == reply(request_id, "cancelled", changed=False)
        await rig.settled()
        assert await cancel(rig, request_id) == reply(request_id, "cancelled", changed=False)
        assert len(rig.events("completion:cancelled")) == 1
        assert (await rig.status(request_id))["by"] == "first"


async def test_cancelling_what_is_done_changes_nothing(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        request_id = await rig.submit()
        await rig.ended(request_id)
        await rig.settled()
        assert await cancel(rig, request_id) == {
            "request_id": request_id,
            "status": "completed",
            "cancelled": [{"request_id": request_id, "was": "completed", "changed": False}],
        }


async def test_a_whole_session_and_nobody_else(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        mine = [await rig.submit(f"{number}", session_id="s") for number in range(4)]
        others = await rig.submit("other", session_id="t")
        await rig.calls(2)
        answer = await rig.emit("completion:cancel", session_id="s", by="op")
        assert answer == {
            "cancelled": [
                {"request_id": mine[0], "was": "processing", "changed": True},
                *({"request_id": each, "was": "queued", "changed": True} for each in mine[1:]),
            ]
        }
        await rig.ended(*mine)
        rig.p.of("other").go.set()
        await rig.ended(others)
        await rig.settled()
        assert len(rig.p.calls) == 2
        assert rig.core.counts[State.CANCELLED] == 4
        assert await rig.emit("completion:cancel", session_id="s") == {"cancelled": []}


async def test_the_first_final_state_wins(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        request_id = await rig.submit()
        (up,) = await rig.calls(1)
        up.go.set()
        await until(lambda: request_id in rig.core.finishing or request_id not in rig.core.tickets)
        answer = await cancel(rig, request_id)
        assert (answer["status"], answer["cancelled"][0]["changed"]) == ("completed", False)
        await rig.settled()
        assert rig.events("completion:cancelled") == []
        assert len(rig.events("completion:result")) == 1


async def test_an_answer_that_comes_after_the_cancel_is_no_answer(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        request_id = await rig.submit()
        (up,) = await rig.calls(1)
        up.go.set()
        assert await cancel(rig, request_id) == reply(request_id, "processing")
        up.say("late")
        await rig.settled()
        assert rig.events("completion:result") == []
        assert len(rig.events("completion:cancelled")) == 1
        assert (await rig.status(request_id))["text"] is None


async def test_the_next_of_the_session_starts_after_a_cancel_of_the_running_one(
    tmp_path: Path,
) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        first = await rig.submit("first", session_id="s")
        second = await rig.submit("second", session_id="s")
        await rig.calls(1)
        await cancel(rig, first)
        (await rig.calls(2))[1].go.set()
        await rig.ended(second)
        assert rig.p.calls[1].spec.history == []


async def test_a_cancelled_one_stays_cancelled_after_a_restart(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        request_id = await rig.submit()
        await rig.calls(1)
        await cancel(rig, request_id, by="op", reason="no longer needed")
    async with running(config(tmp_path)) as rig:
        status = await rig.status(request_id)
        assert (status["status"], status["by"]) == ("cancelled", "op")
        assert [e["what"] for e in status["timeline"]].count("cancel") == 1
        assert rig.p.calls == []
