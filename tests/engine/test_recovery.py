"""What the next engine finds: after an orderly end, and after none."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import Lock, State
from ksi_tui.engine.store.base import LockSaved
from tests.engine.engine_fixtures import (
    BOUND_S,
    HandClock,
    Rig,
    config,
    fails,
    held,
    in_turn,
    provider,
    running,
)

ROOT = Path(__file__).parents[2]

# --- after an orderly end ------------------------------------------------------------------


async def test_everything_returns_to_its_place_and_the_interrupted_goes_first(
    tmp_path: Path,
) -> None:
    settings = config(tmp_path)
    async with running(settings, scripts={"p": held}) as rig:
        low = await rig.submit("low", session_id="s", priority="low")
        await rig.calls(1)
        normal = await rig.submit("normal", session_id="s")
        urgent = await rig.submit("urgent", session_id="s", priority="critical")
        injected = await rig.emit("completion:inject", prompt="inject", session_id="s")
    async with running(settings, scripts={"p": held}) as rig:
        (up,) = await rig.calls(1)
        status = await rig.status(low)
        assert (status["interruptions"], status["attempts_spent"]) == (1, 0)
        assert status["attempts"][0]["spent"] is False
        assert status["attempts"][0]["calls"][0]["outcome"] == "interrupted"
        assert await rig.why(urgent) == f"behind {low} in its session"
        up.go.set()
        for number in (2, 3, 4):
            (await rig.calls(number))[-1].go.set()
        await rig.ended(low, normal, urgent, injected["request_id"])
        assert rig.p.prompts == ["low", "urgent", "inject", "normal"]


async def test_a_backoff_goes_on_where_it_was(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, retry={"initial_delay_s": 30})
    script = fails(ErrorKind.NETWORK_ERROR, "refused")
    async with running(settings, clock=clock, scripts={"p": script}) as rig:
        request_id = await rig.submit("x", session_id="s")
        await rig.state(request_id, State.RETRYING)
        behind = await rig.submit("y", session_id="s", priority="critical")
    clock.now += 10
    async with running(settings, clock=clock) as rig:
        status = await rig.status(request_id)
        assert (status["status"], status["why"]) == ("retrying", "backoff 20 s (network_error)")
        assert (status["attempts_spent"], status["interruptions"]) == (1, 0)
        assert await rig.why(behind) == f"behind {request_id} in its session"
        rig.advance(20)
        await rig.ended(request_id, behind)
        assert rig.p.prompts == ["x", "y"]


async def test_a_backoff_that_ended_meanwhile_goes_at_once(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, retry={"initial_delay_s": 30})
    script = fails(ErrorKind.NETWORK_ERROR)
    async with running(settings, clock=clock, scripts={"p": script}) as rig:
        request_id = await rig.submit()
        await rig.state(request_id, State.RETRYING)
    clock.now += 31
    async with running(settings, clock=clock) as rig:
        await rig.ended(request_id)


async def test_counters_places_and_numbers_go_on(tmp_path: Path) -> None:
    settings = config(tmp_path)
    async with running(settings) as rig:
        first = await rig.submit("1")
        await rig.ended(first)
    async with running(settings) as rig:
        second = await rig.submit("2")
        await rig.ended(second)
        assert second == "r-2"
        assert rig.core.counts[State.COMPLETED] == 2
        results = (await rig.emit("completion:results"))["results"]
        assert [r["request_id"] for r in results] == [first, second]


async def test_the_tenth_end_under_a_running_request_fails_it(tmp_path: Path) -> None:
    settings = config(tmp_path)
    request_id = ""
    for life in range(10):
        async with running(settings, scripts={"p": held}) as rig:
            request_id = request_id or await rig.submit()
            await rig.calls(1)
            assert (await rig.status(request_id))["interruptions"] == life
    async with running(settings) as rig:
        status = await rig.status(request_id)
        assert (status["status"], status["error"]["kind"]) == ("failed", "daemon_restart")
        assert (status["interruptions"], status["attempts_spent"]) == (10, 0)
        assert rig.p.calls == []


async def test_a_provider_that_is_gone_is_named_in_the_failure(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        request_id = await rig.submit()
        await rig.calls(1)
    other = config(tmp_path, providers=[provider("q", "n*")], engine={"default_model": "n1"})
    async with running(other) as rig:
        told = await rig.event("completion:error", request_id)
        assert told["kind"] == "model_not_found"


async def test_a_lock_whose_request_had_just_ended_is_dropped(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock) as rig:
        done = await rig.submit("x", session_id="s", agent_id="a1")
        await rig.ended(done)
        # What a crash between the final state and the release leaves on disk.
        orphan = Lock(
            session_id="s",
            holder="a1",
            granted_at=clock.now,
            expires_at=clock.now + 900,
            hold_s=900,
            request_id=done,
        )
        await rig.core.store.write(LockSaved(lock=orphan))
    async with running(config(tmp_path), clock=clock) as rig:
        await rig.ended(await rig.submit("y", session_id="s", agent_id="a2"))
    async with running(config(tmp_path), clock=clock) as rig:
        assert len(rig.core.locks) == 0


# --- without resuming ----------------------------------------------------------------------


async def test_what_is_not_resumed_stays_as_it_is_until_somebody_asks(tmp_path: Path) -> None:
    settings = config(tmp_path)
    async with running(settings, scripts={"p": held}) as rig:
        await rig.submit("a", request_id="a", session_id="s")
        await rig.calls(1)
        await rig.submit("b", request_id="b", session_id="s")
    async with running(settings, resume=False) as rig:
        await rig.ended(await rig.submit("mine"))
        assert rig.p.prompts == ["mine"]
        assert (await rig.status("a"))["status"] == "queued"
        assert rig.core.counts[State.QUEUED] == 2
        assert "left by an earlier run" in await rig.why("a")
        cancel = await rig.emit("completion:cancel", request_id="a")
        assert cancel["code"] == "conflict"
        again = await rig.emit("completion:async", prompt="changed", request_id="b", session_id="s")
        assert (again["duplicate"], again["status"]) == (True, "queued")
        await rig.ended("b")
        assert rig.core.counts[State.QUEUED] == 1
        assert rig.p.prompts == ["mine", "b"]
    async with running(settings) as rig:
        await rig.ended("a")
        assert rig.p.prompts == ["a"]


# --- after a kill --------------------------------------------------------------------------

PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from tests.engine import engine_fixtures as f

async def main(folder, requests, hold):
    def say(**line):
        print(json.dumps(line), flush=True)

    async def script(up):
        say(called=up.prompt)
        if up.prompt in hold:
            await up.go.wait()
        await asyncio.sleep(0.002)
        return "re: " + up.prompt

    async with f.running(f.config(Path(folder)), scripts={"p": script}) as rig:
        async def tell():
            async with rig.engine.subscribe("completion:result") as results:
                async for event in results:
                    if event.name == "completion:result":
                        say(done=event.data["request_id"])
        task = asyncio.create_task(tell())
        for data in requests:
            reply = await rig.engine.emit("completion:async", data)
            say(accepted=reply["request_id"])
        say(all=True)
        await asyncio.Event().wait()

asyncio.run(main(*json.loads(sys.argv[1])))
"""


@asynccontextmanager
async def killed(
    folder: Path, requests: list[dict[str, Any]], hold: list[str]
) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """Run an engine in a process of its own; hand out what it says, then kill it."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        json.dumps([str(folder), requests, hold]),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )

    async def lines() -> AsyncIterator[dict[str, Any]]:
        assert child.stdout is not None
        async for line in child.stdout:
            yield json.loads(line)

    try:
        async with asyncio.timeout(BOUND_S):
            yield lines()
    finally:
        os.kill(child.pid, signal.SIGKILL)
        await child.communicate()


async def finish_all(rig: Rig, ids: set[str]) -> None:
    stored = {r["request_id"] for r in (await rig.emit("completion:results"))["results"]}
    await rig.ended(*(ids - stored))
    await rig.settled()


async def test_a_kill_in_every_phase_loses_and_doubles_nothing(tmp_path: Path) -> None:
    def ask(prompt: str, session: str, **data: Any) -> dict[str, Any]:
        return {"prompt": prompt, "request_id": prompt, "session_id": session, **data}

    lock = {"agent_id": "a1", "conversation_lock": {"timeout_s": 600}}
    requests = [
        ask("done", "a"),
        ask("runs", "b", **lock),
        ask("waits", "b", agent_id="a1"),
        ask("urgent", "b", agent_id="a1", priority="critical"),
        ask("other", "c"),
    ]
    async with killed(tmp_path, requests, ["runs"]) as lines:
        seen: set[str] = set()
        async for line in lines:
            seen |= {f"{key} {value}" for key, value in line.items()}
            if {"all True", "called runs", "done done", "done other"} <= seen:
                break
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        (up,) = await rig.calls(1)
        assert up.prompt == "runs"
        status = await rig.status("runs")
        assert (status["interruptions"], status["attempts_spent"]) == (1, 0)
        taken = rig.core.locks.get("b")
        assert taken is not None
        assert (taken.holder, taken.request_id) == ("a1", "runs")
        up.go.set()
        for number in (2, 3):
            (await rig.calls(number))[-1].go.set()
        await rig.ended("runs", "waits", "urgent")
        assert rig.p.prompts == ["runs", "urgent", "waits"]
        assert rig.core.locks.get("b") is None
        results = (await rig.emit("completion:results"))["results"]
        assert [r["status"] for r in results] == ["completed"] * 5
        assert len({r["request_id"] for r in results}) == 5


async def test_a_kill_under_load_keeps_every_promise(tmp_path: Path) -> None:
    requests = [
        {"prompt": f"{n}", "request_id": f"{n}", "session_id": f"s{n % 5}"} for n in range(200)
    ]
    accepted: set[str] = set()
    done: list[str] = []
    async with killed(tmp_path, requests, []) as lines:
        async for line in lines:
            accepted |= {line["accepted"]} if "accepted" in line else set()
            done += [line["done"]] if "done" in line else []
            if len(done) >= 40:
                break
    async with running(config(tmp_path)) as rig:
        await finish_all(rig, accepted)
        results = (await rig.emit("completion:results"))["results"]
        finished = [r["request_id"] for r in results]
        assert accepted <= set(finished)
        assert len(finished) == len(set(finished))
        assert not set(done) & set(rig.p.prompts)
        for session in range(5):
            order = [int(each) for each in finished if int(each) % 5 == session]
            assert order == sorted(order)
        assert dict(rig.core.counts) == dict(await rig.core.store.counts())


async def test_what_the_last_life_left_is_told_in_the_status(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await rig.ended(await rig.submit())
        rig.p.script = in_turn(held)
        await rig.submit()
        await rig.calls(2)
    async with running(config(tmp_path)) as rig:
        recovery = (await rig.emit("completion:status"))["recovery"]
        assert recovery == {"unfinished": 1, "cursor": 1}
