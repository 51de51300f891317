"""The status events, in exactly the shapes of the contract."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import State
from tests.engine.engine_fixtures import (
    HandClock,
    config,
    fails,
    held,
    in_turn,
    provider,
    running,
)

USAGE = {
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "total_tokens",
    "request_count",
    "avg_tokens_per_request",
    "cost",
    "unpriced",
    "estimated",
}


def is_utc(text: Any) -> bool:
    return isinstance(text, str) and text.endswith("Z") and bool(datetime.fromisoformat(text))


async def test_what_a_submit_answers(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        first = await rig.emit("completion:async", prompt="a", session_id="s")
        assert first == {
            "request_id": "r-1",
            "session_id": "s",
            "status": "queued",
            "message": first["message"],
            "queued": True,
            "queue_depth": 1,
            "position": 1,
            "session_active": False,
        }
        await rig.calls(1)
        second = await rig.emit("completion:async", prompt="b", session_id="s")
        assert (second["queue_depth"], second["position"]) == (1, 1)
        assert second["session_active"] is True
        third = await rig.emit("completion:async", prompt="c", session_id="s", priority="high")
        assert (third["queue_depth"], third["position"]) == (2, 1)
        fourth = await rig.emit("completion:inject", prompt="d", session_id="s")
        assert (fourth["queue_depth"], fourth["position"]) == (3, 2)
        json.dumps([first, second, third, fourth])


async def test_everything_about_one_request(tmp_path: Path) -> None:
    script = in_turn(fails(ErrorKind.PROVIDER_ERROR, "overloaded", status=503), held)
    async with running(config(tmp_path), scripts={"p": script}) as rig:
        request_id = await rig.submit(
            session_id="s", agent_id="a", client_id="c", metadata={"k": 1}, temperature=0.5
        )
        up = (await rig.calls(2))[1]
        up.say("half ", 2)
        live = await rig.status(request_id)
        assert (live["status"], live["text"], live["provider"]) == ("processing", "half ", "p")
        assert live["cause"]["kind"] == "running"
        assert live["why"] == live["cause"]["text"]
        assert live["if_nobody_acts"]
        assert live["attempts"][1]["calls"][0]["outcome"] == "running"
        up.go.set()
        await rig.ended(request_id)
        done = await rig.status(request_id)
        json.dumps(done)
        assert (done["status"], done["text"], done["error"]) == ("completed", "re: hello", None)
        assert (done["agent_id"], done["client_id"], done["metadata"]) == ("a", "c", {"k": 1})
        assert (done["attempts_spent"], done["max_attempts"]) == (2, 3)
        assert (done["why"], done["cause"]) == (None, None)
        failed, answered = (attempt["calls"][0] for attempt in done["attempts"])
        assert failed["error"] == {"kind": "provider_error", "message": "overloaded", "status": 503}
        assert (failed["waste"], answered["waste"]) == (True, False)
        assert answered["usage"]["input"] == 7
        assert answered["raw_usage"] == {"t": 10}
        assert [v["kind"] for v in done["attempts"][0]["verdicts"]] == ["taken"]
        assert is_utc(done["queued_at"])
        assert is_utc(done["finished_at"])
        moments = [entry["at"] for entry in done["timeline"]]
        assert moments == sorted(moments)
        assert {entry["what"] for entry in done["timeline"]} >= {"queued", "attempt", "call failed"}


async def test_the_standard_envelope(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        request_id = await rig.submit(session_id="s", agent_id="a", client_id="c")
        told = await rig.event("completion:result", request_id)
        assert set(told) == {"request_id", "session_id", "result"}
        envelope = told["result"]
        assert set(envelope) == {"ksi", "response"}
        assert set(envelope["ksi"]) == {
            "provider",
            "request_id",
            "client_id",
            "timestamp",
            "duration_ms",
            "session_id",
            "agent_id",
            "model",
            "attempt",
            "ttft_ms",
        }
        assert envelope["ksi"]["attempt"] == 1
        assert envelope["response"]["object"] == "chat.completion"
        assert (await rig.status(request_id))["result"] == envelope


async def test_the_status_of_the_whole(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        await rig.submit("a", session_id="s", agent_id="a1")
        await rig.submit("b", session_id="s")
        await rig.calls(1)
        status = await rig.emit("completion:status")
        json.dumps(status)
        assert status["service_ready"] is True
        assert status["active_completions"] == 1
        assert status["status_counts"] == {
            "queued": 1,
            "processing": 1,
            "retrying": 0,
            "completed": 0,
            "failed": 0,
            "cancelled": 0,
        }
        queues = status["queues"]
        assert (queues["total_sessions"], queues["active_sessions"]) == (1, 1)
        assert queues["total_queued"] == 1
        assert queues["sessions"] == {"s": {"queue_size": 1, "is_active": True}}
        assert status["sessions"] == {
            "total_sessions": 1,
            "locked_sessions": 0,
            "active_sessions": 1,
            "agents_with_sessions": 1,
        }
        assert status["providers"]["total_providers"] == 1
        assert set(status["token_usage"]["usage"]) >= USAGE
        assert status["retry_manager"]["total_retrying"] == 0


async def test_the_map_of_sessions_keeps_the_deepest_and_says_so(tmp_path: Path) -> None:
    settings = config(tmp_path, engine={"max_concurrency": 1})
    async with running(settings, scripts={"p": held}) as rig:
        await rig.submit("holds the engine")
        await rig.calls(1)
        items = [{"prompt": "x", "session_id": f"s{number}"} for number in range(104)]
        items += [{"prompt": "x", "session_id": "s103"}]
        await rig.emit("completion:batch", requests=items)
        queues = (await rig.emit("completion:status"))["queues"]
        assert (len(queues["sessions"]), queues["sessions_limited_to"]) == (100, 100)
        assert next(iter(queues["sessions"])) == "s103"
        assert queues["total_sessions"] == 105


async def test_the_status_of_a_session(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        first = await rig.submit("a", session_id="s", agent_id="a1", conversation_lock={})
        second = await rig.submit("b", session_id="s", agent_id="a2")
        await rig.calls(1)
        reply = await rig.emit("completion:session_status", session_id="s")
        json.dumps(reply)
        assert reply["exists"] is True
        assert [c["request_id"] for c in reply["completions"]] == [first, second]
        assert set(reply["completions"][0]) >= {
            "request_id",
            "status",
            "why",
            "cause",
            "queued_at",
            "started_at",
            "completed_at",
            "attempts",
        }
        assert reply["completions"][1]["why"] == f"behind {first} in its session"
        assert reply["queue"] == {
            "exists": True,
            "queue_size": 1,
            "is_active": True,
            "is_empty": False,
        }
        session = reply["session"]
        assert (session["request_count"], session["active_request"]) == (2, first)
        assert (session["conversation_locked"], session["lock_holder"]) == (True, "a1")
        assert session["agents"] == ["a1", "a2"]
        assert is_utc(session["lock_expiry"])
        assert is_utc(session["created_at"])


async def test_an_unknown_session_is_no_error(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        reply = await rig.emit("completion:session_status", session_id="none")
        assert "code" not in reply
        assert (reply["exists"], reply["completions"]) == (False, [])
        assert reply["session"]["exists"] is False
        assert reply["queue"]["exists"] is False
        assert reply["queue"]["is_empty"] is True


async def test_a_session_that_has_ended_still_has_its_record(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, engine={"session_idle_minutes": 1})
    async with running(settings, clock=clock) as rig:
        await rig.ended(await rig.submit("a", session_id="s", agent_id="a1"))
        await rig.settled()
        parts = rig.engine._parts
        assert parts is not None
        parts.end_idle_sessions(clock.now + 61, 60)
        assert rig.core.sessions.get("s") is None
        assert rig.core.sessions.sessions_of("a1") == frozenset()
        reply = await rig.emit("completion:session_status", session_id="s")
        assert reply["exists"] is True
        assert reply["session"]["request_count"] == 1
        assert reply["session"]["agents"] == ["a1"]


async def test_a_busy_or_locked_session_does_not_end(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock, scripts={"p": held}) as rig:
        await rig.submit(session_id="busy")
        await rig.emit("conversation:acquire_lock", session_id="locked", agent_id="a")
        await rig.calls(1)
        parts = rig.engine._parts
        assert parts is not None
        parts.end_idle_sessions(clock.now + 10, 1)
        assert rig.core.sessions.get("busy") is not None
        assert rig.core.sessions.get("locked") is not None


async def test_the_status_of_a_provider(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(
        tmp_path,
        providers=[provider("p", circuit={"fail_max": 1, "reset_timeout_s": 30})],
        retry={"max_attempts": 1},
    )
    script = fails(ErrorKind.PROVIDER_ERROR, "boom")
    async with running(settings, clock=clock, scripts={"p": script}) as rig:
        await rig.ended(await rig.submit())
        reply = await rig.emit("completion:provider_status", provider="p")
        json.dumps(reply)
        breaker = reply["circuit_breaker"]
        assert set(breaker) >= {
            "state",
            "is_open",
            "recent_failures",
            "open_until",
            "forced",
            "last_success",
            "reason",
        }
        assert (breaker["state"], breaker["is_open"], breaker["forced"]) == ("open", True, None)
        assert "boom" in breaker["reason"]
        assert breaker["open_until"] == "2027-01-15T08:00:30.000Z"
        stats = reply["stats"]
        assert set(stats) == {
            "total_calls",
            "successful_calls",
            "failed_calls",
            "success_rate",
            "avg_latency_ms",
            "latency_ms",
            "ttft_ms",
            "tokens_per_s",
            "failures_by_kind",
            "in_flight",
            "last_call",
            "last_error",
        }
        assert set(stats["latency_ms"]) == {"p50", "p95", "p99"}
        assert (stats["failed_calls"], stats["failures_by_kind"]) == (1, {"provider_error": 1})
        assert reply["cooldown_until"] is None
        both = await rig.emit("completion:provider_status")
        assert (both["total_providers"], both["available_providers"]) == (1, 0)
        assert both["providers"]["p"] == reply


async def test_reading_a_status_changes_nothing(tmp_path: Path) -> None:
    clock = HandClock()
    circuit = {"fail_max": 1, "reset_timeout_s": 30}
    settings = config(
        tmp_path, providers=[provider("p", circuit=circuit)], retry={"max_attempts": 1}
    )
    async with running(settings, clock=clock) as rig:
        rig.p.script = fails(ErrorKind.PROVIDER_ERROR)
        await rig.ended(await rig.submit())
        clock.now += 31
        entry = rig.core.providers.get("p")
        assert entry is not None
        before = entry.circuit.dump()
        for _ in range(3):
            await rig.emit("completion:provider_status", provider="p")
            await rig.emit("completion:status")
            rig.engine.snapshot()
        assert entry.circuit.dump() == before


async def test_no_secret_and_no_parameter_is_shown(tmp_path: Path) -> None:
    settings = config(
        tmp_path, providers=[provider("p", api_key_env="MY_KEY", params={"user": "hidden"})]
    )
    async with running(settings) as rig:
        shown = json.dumps(await rig.emit("completion:provider_status"))
        assert "hidden" not in shown


async def test_the_status_of_retries(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, retry={"initial_delay_s": 8, "max_attempts": 4})
    script = fails(ErrorKind.NETWORK_ERROR, "refused")
    async with running(settings, clock=clock, scripts={"p": script}) as rig:
        request_id = await rig.submit()
        await rig.state(request_id, State.RETRYING)
        clock.now += 3
        reply = await rig.emit("completion:retry_status")
        json.dumps(reply)
        assert reply["retry_manager"] == "active"
        assert (reply["stats"]["total_retrying"], reply["stats"]["pending_timers"]) == (1, 1)
        assert reply["stats"]["policy"]["max_attempts"] == 4
        assert reply["retrying_requests"] == [
            {
                "request_id": request_id,
                "retry_attempt": 1,
                "max_retries": 3,
                "last_error": "refused",
                "next_retry_in": 5.0,
                "created_at": "2027-01-15T08:00:00.000Z",
            }
        ]


async def test_token_usage_by_selector_and_in_total(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        for agent in ("a1", "a1", "a2"):
            await rig.ended(await rig.submit(session_id=f"of {agent}", agent_id=agent))
        mine = await rig.emit("completion:token_usage", agent_id="a1")
        assert set(mine) == {"agent_id", "usage"}
        assert set(mine["usage"]) == USAGE
        assert (mine["usage"]["request_count"], mine["usage"]["total_tokens"]) == (2, 20)
        assert (mine["usage"]["cost"], mine["usage"]["unpriced"]) == (None, 2)
        everybody = await rig.emit("completion:token_usage", bucket_minutes=60)
        assert everybody["usage"]["total_tokens"] == 30
        assert (everybody["active_agents"], everybody["active_models"]) == (2, 1)
        assert everybody["active_sessions"] == 2
        assert everybody["waste"]["tokens"] == 0
        assert sum(bucket["total_tokens"] for bucket in everybody["trend"]) == 30
        for selector in ("model", "session_id", "provider"):
            value = {"model": "m1", "session_id": "of a2", "provider": "p"}[selector]
            reply = await rig.emit("completion:token_usage", **{selector: value})
            assert reply[selector] == value
            assert reply["usage"]["total_tokens"] == (10 if selector == "session_id" else 30)


async def test_results_come_in_the_order_in_which_they_finished(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        ids = [await rig.submit(name) for name in ("a", "b", "c")]
        await rig.calls(3)
        for name, request_id in (("c", ids[2]), ("a", ids[0]), ("b", ids[1])):
            rig.p.of(name).go.set()
            await rig.ended(request_id)
        page = await rig.emit("completion:results", limit=2)
        assert [r["request_id"] for r in page["results"]] == [ids[2], ids[0]]
        rest = await rig.emit("completion:results", after=page["next"])
        assert [r["request_id"] for r in rest["results"]] == [ids[1]]
        assert (await rig.emit("completion:results", after=rest["next"]))["results"] == []
        some = await rig.emit("completion:results", request_ids=[ids[1], "none"])
        assert [r["text"] for r in some["results"]] == ["re: b"]


async def test_a_report_never_mixes_two_moments(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        for number in range(30):
            request_id = await rig.submit(f"{number}")
            for _ in range(50):
                status = await rig.emit("completion:request_status", request_id=request_id)
                unfinished = status["status"] in ("queued", "processing", "retrying")
                assert bool(status["why"]) == unfinished, status
                if not unfinished:
                    assert status["finished_at"] or request_id in rig.core.tickets
                    break


async def test_the_text_of_a_cancelled_or_failed_one_is_what_arrived(tmp_path: Path) -> None:
    settings = config(tmp_path, retry={"max_attempts": 1})
    async with running(settings, scripts={"p": held}) as rig:
        cancelled, failed = await rig.submit("a"), await rig.submit("b")
        await rig.calls(2)
        rig.p.of("a").say("so far ", 2)
        rig.p.of("b").say("and no ", 2)
        await rig.emit("completion:cancel", request_id=cancelled)
        rig.p.of("b").fail(ErrorKind.NETWORK_ERROR)
        await rig.ended(cancelled, failed)
        records = (await rig.emit("completion:results"))["results"]
        assert {r["request_id"]: (r["status"], r["text"]) for r in records} == {
            cancelled: ("cancelled", "so far "),
            failed: ("failed", "and no "),
        }
