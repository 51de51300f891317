"""A cancel is undone in place, and what is sent elsewhere goes there from every phase."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.engine.errors import ErrorKind, ProviderFault
from ksi_tui.engine.models import State
from ksi_tui.engine.views import Next, SnapshotQuery
from tests.engine.engine_fixtures import (
    HandClock,
    Rig,
    Script,
    Upstream,
    answers,
    config,
    fails,
    held,
    in_turn,
    provider,
    running,
)


async def undo(rig: Rig, request_id: str, **data: Any) -> dict[str, Any]:
    return await rig.emit("completion:retry", request_id=request_id, in_place=True, **data)


async def answer_all(rig: Rig, name: str = "p") -> None:
    """Let every call be answered until nothing is left."""
    rig.providers[name].script = answers
    for up in list(rig.providers[name].calls):
        up.go.set()
    await rig.settled()


# --- undo of a cancel ------------------------------------------------------------------------


async def test_it_stands_where_it_stood_before_those_that_came_since(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock, scripts={"p": held}) as rig:
        ids = [await rig.submit(f"{number}", session_id="s") for number in range(3)]
        await rig.calls(1)
        await rig.emit("completion:cancel", request_id=ids[1], by="op")
        clock.now += 60
        ids.append(await rig.submit("3", session_id="s"))
        ids.append(await rig.submit("urgent", session_id="s", priority="high"))
        reply = await undo(rig, ids[1], by="op")
        assert reply["retried"] == [{"request_id": ids[1], "was": "cancelled", "changed": True}]
        assert await rig.why(ids[1]) == f"behind {ids[4]} in its session"
        assert await rig.why(ids[2]) == f"behind {ids[1]} in its session"
        status = await rig.status(ids[1])
        assert status["queued_at"] == "2027-01-15T08:00:00.000Z"
        assert (status["error"], status["by"], status["finished_at"]) == (None, None, None)
        assert status["chain"][0]["queued_s"] == 60
        await answer_all(rig)
        assert rig.p.prompts == ["0", "urgent", "1", "2", "3"]


async def test_a_running_one_starts_anew_and_its_stopped_call_stays_waste(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        first = await rig.submit("1", session_id="s")
        second = await rig.submit("2", session_id="s")
        (up,) = await rig.calls(1)
        up.say("some text", 4)
        await rig.emit("completion:cancel", request_id=first)
        await rig.calls(2)
        await undo(rig, first)
        assert await rig.why(first) == f"behind {second} in its session"
        await answer_all(rig)
        assert rig.p.prompts == ["1", "2", "1"]
        status = await rig.status(first)
        assert (status["status"], status["text"]) == ("completed", "re: 1")
        stopped, answered = (attempt["calls"][0] for attempt in status["attempts"])
        assert (stopped["outcome"], stopped["waste"], stopped["partial_text"]) == (
            "cancelled",
            True,
            "some text",
        )
        assert stopped["usage"]["estimated"] is True
        assert (answered["outcome"], answered["waste"]) == ("answered", False)
        usage = await rig.emit("completion:token_usage")
        assert usage["waste"]["calls"] == 1


async def test_after_a_restart(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        ids = [await rig.submit(f"{number}", session_id="s") for number in range(4)]
        await rig.calls(1)
        for request_id in (ids[0], ids[2]):
            await rig.emit("completion:cancel", request_id=request_id)
        await rig.calls(2)
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        await rig.calls(1)
        for request_id in (ids[2], ids[0]):
            assert "code" not in await undo(rig, request_id)
        assert await rig.why(ids[0]) == f"behind {ids[1]} in its session"
        assert await rig.why(ids[3]) == f"behind {ids[2]} in its session"
    async with running(config(tmp_path)) as rig:
        await rig.settled()
        assert rig.p.prompts == ["1", "0", "2", "3"]


async def test_a_whole_session_comes_back_in_order_before_any_of_it_runs(tmp_path: Path) -> None:
    settings = config(tmp_path)
    async with running(settings, scripts={"p": held}) as rig:
        ids = [
            await rig.submit(f"{number}", session_id="s", priority=priority)
            for number, priority in enumerate(["normal", "low", "high", "normal"])
        ]
        await rig.calls(1)
        cancelled = await rig.emit("completion:cancel", session_id="s")
        assert {each["request_id"] for each in cancelled["cancelled"]} == set(ids)
        reply = await rig.emit("completion:retry", session_id="s", in_place=True)
        assert {each["request_id"] for each in reply["retried"]} == set(ids)
        await answer_all(rig)
        assert rig.p.prompts == ["0", "2", "0", "3", "1"]


async def test_a_session_is_undone_in_the_moment_of_its_cancel(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        ids = [await rig.submit(f"{number}", session_id="s") for number in range(3)]
        await rig.calls(1)
        rig.p.closes_at_once = False
        cancelled, reply = await asyncio.gather(
            rig.emit("completion:cancel", session_id="s"),
            rig.emit("completion:retry", session_id="s", in_place=True),
        )
        assert len(cancelled["cancelled"]) == 3
        assert [each["request_id"] for each in reply["retried"]] == ids
        await rig.calls(2)
        rig.p.calls[0].close()
        await answer_all(rig)
        assert rig.p.prompts == ["0", "0", "1", "2"]
        assert rig.core.counts[State.COMPLETED] == 3


async def test_in_the_moment_of_the_cancel_while_the_upstream_still_closes(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=[provider("p", max_concurrency=1)])
    async with running(settings, scripts={"p": held}) as rig:
        rig.p.closes_at_once = False
        request_id = await rig.submit("x", session_id="s")
        (up,) = await rig.calls(1)
        up.say("partial", 2)
        cancelled, undone = await asyncio.gather(
            rig.emit("completion:cancel", request_id=request_id), undo(rig, request_id)
        )
        assert cancelled["status"] == "cancelled"
        assert undone["retried"][0] == {
            "request_id": request_id,
            "was": "cancelled",
            "changed": True,
        }
        assert await rig.why(request_id) == "p at 1 of 1"
        up.say("late text of the stopped call")
        up.close()
        (await rig.calls(2))[1].go.set()
        await rig.settled()
        status = await rig.status(request_id)
        assert (status["status"], status["text"]) == ("completed", "re: x")
        assert [a["calls"][0]["outcome"] for a in status["attempts"]] == ["cancelled", "answered"]
        assert status["attempts"][0]["calls"][0]["partial_text"] == "partial"


async def test_undone_twice_runs_once_and_says_that_it_already_goes(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        request_id = await rig.submit("x", session_id="s")
        await rig.calls(1)
        await rig.emit("completion:cancel", request_id=request_id)
        replies = await asyncio.gather(undo(rig, request_id), undo(rig, request_id))
        assert [reply.get("code") for reply in replies] == [None, "conflict"]
        assert f"{request_id} already goes again" in replies[1]["error"]
        await rig.calls(2)
        third = await undo(rig, request_id)
        assert third["code"] == "conflict"
        assert f"{request_id} already goes again: it is processing" in third["error"]
        await answer_all(rig)
        assert len(rig.p.calls) == 2


async def test_it_keeps_away_from_whom_it_was_sent_away_from(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=[provider("p"), provider("q", priority=2)])
    async with running(settings, scripts={"p": held, "q": held}) as rig:
        request_id = await rig.submit()
        await rig.calls(1)
        await rig.emit("completion:retry", request_id=request_id, avoid=["p"])
        await rig.calls(1, "q")
        await rig.emit("completion:cancel", request_id=request_id)
        await undo(rig, request_id)
        await rig.calls(2, "q")
        assert len(rig.p.calls) == 1
        assert (await rig.status(request_id))["avoid"] == ["p"]


# --- send elsewhere, from every phase ----------------------------------------------------------


async def _queued(rig: Rig) -> str:
    await rig.submit("ahead", session_id="s")
    await rig.calls(1)
    return await rig.submit("x", session_id="s")


async def _locked(rig: Rig) -> str:
    await rig.emit("conversation:acquire_lock", session_id="s", agent_id="a7")
    return await rig.submit("x", session_id="s")


async def _backoff(rig: Rig) -> str:
    rig.p.script = in_turn(fails(ErrorKind.API_RATE_LIMIT), held)
    rig.providers["q"].script = in_turn(fails(ErrorKind.API_RATE_LIMIT), answers)
    request_id = await rig.submit("x", session_id="s")
    await rig.state(request_id, State.RETRYING)
    return request_id


async def _connecting(rig: Rig) -> str:
    request_id = await rig.submit("x", session_id="s")
    await rig.calls(1)
    return request_id


async def _streaming(rig: Rig) -> str:
    request_id = await _connecting(rig)
    rig.p.calls[0].say("half an ans", 3)
    return request_id


PHASES = {
    "queued": (_queued, 0),
    "waiting for a lock": (_locked, 0),
    "backoff": (_backoff, 1),
    "connecting": (_connecting, 1),
    "mid-stream": (_streaming, 1),
}


@pytest.mark.parametrize("phase", PHASES)
async def test_sent_elsewhere_from_every_phase(tmp_path: Path, phase: str) -> None:
    reach: Callable[[Rig], Awaitable[str]]
    reach, called = PHASES[phase]
    settings = config(
        tmp_path,
        providers=[provider("p", circuit={"fail_max": 1}), provider("q", priority=2)],
        retry={"initial_delay_s": 60, "max_attempts": 2},
    )
    async with running(settings, clock=HandClock(), scripts={"p": held}) as rig:
        request_id = await reach(rig)
        before = rig.ticket(request_id).attempts
        reply = await rig.emit("completion:retry", request_id=request_id, avoid=["p"], by="op")
        assert reply["retried"][0]["changed"] is True
        await rig.emit("conversation:release_lock", session_id="s", force=True)
        for up in rig.p.calls:
            up.go.set()
        await rig.ended(request_id)
        status = await rig.status(request_id)
        assert (status["status"], status["provider"]) == ("completed", "q")
        assert (status["text"], status["attempts_spent"]) == ("re: x", before + 1)
        mine = [up for up in rig.p.calls if up.prompt == "x"]
        assert len(mine) == called
        stopped = [
            call
            for attempt in status["attempts"]
            for call in attempt["calls"]
            if call["outcome"] == "sent_elsewhere"
        ]
        assert len(stopped) == (phase in ("connecting", "mid-stream"))
        assert all(call["waste"] for call in stopped)
        circuit = (await rig.emit("completion:provider_status", provider="p"))["circuit_breaker"]
        assert (circuit["state"], circuit["recent_failures"]) == ("closed", 0)


def _deaf(end: str | ProviderFault) -> Script:
    """Return a script that does not hear that it was told to stop, and ends its own way."""

    async def script(up: Upstream) -> str:
        try:
            await up.go.wait()
        except asyncio.CancelledError:
            if isinstance(end, ProviderFault):
                raise end from None
        return str(end)

    return script


@pytest.mark.parametrize(
    "end", ["too late", ProviderFault(ErrorKind.PROVIDER_ERROR, "the pipe broke")]
)
async def test_a_call_that_ends_after_it_was_stopped_is_fenced(
    tmp_path: Path, end: str | ProviderFault
) -> None:
    settings = config(
        tmp_path, providers=[provider("p", circuit={"fail_max": 1}), provider("q", priority=2)]
    )
    async with running(settings, scripts={"p": _deaf(end)}) as rig:
        request_id = await rig.submit("x")
        await rig.calls(1)
        await rig.emit("completion:retry", request_id=request_id, avoid=["p"])
        await rig.ended(request_id)
        await rig.settled()
        status = await rig.status(request_id)
        assert (status["text"], status["provider"]) == ("re: x", "q")
        outcomes = [c["outcome"] for a in status["attempts"] for c in a["calls"]]
        assert outcomes == ["sent_elsewhere", "answered"]
        assert (status["attempts_spent"], len(rig.events("completion:result"))) == (1, 1)
        circuit = (await rig.emit("completion:provider_status", provider="p"))["circuit_breaker"]
        assert (circuit["state"], circuit["recent_failures"]) == ("closed", 0)


async def test_what_was_cancelled_is_fenced_too(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": _deaf("too late")}) as rig:
        request_id = await rig.submit("x")
        await rig.calls(1)
        await rig.emit("completion:cancel", request_id=request_id)
        await rig.settled()
        status = await rig.status(request_id)
        assert (status["status"], status["text"]) == ("cancelled", None)
        (call,) = status["attempts"][0]["calls"]
        assert (call["outcome"], call["waste"], call["usage"]["output"]) == ("cancelled", True, 3)


async def test_while_its_call_is_stopping_it_says_so(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=[provider("p"), provider("q", priority=2)])
    async with running(settings, scripts={"p": held, "q": held}) as rig:
        request_id = await rig.submit("x")
        await rig.calls(1)
        sent = asyncio.create_task(rig.emit("completion:retry", request_id=request_id, avoid=["p"]))
        await asyncio.sleep(0)  # the reply is on its way to disk, the call not yet ended
        live = rig.engine.snapshot(SnapshotQuery(request_id=request_id)).live
        assert live is not None
        assert live.why == "its call is being stopped, goes on elsewhere"
        assert live.outlook is not None
        assert live.outlook.what is Next.DISPATCHED
        await sent
        await rig.calls(1, "q")
        assert await rig.why(request_id) == "calling q"
