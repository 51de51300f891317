"""`completion:requests` and `completion:names` over a whole engine: one consistent answer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.finding import live
from ksi_tui.engine.models import State
from tests.engine.engine_fixtures import (
    HandClock,
    Rig,
    Upstream,
    answers,
    config,
    fails,
    held,
    in_turn,
    provider,
    running,
    until,
)


async def find(rig: Rig, text: str = "", **data: Any) -> dict[str, Any]:
    await rig.core.store.write()
    reply = await rig.emit("completion:requests", filter=text, **data)
    assert "code" not in reply, reply
    return reply


async def ids(rig: Rig, text: str = "", **data: Any) -> list[str]:
    """Return the ids of what is found, which are as many as the total says."""
    reply = await find(rig, text, **data)
    found = [row["request_id"] for row in reply["requests"]]
    assert reply["total"] == len(found)
    only = await find(rig, text, ids_only=True, **data)
    assert only == {"ids": found, "total": len(found)}
    return found


async def script(up: Upstream) -> str:
    if "fail" in up.prompt:
        return await fails(ErrorKind.CONTENT_POLICY, "told no")(up)
    if "hold" in up.prompt:
        return await held(up)
    return await answers(up)


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Rig]:
    """One request of every kind: done, failed, cancelled, running, behind it, behind a lock."""
    settings = config(folder, providers=[provider("p", "m*"), provider("q", "other")])
    async with running(settings, scripts={"p": script}) as rig:
        meta = {"customer": "globex", "tier": 3}
        await rig.submit("x", request_id="done", session_id="s-1", metadata=meta, agent_id="a1")
        await rig.ended("done")
        await rig.submit("fail", request_id="failed", session_id="acme-42", priority="high")
        await rig.ended("failed")
        await rig.emit("conversation:acquire_lock", session_id="locked", agent_id="a7")
        await rig.submit("x", request_id="locked-out", session_id="locked", metadata=meta)
        await rig.submit("x", request_id="stopped", session_id="locked")
        await rig.emit("completion:cancel", request_id="stopped", by="op", reason="mistake")
        await rig.submit("hold", request_id="runs", session_id="acme-42")
        await rig.calls(3)
        await rig.submit("hold", request_id="waits", session_id="acme-42", metadata=meta)
        rig.p.of("hold").say("so far", tokens=5)
        try:
            yield rig
        finally:
            for up in rig.p.calls:
                up.go.set()


EVERYTHING = ["waits", "runs", "stopped", "locked-out", "failed", "done"]


async def test_all_states_newest_first(tmp_path: Path) -> None:
    async with scene(tmp_path) as rig:
        assert await ids(rig) == EVERYTHING
        reply = await find(rig)
        assert (reply["sort"], reply["descending"], reply["offset"]) == ("queued", True, 0)
        told = {row["request_id"]: (row["status"], row["phase"]) for row in reply["requests"]}
        assert told == {
            "done": ("completed", "completed"),
            "failed": ("failed", "failed"),
            "stopped": ("cancelled", "cancelled"),
            "runs": ("processing", "streaming"),
            "waits": ("queued", "queued"),
            "locked-out": ("queued", "waiting"),
        }


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("acme", ["waits", "runs", "failed"]),
        ("told", ["failed"]),
        ("status:queued", ["waits", "locked-out"]),
        ("status:waiting", ["locked-out"]),
        ("-status:waiting", ["waits", "runs", "stopped", "failed", "done"]),
        ("status:streaming", ["runs"]),
        ("status:failed,cancelled", ["stopped", "failed"]),
        ("why:behind", ["waits"]),
        ('why:"lock held by a7"', ["locked-out"]),
        ("-why:*", ["stopped", "failed", "done"]),
        ("provider:p", ["runs", "failed", "done"]),
        ("provider:p -status:completed", ["runs", "failed"]),
        ("meta.customer:globex", ["waits", "locked-out", "done"]),
        ("meta.tier:3 status:queued why:behind", ["waits"]),
        ("error:content_policy", ["failed"]),
        ("priority:high", ["failed"]),
        ("agent:a1", ["done"]),
        ("tokens>=10", ["done"]),
        ("tokens=5", ["runs"]),
        ("attempts>0", ["runs", "failed", "done"]),
        ("model:m1 -id:s", ["locked-out", "failed", "done"]),
        ("nothing-like-it", []),
    ],
)
async def test_finds(tmp_path: Path, text: str, found: list[str]) -> None:
    async with scene(tmp_path) as rig:
        assert await ids(rig, text) == found


async def test_a_row_says_what_the_request_is(tmp_path: Path) -> None:
    async with scene(tmp_path) as rig:
        rows = {row["request_id"]: row for row in (await find(rig))["requests"]}
        done, failed, runs = rows["done"], rows["failed"], rows["runs"]
        assert (done["tokens"], done["estimated"], done["cost"], done["unpriced"]) == (
            10,
            False,
            None,
            1,
        )
        assert done["metadata"] == {"customer": "globex", "tier": 3}
        assert (done["why"], done["error"], done["provider"]) == (None, None, "p")
        assert done["latency_ms"] >= 0
        assert failed["error"] == {"kind": "content_policy", "message": "told no"}
        assert (failed["priority"], failed["attempts"]) == ("high", 1)
        assert (runs["tokens"], runs["estimated"], runs["attempts"]) == (5, True, 1)
        assert (runs["provider"], runs["finished_at"], runs["latency_ms"]) == ("p", None, None)
        assert runs["ttft_ms"] >= 0
        assert rows["waits"]["why"] == "behind runs in its session"
        assert rows["locked-out"]["why"].startswith("lock held by a7")
        stopped = rows["stopped"]
        assert (stopped["by"], stopped["reason"]) == ("op", "mistake")
        status = await rig.status("done")
        assert {name: done[name] for name in ("queued_at", "started_at", "finished_at")} == {
            name: status[name] for name in ("queued_at", "started_at", "finished_at")
        }


async def test_a_bad_filter_says_where(tmp_path: Path) -> None:
    async with scene(tmp_path) as rig:
        reply = await rig.emit("completion:requests", filter="acme colour:red")
        assert (reply["code"], reply["position"]) == ("invalid_request", 5)
        assert reply["error"].startswith("no field 'colour'")


async def test_pages_are_parts_of_one_order(tmp_path: Path) -> None:
    async with scene(tmp_path) as rig:
        for sort in ("queued", "tokens", "session", "provider", "finished", "age", "status"):
            for descending in (True, False):
                kind: dict[str, Any] = {"sort": sort, "descending": descending}
                whole = [row["request_id"] for row in (await find(rig, **kind))["requests"]]
                pages = [await find(rig, offset=at, limit=2, **kind) for at in (0, 2, 4, 6)]
                assert [page["total"] for page in pages] == [6] * 4
                parts = [row["request_id"] for page in pages for row in page["requests"]]
                assert parts == whole
                assert sorted(whole) == sorted(EVERYTHING)
        assert await ids(rig, sort="queued", descending=False) == EVERYTHING[::-1]
        assert await ids(rig, sort="age") == EVERYTHING[::-1]
        assert (await ids(rig, sort="tokens"))[:2] == ["done", "runs"]
        assert (await ids(rig, sort="provider"))[-3:] == ["waits", "stopped", "locked-out"]


async def test_what_one_waits_for_is_asked_of_all_of_them(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        await rig.emit("queue:pause", scope="engine", by="op1", reason="deploy")
        for number in range(300):
            await rig.submit("x", request_id=f"r{number}", session_id=f"s{number % 7}")
        assert (await find(rig, "why:paused"))["total"] == 7
        assert (await find(rig, "why:behind"))["total"] == 293
        assert (await find(rig, "-why:behind"))["total"] == 7
        assert (await find(rig, "why:*", ids_only=True))["total"] == 300
        assert (await find(rig, "status:waiting"))["total"] == 7
        assert await ids(rig, 'why:"r3 in"') == ["r10"]


async def test_the_walk_lets_the_loop_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "SLICE_S", 0.0)
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        await rig.emit("queue:pause", scope="engine")
        for number in range(200):
            await rig.submit("x", request_id=f"r{number}", session_id=f"s{number % 50}")
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        counting = asyncio.create_task(count())
        places = await live.LiveFacts(rig.core, rig.engine._parts.replies._causes).waiting(())  # type: ignore[union-attr]
        counting.cancel()
        assert turns >= 40
        assert sorted(map(int, places[1:-1].split(","))) == sorted(
            ticket.place for ticket in rig.core.tickets.values()
        )


async def test_under_load_none_is_told_twice_and_none_is_missed(tmp_path: Path) -> None:
    rng = random.Random(5)
    settings = config(tmp_path, engine={"max_concurrency": 4})
    flaky = in_turn(answers, fails(ErrorKind.PROVIDER_ERROR), answers)
    async with running(settings, scripts={"p": flaky}) as rig:
        accepted: list[str] = []
        over = False

        async def submit() -> None:
            for number in range(150):
                await rig.submit("x", request_id=f"r{number}", session_id=f"s{rng.randrange(9)}")
                accepted.append(f"r{number}")
                if number % 5 == 4:
                    victim = rng.choice(accepted)
                    await rig.emit("completion:cancel", request_id=victim)
                    await rig.emit("completion:retry", request_id=victim)

        async def watch(text: str) -> int:
            looks = 0
            while not over:
                known = set(accepted)
                reply = await rig.emit("completion:requests", filter=text, limit=1000)
                found = [row["request_id"] for row in reply["requests"]]
                assert len(found) == len(set(found)) == reply["total"]
                assert known <= set(found) <= set(accepted) | {f"r{len(accepted)}"}
                looks += 1
            return looks

        everybody = ("", "s", "status:*", "-provider:nobody", "attempts>=0", "-tokens>1M id:r")
        watching = [asyncio.create_task(watch(text)) for text in everybody[:-1]]
        await submit()
        await rig.ended(*accepted)
        over = True
        assert all(await asyncio.gather(*watching))
        await rig.settled()
        assert sorted(await ids(rig, limit=1000)) == sorted(accepted)


async def test_one_that_ended_while_it_was_read_is_told_with_its_end(tmp_path: Path) -> None:
    async with scene(tmp_path) as rig:
        store = rig.core.store
        real = store.find

        async def slow(asked: Any) -> Any:
            found = await real(asked)
            rig.p.of("hold").go.set()
            await rig.ended("runs")
            await until(lambda: "runs" not in rig.core.tickets)
            return found

        store.find = slow  # type: ignore[method-assign,assignment]
        row = (await find(rig, "id=runs"))["requests"][0]
        assert (row["status"], row["phase"], row["why"]) == ("completed", "completed", None)
        assert row["finished_at"] is not None


async def test_what_an_earlier_run_left_is_found_too(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        await rig.submit("x", request_id="left")
        await rig.calls(1)
    async with running(config(tmp_path), resume=False) as rig:
        (row,) = (await find(rig))["requests"]
        assert row["request_id"] == "left"
        assert not State(row["status"]).final
        assert row["why"].startswith("left by an earlier run")
        assert await ids(rig, "id:left") == ["left"]


async def test_tokens_and_cost_are_of_all_calls_also_of_one_booked_late(tmp_path: Path) -> None:
    prices = {"m1": {"input": 1.0, "output": 2.0}}
    settings = config(tmp_path, prices=prices)
    async with running(settings, scripts={"p": in_turn(held, answers)}) as rig:
        rig.p.closes_at_once = False
        await rig.submit("x", request_id="r", session_id="s")
        (up,) = await rig.calls(1)
        up.say("some words here", tokens=3)
        await rig.emit("completion:cancel", request_id="r")
        await rig.ended("r")
        (row,) = (await find(rig))["requests"]
        assert (row["tokens"], row["cost"]) == (None, None)
        up.close()
        await rig.event("completion:upstream_closed", "r")
        (row,) = (await find(rig))["requests"]
        status = await rig.status("r")
        spent = sum(n for name, n in status["usage"].items() if name != "estimated")
        assert (row["tokens"], row["estimated"], row["cost"]) == (spent, True, status["cost"])
        await rig.emit("completion:retry", request_id="r")
        await until(lambda: rig.events("completion:result", "r"))
        (row,) = (await find(rig, "status:completed"))["requests"]
        assert row["tokens"] == spent + 10
        assert row["cost"] == (await rig.status("r"))["cost"]


async def test_by_age(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock) as rig:
        await rig.submit("x", request_id="old")
        await rig.ended("old")
        rig.advance(100)
        await rig.submit("x", request_id="new")
        await rig.ended("new")
        rig.advance(30)
        assert await ids(rig, "age>1m") == ["old"]
        assert await ids(rig, "age<=30s") == ["new"]
        assert [row["age_s"] for row in (await find(rig))["requests"]] == [30.0, 130.0]


# --- names -----------------------------------------------------------------------------------


async def names(rig: Rig, field: str, prefix: str = "", **data: Any) -> list[str]:
    await rig.core.store.write()
    reply = await rig.emit("completion:names", field=field, prefix=prefix, **data)
    return list(reply["names"])


async def test_names(tmp_path: Path) -> None:
    async with scene(tmp_path) as rig:
        assert sorted(await names(rig, "session")) == ["acme-42", "locked", "s-1"]
        assert await names(rig, "session", "AC") == ["acme-42"]
        assert await names(rig, "session", "%") == []
        assert await names(rig, "agent") == ["a1", "a7"]
        assert await names(rig, "provider") == ["p", "q"]
        assert await names(rig, "model") == ["other", "m1"]
        assert await names(rig, "model", "m") == ["m1"]
        assert await names(rig, "meta") == ["customer", "tier"]
        assert await names(rig, "meta", "t") == ["tier"]
        assert await names(rig, "meta.customer") == ["globex"]
        assert await names(rig, "meta.tier", "3") == ["3"]
        assert await names(rig, "meta.none") == []
        assert "timeout" in await names(rig, "error")
        assert await names(rig, "error", "content") == ["content_policy"]
        assert len(await names(rig, "error", limit=3)) == 3
