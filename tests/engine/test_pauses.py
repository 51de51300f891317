"""Pausing and resuming: the engine, one session, one provider."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import State
from ksi_tui.engine.views import Level
from tests.engine.engine_fixtures import (
    HandClock,
    Rig,
    answers,
    config,
    fails,
    held,
    in_turn,
    provider,
    running,
)

OP1 = {"by": "op1", "reason": "deploy"}
WHY = "paused by op1: deploy"


async def pause(rig: Rig, scope: str, **data: Any) -> dict[str, Any]:
    reply = await rig.emit("queue:pause", scope=scope, **{**OP1, **data})
    assert "code" not in reply, reply
    return reply


async def resume(rig: Rig, scope: str, **data: Any) -> dict[str, Any]:
    reply = await rig.emit("queue:resume", scope=scope, **data)
    assert "code" not in reply, reply
    return reply


async def looked(rig: Rig) -> None:
    """Let the dispatcher look at what may run, and whatever it begins reach its provider."""
    rig.core.poke()
    await rig.core.store.write()
    await rig.core.store.write()


# --- replies ---------------------------------------------------------------------------------


async def test_the_reply_says_what_is_paused_and_what_changed(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock) as rig:
        first = await pause(rig, "session", id="acme")
        clock.now += 5
        second = await pause(rig, "engine", by=None, reason=None)
        acme = {
            "scope": "session",
            "id": "acme",
            "by": "op1",
            "reason": "deploy",
            "since": "2027-01-15T08:00:00.000Z",
        }
        whole = {
            "scope": "engine",
            "id": None,
            "by": None,
            "reason": None,
            "since": "2027-01-15T08:00:05.000Z",
        }
        assert first == {"scope": "session", "id": "acme", "changed": True, "paused": [acme]}
        assert second["paused"] == [acme, whole]
        # Paused already: whoever did it first stays named.
        again = await pause(rig, "session", id="acme", by="op2", reason="other")
        assert again["changed"] is False
        assert again["paused"] == [acme, whole]
        gone = await resume(rig, "session", id="acme", by="op2")
        assert gone == {"scope": "session", "id": "acme", "changed": True, "paused": [whole]}
        assert (await resume(rig, "session", id="acme"))["changed"] is False
        assert len(rig.events("queue:paused")) == 2
        (resumed,) = rig.events("queue:resumed")
        told = {"by": "op2", "reason": None, "paused_by": "op1", "paused_reason": "deploy"}
        assert resumed == {**acme, **told}
        status = await rig.emit("completion:status")
        assert status["pauses"] == {"paused": [whole], "hold_everything": False}


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        ({}, "invalid_request", "scope is missing"),
        ({"scope": "world"}, "invalid_request", "'engine', 'session' or 'provider'"),
        ({"scope": "session"}, "invalid_request", "id is missing: scope session"),
        ({"scope": "provider"}, "invalid_request", "id is missing: scope provider"),
        ({"scope": "engine", "id": "x"}, "invalid_request", "scope engine takes no id"),
        ({"scope": "session", "id": "a\ud800"}, "invalid_request", "unicode"),
        ({"scope": "session", "id": "a", "until": 3}, "invalid_request", "unknown key 'until'"),
        ({"scope": "provider", "id": "q"}, "not_found", "no provider 'q'; configured: p"),
    ],
)
@pytest.mark.parametrize("name", ["queue:pause", "queue:resume"])
async def test_what_is_wrong_is_named_and_nothing_changes(
    tmp_path: Path, name: str, data: dict[str, Any], code: str, says: str
) -> None:
    async with running(config(tmp_path)) as rig:
        reply = await rig.engine.emit(name, data)
        assert reply["code"] == code
        assert says in reply["error"]
        assert len(rig.core.pauses) == 0


async def test_who_paused_and_resumed_is_recorded(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await pause(rig, "provider", id="p")
        await pause(rig, "provider", id="p")
        await resume(rig, "provider", id="p", by="op2", reason="done")
        rows = await rig.core.store._rows(  # type: ignore[attr-defined]
            "SELECT name, target, by, reason FROM actions ORDER BY row"
        )
        assert [tuple(row) for row in rows] == [
            ("pause", "provider:p", "op1", "deploy"),
            ("resume", "provider:p", "op2", "done"),
        ]


# --- the engine ------------------------------------------------------------------------------


async def test_an_engine_pause_lets_what_runs_finish_and_begins_nothing(tmp_path: Path) -> None:
    async with running(config(tmp_path), clock=HandClock(), scripts={"p": held}) as rig:
        runs = await rig.submit("runs", session_id="a")
        behind = await rig.submit("behind", session_id="a")
        await rig.calls(1)
        await pause(rig, "engine")
        other = await rig.submit("other", session_id="b")
        rig.p.of("runs").go.set()
        await rig.ended(runs)
        await looked(rig)
        assert rig.p.prompts == ["runs"]
        for request_id in (behind, other):
            status = await rig.status(request_id)
            assert status["status"] == "queued"
            assert status["why"] == WHY
            assert status["cause"]["kind"] == "pause"
            assert status["cause"]["target"] == "engine"
            assert status["cause"]["until"] is None
            assert status["if_nobody_acts"] == "it goes on when somebody lifts the pause"
        snapshot = rig.engine.snapshot()
        assert snapshot.verdict.level is Level.PAUSED
        assert snapshot.verdict.cause == f"engine {WHY}"
        assert [(p.scope, p.waiting) for p in snapshot.pauses] == [("engine", 2)]
        await resume(rig, "engine")
        await rig.calls(3)
        assert rig.engine.snapshot().verdict.level is Level.OK
        assert rig.engine.snapshot().pauses == ()


async def test_what_ends_its_backoff_while_paused_waits_on_and_what_does_not_keeps_it(
    tmp_path: Path,
) -> None:
    script = in_turn(fails(ErrorKind.PROVIDER_ERROR), answers)
    settings = config(tmp_path, retry={"initial_delay_s": 20}, circuit={"fail_max": 9})
    async with running(settings, clock=HandClock(), scripts={"p": script}) as rig:
        request = await rig.submit()
        await rig.state(request, State.RETRYING)
        await pause(rig, "engine")
        await resume(rig, "engine")
        await looked(rig)
        assert "backoff" in await rig.why(request)
        assert len(rig.p.calls) == 1
        await pause(rig, "engine")
        rig.advance(25)
        await looked(rig)
        assert await rig.why(request) == WHY
        assert len(rig.p.calls) == 1
        await resume(rig, "engine")
        await rig.ended(request)


async def test_a_paused_engine_is_still_paused_after_a_restart(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await pause(rig, "engine")
        await pause(rig, "session", id="acme")
        request = await rig.submit(session_id="b")
    async with running(config(tmp_path)) as rig:
        await looked(rig)
        assert rig.p.calls == []
        assert await rig.why(request) == WHY
        assert [p.target for p in rig.core.pauses] == ["engine", "session:acme"]
        assert rig.core.pauses.engine is not None
        await resume(rig, "engine")
        await rig.ended(request)
    async with running(config(tmp_path)) as rig:
        assert [p.target for p in rig.core.pauses] == ["session:acme"]


# --- one session -----------------------------------------------------------------------------


async def test_a_session_pause_holds_that_session_alone_also_in_advance(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await pause(rig, "session", id="acme")
        first = await rig.submit("first", session_id="acme")
        second = await rig.submit("second", session_id="acme")
        await rig.ended(await rig.submit("other", session_id="b"))
        assert rig.p.prompts == ["other"]
        status = await rig.status(first)
        assert (status["why"], status["cause"]["target"]) == (WHY, "session:acme")
        assert await rig.why(second) == f"behind {first} in its session"
        snapshot = rig.engine.snapshot()
        assert snapshot.verdict.level is Level.OK
        (view,) = snapshot.pauses
        assert (view.scope, view.id, view.by, view.waiting) == ("session", "acme", "op1", 2)
        session = (await rig.emit("completion:session_status", session_id="acme"))["session"]
        assert session["paused"]["reason"] == "deploy"
        await resume(rig, "session", id="acme")
        await rig.ended(first, second)
        assert rig.p.prompts == ["other", "first", "second"]


async def test_a_ready_request_is_held_and_a_running_one_finishes(tmp_path: Path) -> None:
    settings = config(tmp_path, engine={"max_concurrency": 1})
    async with running(settings, scripts={"p": held}) as rig:
        runs = await rig.submit("runs", session_id="a")
        await rig.submit("behind", session_id="a")
        ready = await rig.submit("ready", session_id="b")
        await rig.calls(1)
        await pause(rig, "session", id="a")
        await pause(rig, "session", id="b")
        rig.p.of("runs").go.set()
        await rig.ended(runs)
        await looked(rig)
        assert rig.p.prompts == ["runs"]
        await resume(rig, "session", id="b")
        await rig.calls(2)
        assert rig.p.prompts == ["runs", "ready"]
        rig.p.of("ready").go.set()
        await rig.ended(ready)


async def test_a_retry_by_hand_does_not_break_a_pause(tmp_path: Path) -> None:
    script = in_turn(fails(ErrorKind.PROVIDER_ERROR), answers)
    settings = config(tmp_path, retry={"initial_delay_s": 20}, circuit={"fail_max": 9})
    async with running(settings, clock=HandClock(), scripts={"p": script}) as rig:
        request = await rig.submit(session_id="acme")
        await rig.state(request, State.RETRYING)
        await pause(rig, "session", id="acme")
        reply = await rig.emit("completion:retry", request_id=request)
        assert reply["changed"] is True
        await looked(rig)
        assert len(rig.p.calls) == 1
        assert await rig.why(request) == WHY
        await resume(rig, "session", id="acme")
        await rig.ended(request)


async def test_a_paused_request_can_be_cancelled(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await pause(rig, "session", id="acme")
        request = await rig.submit(session_id="acme")
        await rig.emit("completion:cancel", request_id=request)
        assert (await rig.status(request))["status"] == "cancelled"
        await rig.settled()


# --- one provider ----------------------------------------------------------------------------


TWO = [provider("p", "m1", "m2", priority=1), provider("q", "m1", "m3", priority=2)]


async def test_a_paused_provider_is_passed_over_for_the_next(tmp_path: Path) -> None:
    async with running(config(tmp_path, providers=TWO)) as rig:
        await pause(rig, "provider", id="p")
        request = await rig.submit(model="m1")
        await rig.ended(request)
        assert rig.providers["q"].prompts == ["hello"]
        (attempt,) = (await rig.status(request))["attempts"]
        verdicts = {v["provider"]: (v["kind"], v["detail"]) for v in attempt["verdicts"]}
        assert verdicts["p"] == ("paused", WHY)
        assert verdicts["q"][0] == "taken"
        status = await rig.emit("completion:provider_status")
        assert status["available_providers"] == 1
        assert status["providers"]["p"]["paused"]["by"] == "op1"
        assert status["providers"]["q"]["paused"] is None
        (row, _) = rig.engine.snapshot().providers
        assert (row.now, row.paused, row.forced) == (WHY, True, False)


async def test_where_all_are_paused_it_waits_for_any(tmp_path: Path) -> None:
    async with running(config(tmp_path, providers=TWO)) as rig:
        await pause(rig, "provider", id="p")
        await pause(rig, "provider", id="q", by="op2")
        request = await rig.submit(model="m1")
        await looked(rig)
        status = await rig.status(request)
        assert (status["status"], status["cause"]["kind"]) == ("queued", "pause")
        assert (status["why"], status["cause"]["target"]) == (WHY, "provider:p")
        await resume(rig, "provider", id="q")
        await rig.ended(request)
        assert rig.p.calls == []
        assert len(rig.providers["q"].calls) == 1


async def test_who_comes_back_by_itself_is_named_before_a_pause(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=TWO, circuit={"fail_max": 1})
    down = fails(ErrorKind.PROVIDER_ERROR)
    async with running(settings, clock=HandClock(), scripts={"q": down}) as rig:
        broken = await rig.submit(model="m3", max_attempts=1)
        await rig.ended(broken)
        await pause(rig, "provider", id="p")
        request = await rig.submit(model="m1")
        assert await rig.why(request) == "q open, probe in 30 s"


async def test_a_pause_is_waited_for_where_another_refuses(tmp_path: Path) -> None:
    denied = fails(ErrorKind.AUTH_ERROR, status=401)
    async with running(config(tmp_path, providers=TWO), scripts={"q": denied}) as rig:
        await pause(rig, "provider", id="p")
        request = await rig.submit(model="m1")
        await rig.state(request, State.RETRYING)
        assert await rig.why(request) == WHY
        await resume(rig, "provider", id="p")
        await rig.ended(request)
        assert (await rig.status(request))["status"] == "completed"


async def test_a_paused_provider_that_would_refuse_is_waited_for(tmp_path: Path) -> None:
    denied = fails(ErrorKind.AUTH_ERROR, status=401)
    async with running(config(tmp_path), scripts={"p": denied}) as rig:
        await rig.ended(await rig.submit())
        await pause(rig, "provider", id="p")
        request = await rig.submit()
        await looked(rig)
        assert await rig.why(request) == WHY
        await resume(rig, "provider", id="p")
        await rig.ended(request)
        assert (await rig.status(request))["error"]["kind"] == "auth_error"


async def test_a_pause_of_a_provider_that_is_gone_can_be_ended(tmp_path: Path) -> None:
    async with running(config(tmp_path, providers=TWO)) as rig:
        await pause(rig, "provider", id="q")
    async with running(config(tmp_path)) as rig:
        assert (await resume(rig, "provider", id="q"))["changed"] is True
        assert (await rig.emit("queue:resume", scope="provider", id="q"))["code"] == "not_found"


# --- the deadline ----------------------------------------------------------------------------


async def begun(rig: Rig, **data: Any) -> str:
    """Return a request that has begun and is in a backoff of no length."""
    request = await rig.submit(session_id="acme", timeout_s=100, **data)
    await rig.state(request, State.RETRYING)
    return request


@pytest.mark.parametrize(
    ("scope", "id_"), [("engine", None), ("session", "acme"), ("provider", "p")]
)
async def test_the_deadline_of_what_has_begun_stands_still(
    tmp_path: Path, scope: str, id_: str | None
) -> None:
    script = in_turn(fails(ErrorKind.PROVIDER_ERROR), held)
    settings = config(tmp_path, retry={"initial_delay_s": 10}, circuit={"fail_max": 9})
    async with running(settings, clock=HandClock(), scripts={"p": script}) as rig:
        request = await begun(rig)
        rig.advance(8)
        await pause(rig, scope, id=id_)
        rig.advance(2)  # of a provider that is paused, the backoff holds it until here
        await looked(rig)
        spent = 10 if scope == "provider" else 8
        for _ in range(3):
            rig.advance(1000)
            await looked(rig)
            assert await rig.why(request) == WHY
            assert (await rig.status(request))["deadline_left_s"] == 100 - spent
        assert rig.core.alarms.count("deadline") == 0
        await resume(rig, scope, id=id_)
        await rig.calls(2)
        rig.advance(5)
        assert (await rig.status(request))["deadline_left_s"] == 100 - spent - 5
        rig.p.calls[-1].go.set()
        await rig.ended(request)


async def test_it_runs_on_while_something_else_is_paused(tmp_path: Path) -> None:
    script = fails(ErrorKind.PROVIDER_ERROR)
    settings = config(
        tmp_path, providers=TWO, retry={"initial_delay_s": 60}, circuit={"fail_max": 99}
    )
    async with running(settings, clock=HandClock(), scripts={"p": script}) as rig:
        request = await begun(rig, model="m2")
        await pause(rig, "session", id="another")
        await pause(rig, "provider", id="q")
        rig.advance(50)
        assert (await rig.status(request))["deadline_left_s"] == 50


async def test_a_deadline_that_stood_runs_out_after_the_pause(tmp_path: Path) -> None:
    """`q` is full for ever, so that after the pause nothing but the deadline is left."""
    providers = [provider("p", "m1"), provider("q", "m1", "m3", priority=2, max_concurrency=1)]
    settings = config(tmp_path, providers=providers, retry={"initial_delay_s": 10})
    script = fails(ErrorKind.PROVIDER_ERROR)
    async with running(settings, clock=HandClock(), scripts={"p": script, "q": held}) as rig:
        await rig.submit("busy", model="m3")
        await rig.calls(1, "q")
        request = await begun(rig, model="m1")
        await pause(rig, "provider", id="p")
        await pause(rig, "engine")
        rig.advance(500)
        await looked(rig)
        assert (await rig.status(request))["deadline_left_s"] == 100
        await resume(rig, "engine")
        await looked(rig)
        assert await rig.why(request) == "q at 1 of 1"
        rig.advance(100)
        await rig.ended(request)
        assert (await rig.status(request))["error"]["kind"] == "deadline_exceeded"


async def test_it_stands_when_the_last_neighbour_of_a_paused_provider_is_lost(
    tmp_path: Path,
) -> None:
    """`q` is full while `p` is paused; then `q` refuses everybody: only the pause is left."""
    providers = [provider("p", "m1"), provider("q", "m1", "m3", priority=2, max_concurrency=1)]
    settings = config(tmp_path, providers=providers, retry={"initial_delay_s": 10})
    script = in_turn(fails(ErrorKind.PROVIDER_ERROR), answers)
    async with running(settings, clock=HandClock(), scripts={"p": script, "q": held}) as rig:
        busy = await rig.submit("busy", model="m3")
        await rig.calls(1, "q")
        request = await begun(rig, model="m1")
        await pause(rig, "provider", id="p")
        rig.advance(10)
        await looked(rig)
        rig.advance(5)
        assert await rig.why(request) == "q at 1 of 1"
        left = (await rig.status(request))["deadline_left_s"]
        assert left == 85
        rig.providers["q"].of("busy").fail(ErrorKind.AUTH_ERROR, status=401)
        await rig.ended(busy)
        await looked(rig)
        assert await rig.why(request) == WHY
        rig.advance(20)  # less than the open time of `q`, whose probe it could be after that
        assert (await rig.status(request))["deadline_left_s"] == left
        await resume(rig, "provider", id="p")
        await rig.ended(request)


async def test_pausing_looks_at_what_has_begun_and_at_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = in_turn(fails(ErrorKind.PROVIDER_ERROR), held)
    settings = config(tmp_path, retry={"initial_delay_s": 1000}, engine={"max_concurrency": 1})
    async with running(settings, clock=HandClock(), scripts={"p": script}) as rig:
        request = await begun(rig, max_attempts=2)
        for number in range(50):
            await rig.submit(session_id=f"s{number}")
        dispatcher = rig.engine._parts.dispatcher  # type: ignore[union-attr]
        gate, asked = dispatcher.gate, list[str]()

        def counted(ticket: Any, now: float) -> Any:
            asked.append(ticket.request_id)
            return gate(ticket, now)

        monkeypatch.setattr(dispatcher, "gate", counted)
        await pause(rig, "engine")
        await resume(rig, "engine")
        assert asked == [request, request]
