"""Forcing, resetting and probing a provider's circuit by hand, and adding a provider."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.engine import CompletionEngine
from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import State
from ksi_tui.engine.views import Level
from tests.engine.engine_fixtures import (
    HandClock,
    Rig,
    ScriptedProvider,
    answers,
    config,
    fails,
    held,
    in_turn,
    provider,
    running,
    until,
)

DOWN = fails(ErrorKind.PROVIDER_ERROR)
ONE_FAILURE = {"fail_max": 1, "reset_timeout_s": 30}
TWO = [provider("p", "m1", priority=1), provider("q", "m1", priority=2)]


async def done(rig: Rig, event: str, **data: Any) -> dict[str, Any]:
    """Emit what must be accepted."""
    reply = await rig.engine.emit(event, data)
    assert "code" not in reply, reply
    return reply


async def actions(rig: Rig) -> list[tuple[str, str, str | None, str | None, str | None]]:
    rows = await rig.core.store._rows(  # type: ignore[attr-defined]
        "SELECT name, target, by, reason, detail FROM actions ORDER BY row"
    )
    return [tuple(row) for row in rows]


def copied(folder: Path, to: str) -> Path:
    """Return a copy of the database as a kill -9 at this moment would leave it."""
    left = folder / to
    left.mkdir()
    for file in folder.glob("ksi.db*"):
        shutil.copy(file, left / file.name)
    return left


# --- forced states ---------------------------------------------------------------------------


async def test_forced_open_nobody_is_let_through_until_its_time_is_over(tmp_path: Path) -> None:
    async with running(config(tmp_path), clock=HandClock()) as rig:
        reply = await done(
            rig, "provider:open", provider="p", by="op1", reason="deploy", for_s=29 * 60
        )
        assert reply == {
            "provider": "p",
            "circuit_breaker": {
                "state": "open",
                "is_open": True,
                "recent_failures": 0,
                "open_until": "2027-01-15T08:29:00.000Z",
                "forced": "open",
                "forced_by": "op1",
                "forced_until": "2027-01-15T08:29:00.000Z",
                "last_success": None,
                "reason": "deploy",
            },
        }
        shown = await rig.emit("completion:provider_status", provider="p")
        assert shown["circuit_breaker"] == reply["circuit_breaker"]
        assert rig.events("provider:circuit") == [
            {
                "provider": "p",
                "from": "closed",
                "to": "open",
                "reason": "deploy",
                "forced": "open",
                "by": "op1",
                "until": "2027-01-15T08:29:00.000Z",
            }
        ]
        assert await actions(rig) == [
            ("force open", "provider:p", "op1", "deploy", "for 1740 s"),
        ]
        request = await rig.submit()
        status = await rig.status(request)
        assert status["why"] == "p forced open by op1: deploy, 29 min left"
        assert status["cause"]["kind"] == "circuit"
        assert status["if_nobody_acts"] == "in 29 min a probe may go to p"
        snapshot = rig.engine.snapshot()
        forced = "forced open by op1 until 08:29 (29 min left): deploy"
        assert snapshot.verdict.cause == f"p {forced}; 100% waits"
        assert snapshot.verdict.short == "p forced open by op1 until 08:29, 100% waits"
        assert snapshot.providers[0].now == forced
        rig.advance(29 * 60 - 1)
        await rig.core.store.write()
        assert rig.p.calls == []
        rig.advance(1)
        await rig.ended(request)
        shown = await rig.emit("completion:provider_status", provider="p")
        assert shown["circuit_breaker"]["state"] == "closed"
        assert shown["circuit_breaker"]["forced"] is None


async def test_the_end_of_a_force_is_heard_without_a_nudge(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await done(rig, "provider:open", provider="p", for_s=0.05)
        await rig.ended(await rig.submit())


async def test_a_forced_circuit_is_the_verdicts_cause_also_when_it_is_closed(
    tmp_path: Path,
) -> None:
    async with running(config(tmp_path), clock=HandClock()) as rig:
        await done(rig, "provider:close", provider="p", by="op1", for_s=60)
        verdict = rig.engine.snapshot().verdict
        assert (verdict.level, verdict.cause) == (
            Level.OK,
            "p forced closed by op1 until 08:01 (60 s left)",
        )
        rig.advance(60)
        assert rig.engine.snapshot().verdict.cause == "no circuit is open, nothing cools down"
        assert not rig.engine.snapshot().providers[0].forced


async def test_forced_open_without_end_says_so_and_waits_for_somebody(tmp_path: Path) -> None:
    async with running(config(tmp_path), clock=HandClock()) as rig:
        reply = await done(rig, "provider:open", provider="p")
        assert reply["circuit_breaker"]["forced_until"] is None
        assert reply["circuit_breaker"]["open_until"] is None
        request = await rig.submit()
        assert await rig.why(request) == "p forced open"
        assert rig.engine.snapshot().providers[0].now == "forced open"
        rig.advance(10**6)
        assert await rig.why(request) == "p forced open"
        await done(rig, "provider:close", provider="p", by="op2")
        await rig.ended(request)


async def test_what_would_not_heal_is_waited_for_once_a_person_holds_it_open(
    tmp_path: Path,
) -> None:
    script = in_turn(fails(ErrorKind.AUTH_ERROR, status=401), answers)
    async with running(config(tmp_path), scripts={"p": script}) as rig:
        await rig.ended(await rig.submit())
        await done(rig, "provider:open", provider="p", by="op1", reason="new key on its way")
        request = await rig.submit()
        assert await rig.why(request) == "p forced open by op1: new key on its way"
        await done(rig, "provider:reset", provider="p")
        await rig.ended(request)
        assert (await rig.status(request))["status"] == "completed"


async def test_forced_closed_it_stays_so_whatever_fails(tmp_path: Path) -> None:
    settings = config(tmp_path, circuit=ONE_FAILURE)
    async with running(settings, clock=HandClock(), scripts={"p": DOWN}) as rig:
        await done(rig, "provider:close", provider="p", by="op1", reason="trust me")
        for _ in range(3):
            await rig.ended(await rig.submit(max_attempts=1))
        assert len(rig.p.calls) == 3
        shown = await rig.emit("completion:provider_status", provider="p")
        assert shown["circuit_breaker"]["state"] == "closed"
        assert shown["circuit_breaker"]["forced"] == "closed"
        snapshot = rig.engine.snapshot()
        (row,) = snapshot.providers
        assert (row.forced, row.paused) == (True, False)
        assert row.now == "forced closed by op1: trust me"
        # It was closed before: told all the same, since somebody acted.
        assert rig.events("provider:circuit") == [
            {
                "provider": "p",
                "from": "closed",
                "to": "closed",
                "reason": "trust me",
                "forced": "closed",
                "by": "op1",
                "until": None,
            }
        ]


async def test_others_go_on_beside_a_forced_one(tmp_path: Path) -> None:
    async with running(config(tmp_path, providers=TWO)) as rig:
        await done(rig, "provider:open", provider="p", by="op1")
        request = await rig.submit()
        await rig.ended(request)
        assert len(rig.providers["q"].calls) == 1
        (attempt,) = (await rig.status(request))["attempts"]
        assert attempt["verdicts"][0]["kind"] == "open"
        assert attempt["verdicts"][0]["detail"] == "p forced open by op1"


async def test_a_reset_forgets_state_cooldowns_and_statistics(tmp_path: Path) -> None:
    limited = fails(ErrorKind.API_RATE_LIMIT, retry_after_s=200)
    settings = config(tmp_path, circuit=ONE_FAILURE)
    async with running(
        settings, clock=HandClock(), scripts={"p": in_turn(limited, DOWN, answers)}
    ) as rig:
        await rig.ended(await rig.submit(max_attempts=1, model="m1"))
        await rig.ended(await rig.submit(max_attempts=1, model="m2"))
        waits = [await rig.submit(model="m1"), await rig.submit(model="m2")]
        before = await rig.emit("completion:provider_status", provider="p")
        assert before["circuit_breaker"]["is_open"]
        assert before["cooldown_until"] is not None
        assert before["stats"]["failed_calls"] == 2
        reply = await done(rig, "provider:reset", provider="p", by="op1", reason="mended", for_s=9)
        assert reply["circuit_breaker"]["state"] == "closed"
        assert reply["circuit_breaker"]["recent_failures"] == 0
        assert (await actions(rig))[-1][:4] == ("reset", "provider:p", "op1", "mended")
        await rig.ended(*waits)
        after = await rig.emit("completion:provider_status", provider="p")
        assert after["cooldown_until"] is None
        assert after["stats"]["failed_calls"] == 0
        assert after["stats"]["total_calls"] == 2
        assert after["stats"]["last_error"] is None


async def test_a_call_from_before_the_reset_no_longer_counts(tmp_path: Path) -> None:
    settings = config(tmp_path, circuit=ONE_FAILURE)
    async with running(settings, scripts={"p": held}) as rig:
        request = await rig.submit(max_attempts=1)
        (call,) = await rig.calls(1)
        await done(rig, "provider:reset", provider="p")
        call.fail(ErrorKind.PROVIDER_ERROR)
        await rig.ended(request)
        shown = await rig.emit("completion:provider_status", provider="p")
        assert shown["circuit_breaker"]["state"] == "closed"


@pytest.mark.parametrize(
    "name", ["provider:open", "provider:close", "provider:reset", "provider:probe"]
)
async def test_an_unknown_provider_is_not_found_with_those_there_are(
    tmp_path: Path, name: str
) -> None:
    async with running(config(tmp_path, providers=TWO)) as rig:
        reply = await rig.emit(name, provider="x")
        assert (reply["code"], reply["error"]) == ("not_found", "no provider 'x'; configured: p, q")
        assert "provider is missing" in (await rig.emit(name))["error"]
        assert (await rig.emit(name, provider="p", for_s=-1))["code"] == "invalid_request"


@pytest.mark.parametrize("killed", [False, True])
async def test_forced_states_and_statistics_outlive_the_engine(
    tmp_path: Path, *, killed: bool
) -> None:
    folder = tmp_path
    clock = HandClock()
    async with running(config(tmp_path, providers=TWO), clock=clock) as rig:
        await rig.ended(await rig.submit())
        await done(rig, "provider:open", provider="p", by="op1", reason="deploy", for_s=600)
        await done(rig, "provider:close", provider="q", by="op2")
        said = await rig.emit("completion:provider_status")
        if killed:
            folder = copied(tmp_path, "left")
    clock.now += 60
    async with running(config(folder, providers=TWO), clock=clock) as rig:
        found = await rig.emit("completion:provider_status")
        for name in ("p", "q"):
            before, after = said["providers"][name], found["providers"][name]
            assert after["circuit_breaker"] == before["circuit_breaker"]
            assert after["stats"]["total_calls"] == before["stats"]["total_calls"]
            assert after["stats"]["last_call"] == before["stats"]["last_call"]
        assert found["providers"]["p"]["circuit_breaker"]["forced_by"] == "op1"
        assert found["providers"]["p"]["stats"]["successful_calls"] == 1


async def test_statistics_are_written_down_as_they_come(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await rig.ended(await rig.submit())
        (entry,) = rig.core.providers.entries()
        await until(lambda: not entry.dirty)
        await rig.core.store.write()
        left = copied(tmp_path, "left")
    async with running(config(left)) as rig:
        stats = (await rig.emit("completion:provider_status", provider="p"))["stats"]
        assert (stats["total_calls"], stats["successful_calls"]) == (1, 1)


async def test_looking_at_a_circuit_moves_nothing(tmp_path: Path) -> None:
    settings = config(tmp_path, circuit=ONE_FAILURE)
    async with running(settings, clock=HandClock(), scripts={"p": DOWN}) as rig:
        await opened(rig)
        rig.advance(1000)  # a probe may go, and nobody wants one
        (entry,) = rig.core.providers.entries()
        before = entry.circuit.dump()
        for _ in range(3):
            assert rig.engine.snapshot().providers[0].circuit == "open"
            await rig.emit("completion:provider_status")
            await rig.emit("completion:status")
        assert entry.circuit.dump() == before
        assert len(rig.events("provider:circuit")) == 1


# --- saved states of another hand ------------------------------------------------------------


@pytest.mark.parametrize(
    "state",
    [
        "no JSON",
        "[]",
        "null",
        "{}",
        '{"circuit": null, "health": [], "cooldowns": 3}',
        '{"circuit": {"state": "ajar"}, "health": {"total": "many"}, "cooldowns": {"m1": "late"}}',
        '{"circuit": {}, "health": {"latencies": [NaN], "last_error": [1]}, "cooldowns": []}',
    ],
)
async def test_a_saved_state_that_cannot_be_read_begins_anew(
    tmp_path: Path, state: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(config(tmp_path)) as rig:
        await rig.ended(await rig.submit())
        await rig.settled()
    async with running(config(tmp_path)) as rig:
        writer = rig.core.store._writer._connection  # type: ignore[attr-defined]
        await rig.core.store.write()
        await writer.execute("UPDATE providers SET state = ?", (state,))
    caplog.clear()
    async with running(config(tmp_path)) as rig:
        assert "begins anew" in caplog.text
        shown = await rig.emit("completion:provider_status", provider="p")
        assert shown["circuit_breaker"]["state"] == "closed"
        assert shown["stats"]["total_calls"] == 0
        await rig.ended(await rig.submit())


# --- probing ---------------------------------------------------------------------------------


async def opened(rig: Rig) -> None:
    """Let `p` fail once, which opens it."""
    await rig.ended(await rig.submit(max_attempts=1))
    assert rig.core.providers.entries()[0].circuit.look(rig.core.clock()).state == "open"


async def test_a_probe_by_hand_goes_now_and_the_reply_names_who_took_it(tmp_path: Path) -> None:
    settings = config(tmp_path, circuit=ONE_FAILURE)
    script = in_turn(DOWN, held)
    async with running(settings, clock=HandClock(), scripts={"p": script}) as rig:
        await opened(rig)
        waiting = [await rig.submit(f"w{n}") for n in range(5)]
        reply = await done(rig, "provider:probe", provider="p", by="op1")
        assert reply["taken"] is True
        assert reply["request_id"] in waiting
        assert reply["circuit_breaker"]["state"] == "half_open"
        assert len(rig.p.calls) == 2
        assert rig.p.calls[1].spec.request_id == reply["request_id"]
        assert (await actions(rig))[-1][:3] == ("probe", "provider:p", "op1")
        again = await rig.emit("provider:probe", provider="p")
        assert again["code"] == "conflict"
        assert "p is being probed already" in again["error"]
        rig.p.script = answers
        rig.p.calls[1].go.set()
        await rig.ended(*waiting)


async def test_where_nobody_waits_the_next_request_is_the_probe(tmp_path: Path) -> None:
    settings = config(tmp_path, circuit=ONE_FAILURE)
    async with running(settings, clock=HandClock(), scripts={"p": in_turn(DOWN, held)}) as rig:
        await opened(rig)
        reply = await done(rig, "provider:probe", provider="p")
        assert (reply["taken"], reply["request_id"]) == (False, None)
        # Allowed and not taken: allowing it again changes nothing and is no conflict.
        assert (await done(rig, "provider:probe", provider="p"))["taken"] is False
        request = await rig.submit()
        (_, probe) = await rig.calls(2)
        second = await rig.submit()
        assert await rig.why(second) == "p probing"
        probe.go.set()
        await rig.calls(3)
        rig.p.calls[2].go.set()
        await rig.ended(request, second)


@pytest.mark.parametrize(
    ("before", "says"),
    [
        ([], "p is closed"),
        ([("provider:open", {"by": "op1", "reason": "deploy"})], "p is forced open by op1: deploy"),
        ([("provider:close", {"by": "op1"})], "p is forced closed by op1"),
        ([("queue:pause", {"scope": "provider", "id": "p", "by": "op1"})], "p is paused by op1"),
    ],
)
async def test_what_cannot_be_probed_says_why(
    tmp_path: Path, before: list[tuple[str, dict[str, Any]]], says: str
) -> None:
    async with running(config(tmp_path)) as rig:
        for name, data in before:
            given = data if "scope" in data else {"provider": "p", **data}
            await done(rig, name, **given)
        reply = await rig.emit("provider:probe", provider="p")
        assert reply["code"] == "conflict"
        assert says in reply["error"]


@pytest.mark.parametrize("by_hand", [False, True])
async def test_of_fifty_at_half_open_exactly_one_calls(tmp_path: Path, *, by_hand: bool) -> None:
    settings = config(tmp_path, circuit=ONE_FAILURE, engine={"max_concurrency": 50})
    script = in_turn(DOWN, held)
    async with running(settings, clock=HandClock(), scripts={"p": script}) as rig:
        await opened(rig)
        waiting = await asyncio.gather(*[rig.submit(f"w{n}") for n in range(50)])
        if by_hand:
            await done(rig, "provider:probe", provider="p")
        else:
            rig.advance(30)
        await rig.calls(2)
        await until(lambda: rig.core.queue.running_count == 1)
        await rig.core.store.write()
        assert len(rig.p.calls) == 2
        assert rig.p.open == 1
        states = [rig.ticket(request_id).state for request_id in waiting]
        assert sorted(states) == [State.PROCESSING] + [State.QUEUED] * 49
        rig.p.script = answers
        rig.p.calls[1].go.set()
        await rig.ended(*waiting)
        assert len(rig.p.calls) == 51
        await rig.settled()


async def test_of_fifty_one_probes_and_the_others_go_elsewhere(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=TWO, circuit=ONE_FAILURE, engine={"max_concurrency": 50})
    scripts = {"p": in_turn(DOWN, held), "q": held}
    async with running(settings, clock=HandClock(), scripts=scripts) as rig:
        first = await rig.submit("first")
        await rig.calls(1, "q")
        rig.providers["q"].calls[0].go.set()
        await rig.ended(first)
        rig.advance(30)
        everybody = await asyncio.gather(*[rig.submit(f"w{n}") for n in range(50)])
        await rig.calls(50, "q")
        assert len(rig.p.calls) == 2
        assert rig.p.open == 1
        for call in [*rig.p.calls, *rig.providers["q"].calls]:
            call.go.set()
        await rig.ended(*everybody)


async def test_a_cancelled_probe_by_hand_gives_its_permit_back(tmp_path: Path) -> None:
    settings = config(tmp_path, circuit=ONE_FAILURE)
    async with running(settings, clock=HandClock(), scripts={"p": in_turn(DOWN, held)}) as rig:
        await opened(rig)
        first, second = await rig.submit("a"), await rig.submit("b")
        taken = (await done(rig, "provider:probe", provider="p"))["request_id"]
        await rig.emit("completion:cancel", request_id=taken)
        (_, _, next_probe) = await rig.calls(3)
        other = first if taken == second else second
        assert next_probe.spec.request_id == other
        next_probe.go.set()
        await rig.ended(other)


# --- one more provider -----------------------------------------------------------------------


def more(rig: Rig, name: str) -> ScriptedProvider:
    """Let the engine find this provider when it builds it."""
    made = rig.providers[name] = ScriptedProvider(name, answers)
    return made


async def test_an_added_provider_is_used_at_once_also_by_who_waits(tmp_path: Path) -> None:
    async with running(config(tmp_path), clock=HandClock()) as rig:
        await done(rig, "provider:open", provider="p")
        waits = await rig.submit(model="m1")
        assert (await rig.emit("completion:async", prompt="x", model="new"))[
            "code"
        ] == "no_provider"
        made = more(rig, "extra")
        settings = provider("extra", "m*", "new", priority=5, api_key_env="EXTRA_KEY")
        reply = await done(rig, "provider:add", **settings, by="op1", reason="more hands")
        assert (reply["status"], reply["provider"]) == ("added", "extra")
        assert reply["config"]["models"] == ["m*", "new"]
        assert reply["circuit_breaker"]["state"] == "closed"
        await rig.ended(waits, await rig.submit(model="new"))
        assert len(made.calls) == 2
        assert (await actions(rig))[-1] == (
            ("add provider", "provider:extra", "op1", "more hands", "simulated, models m*, new")
        )
        assert [p.name for p in rig.engine.snapshot().providers] == ["p", "extra"]
        assert "extra" in (await rig.emit("completion:provider_status"))["providers"]
    assert made.closed
    async with running(config(tmp_path)) as rig:
        assert rig.core.providers.names == ["p"]


async def test_an_added_provider_has_a_circuit_of_its_own(tmp_path: Path) -> None:
    async with running(config(tmp_path, circuit={"fail_max": 5})) as rig:
        more(rig, "extra").script = DOWN
        await done(rig, "provider:add", **provider("extra", "x"), circuit={"fail_max": 1})
        await rig.ended(await rig.submit(model="x", max_attempts=1))
        shown = await rig.emit("completion:provider_status", provider="extra")
        assert shown["circuit_breaker"]["is_open"]


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        ({"name": "p"}, "conflict", "the name 'p' is taken; in use are: p"),
        ({}, "invalid_request", "name is missing"),
        ({"name": "a b"}, "invalid_request", "name: this is a name: letters and digits of"),
        ({"name": 'a"b'}, "invalid_request", "after the first of them; found 'a\"b'"),
        ({"name": "x", "by": "a\x1bb"}, "invalid_request", "by: control characters and marks of"),
        ({"name": "x", "kind": "openai"}, "invalid_request", "'litellm' or 'simulated'"),
        ({"name": "x", "models": []}, "invalid_request", "models: "),
        ({"name": "x", "model": "{modal}"}, "invalid_request", "only the placeholder {model}"),
        ({"name": "x", "speed": 1}, "invalid_request", "unknown key 'speed'; allowed: name, kind"),
        ({"name": "x", "api_key": "sk-secret"}, "invalid_request", "unknown key 'api_key'"),
        ({"name": "x", "api_key_env": "sk-secret"}, "invalid_request", "environment variable"),
        ({"name": "x", "params": {"api_key": "sk-secret"}}, "invalid_request", "api_key_env"),
        ({"name": "x", "circuit": {"fail_max": 0}}, "invalid_request", "circuit.fail_max"),
    ],
)
async def test_what_cannot_be_added_says_why_and_never_a_key(
    tmp_path: Path, data: dict[str, Any], code: str, says: str
) -> None:
    async with running(config(tmp_path)) as rig:
        reply = await rig.engine.emit("provider:add", data)
        assert reply["code"] == code
        assert says in reply["error"]
        assert "secret" not in reply["error"]
        assert rig.core.providers.names == ["p"]
        assert await actions(rig) == []


async def test_a_provider_that_cannot_be_made_is_an_invalid_request(tmp_path: Path) -> None:
    async with CompletionEngine(config(tmp_path)) as engine:
        wrong = {"name": "x", "kind": "simulated", "params": {"delay_ms": "soon"}}
        reply = await engine.emit("provider:add", wrong)
        assert reply["code"] == "invalid_request"
        assert reply["error"].startswith("provider:add: provider x: params: delay_ms is ")
        assert [p.name for p in engine.snapshot().providers] == ["p"]


async def test_a_name_that_was_taken_meanwhile_builds_nothing(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        more(rig, "extra")
        both = await asyncio.gather(
            *[rig.engine.emit("provider:add", provider("extra", "x")) for _ in range(2)]
        )
        assert sorted(reply.get("code", "added") for reply in both) == ["added", "conflict"]


async def test_a_probe_that_fails_at_once_is_named_too(tmp_path: Path) -> None:
    settings = config(tmp_path, circuit={"fail_max": 1, "reset_timeout_s": 1000})
    script = fails(ErrorKind.PROVIDER_ERROR)
    async with running(settings, clock=HandClock(), scripts={"p": script}) as rig:
        request_id = await rig.submit("x", max_attempts=9)
        await rig.event("completion:retrying", request_id)
        rig.advance(1)
        reply = await rig.emit("provider:probe", provider="p", by="op1")
        assert (reply["taken"], reply["request_id"]) == (True, request_id)
        await rig.calls(2)
