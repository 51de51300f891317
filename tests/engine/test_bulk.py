"""Cancel and retry of many at once: an answer for each, all of it on disk, the loop never held."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.engine import bulk
from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import State
from tests.engine.engine_fixtures import (
    Rig,
    Upstream,
    answers,
    config,
    fails,
    held,
    provider,
    running,
    until,
    until_turn,
)


def entry(request_id: str, was: str, *, changed: bool = True) -> dict[str, Any]:
    return {"request_id": request_id, "was": was, "changed": changed}


async def cancel(rig: Rig, *request_ids: str, **data: Any) -> list[dict[str, Any]]:
    reply = await rig.emit("completion:cancel", request_ids=list(request_ids), **data)
    assert "code" not in reply, reply
    assert list(reply) == ["cancelled"]
    return list(reply["cancelled"])


async def retry(rig: Rig, *request_ids: str, **data: Any) -> list[dict[str, Any]]:
    reply = await rig.emit("completion:retry", request_ids=list(request_ids), **data)
    assert "code" not in reply, reply
    assert list(reply) == ["retried"]
    return list(reply["retried"])


async def submit(rig: Rig, session_id: str, count: int) -> list[str]:
    ids = [f"{session_id}-{number}" for number in range(count)]
    for each in ids:
        await rig.submit(each, request_id=each, session_id=session_id)
    return ids


async def by_name(up: Upstream) -> str:
    if up.prompt.startswith("bad"):
        return await fails(ErrorKind.CONTENT_POLICY, "told no")(up)
    return await (held(up) if up.prompt.startswith("hold") else answers(up))


async def test_cancels_each_and_says_of_each_what_it_was(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": by_name}) as rig:
        ids = await submit(rig, "hold", 3)
        (done,) = await submit(rig, "done", 1)
        await rig.ended(done)
        await rig.calls(2)
        asked = [ids[2], done, "nobody", ids[0], ids[1], ids[0]]
        assert await cancel(rig, *asked, by="op", reason="all of it") == [
            entry(ids[2], "queued"),
            entry(done, "completed", changed=False),
            {
                "request_id": "nobody",
                "changed": False,
                "error": "no request 'nobody'",
                "code": "not_found",
            },
            entry(ids[0], "processing"),
            entry(ids[1], "queued"),
        ]
        states = await rig.core.store.states(ids)
        assert set(states.values()) == {State.CANCELLED}
        for each in ids:
            status = await rig.status(each)
            assert (status["by"], status["reason"]) == ("op", "all of it")
            assert [e["text"] for e in status["timeline"] if e["what"] == "cancel"] == [
                "op · all of it"
            ]
        assert rig.p.prompts == ["hold-0", "done-0"]
        again = await cancel(rig, *ids)
        assert again == [entry(each, "cancelled", changed=False) for each in ids]
        await rig.settled()


async def test_no_session_goes_on_to_one_that_is_cancelled_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "SLICE_S", 0.0)
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        ids = await submit(rig, "s", 20)
        await rig.calls(1)
        answered = await cancel(rig, *ids)
        assert [each["was"] for each in answered] == ["processing"] + ["queued"] * 19
        await rig.settled()
        assert rig.p.prompts == ["s-0"]


async def test_a_session_is_cancelled_in_the_same_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "SLICE_S", 0.0)
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        ids = await submit(rig, "s", 5)
        await rig.calls(1)
        reply = await rig.emit("completion:cancel", session_id="s")
        assert [each["request_id"] for each in reply["cancelled"]] == ids
        assert all(each["changed"] for each in reply["cancelled"])
        assert await rig.emit("completion:cancel", session_id="nobody") == {"cancelled": []}
        await rig.settled()
        assert rig.p.prompts == ["s-0"]


async def test_cancels_one_that_is_only_just_accepted(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        entering = asyncio.create_task(
            rig.emit("completion:async", prompt="x", request_id="new", session_id="s")
        )
        await until_turn(lambda: "new" in rig.core.entering)
        (answer,) = await cancel(rig, "new")
        assert answer["changed"] is True
        assert (await entering)["request_id"] == "new"
        await rig.settled()


async def test_what_is_left_of_an_earlier_run_is_a_conflict(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        ids = await submit(rig, "s", 2)
        await rig.calls(1)
    async with running(config(tmp_path), resume=False) as rig:
        answered = await cancel(rig, *ids)
        assert [each["code"] for each in answered] == ["conflict"] * 2
        answered = await retry(rig, *ids)
        assert [each["code"] for each in answered] == ["conflict"] * 2


async def test_retries_each_in_the_order_in_which_they_stood(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": by_name}) as rig:
        bad = await submit(rig, "bad", 4)
        (done,) = await submit(rig, "done", 1)
        (live,) = await submit(rig, "hold", 1)
        await rig.ended(*bad, done)
        await rig.calls(6)
        rig.p.script = answers
        answered = await retry(rig, *bad[::-1], done, "nobody", live, by="op")
        assert answered[:4] == [entry(each, "failed") for each in bad[::-1]]
        told = {each["request_id"]: each["code"] for each in answered[4:]}
        assert told == {done: "conflict", "nobody": "not_found", live: "conflict"}
        await until(lambda: len(rig.events("completion:result")) == 5)
        assert rig.p.prompts[6:] == bad
        assert (await rig.status(bad[0]))["status"] == "completed"
        rig.p.of(live).go.set()
        await rig.settled()


async def test_sends_many_elsewhere(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=[provider("p"), provider("q", priority=2)])
    async with running(settings, scripts={"p": held}) as rig:
        ids = [*await submit(rig, "a", 2), *await submit(rig, "b", 2)]
        await rig.calls(2)
        answered = await retry(rig, *ids, avoid=["p"])
        assert [each["was"] for each in answered] == ["processing", "queued"] * 2
        await rig.ended(*ids)
        assert sorted(rig.providers["q"].prompts) == ids
        refused = await rig.emit("completion:retry", request_ids=ids, avoid=["nobody"])
        assert refused["code"] == "not_found"


async def test_an_undo_brings_many_back_to_their_places(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": by_name}) as rig:
        (first,) = await submit(rig, "hold", 1)
        await rig.calls(1)
        ids = [f"x{number}" for number in range(5)]
        for each in ids:
            await rig.submit(each, request_id=each, session_id="hold")
        await cancel(rig, *ids[1:4])
        await retry(rig, *ids[1:4], in_place=True)
        rig.p.of(first).go.set()
        await rig.ended(first, ids[-1])
        await until(lambda: len(rig.p.prompts) == 6)
        assert rig.p.prompts == [first, *ids]


async def test_ten_thousand_at_most(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        for name in ("completion:cancel", "completion:retry"):
            many = [f"r{number}" for number in range(10_001)]
            assert (await rig.emit(name, request_ids=many))["code"] == "invalid_request"
            assert (await rig.emit(name, request_ids=[]))["code"] == "invalid_request"
            both = await rig.emit(name, request_ids=["r"], session_id="s")
            assert "exactly one of" in both["error"]


async def test_the_loop_turns_while_many_are_cancelled_and_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "SLICE_S", 0.0)
    async with running(config(tmp_path)) as rig:
        await rig.emit("queue:pause", scope="engine")
        batch = [
            {"prompt": "x", "request_id": f"r{n}", "session_id": f"s{n % 9}"} for n in range(500)
        ]
        await rig.emit("completion:batch", requests=batch)
        most = 0

        async def count() -> None:
            nonlocal most
            before = len(rig.core.tickets)
            while True:
                await asyncio.sleep(0)
                most = max(most, abs(len(rig.core.tickets) - before))
                before = len(rig.core.tickets)

        counting = asyncio.create_task(count())
        ids = [str(each["request_id"]) for each in batch]
        assert all(each["changed"] for each in await cancel(rig, *ids))
        # A request that is cancelled is gone when its end is on disk: never all in one turn.
        assert most <= 256
        assert rig.left_over() == {}
        again = await retry(rig, *ids)
        assert all(each["changed"] for each in again)
        counting.cancel()
        assert most <= 256
        assert rig.core.counts[State.QUEUED] == 500
        assert (await rig.core.store.counts())[State.QUEUED] == 500
