"""Every `injection:*` event: its normal answer, wrong input, unknown ids, wrong moments."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.engine.injection.policy import id_of_result
from ksi_tui.engine.models import State
from tests.engine.engine_fixtures import HandClock, Rig, config, held, running, until

NAMES = ("inject", "queue", "execute", "process_result", "batch", "list", "clear", "status")


async def prompt_of(rig: Rig, request_id: str) -> str:
    await rig.ended(request_id)
    return [up for up in rig.p.calls if up.spec.request_id == request_id][-1].prompt


async def test_before_the_start_and_after_the_end_nothing_is_ready(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        pass
    for name in NAMES:
        assert (await rig.emit(f"injection:{name}"))["code"] == "not_ready", name


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("inject", {"session_id": "s"}, "content is missing"),
        ("inject", {"content": "x"}, "session_id is missing"),
        ("inject", {"session_id": "s", "content": " "}, "min_content_chars is 1, found 0"),
        ("inject", {"session_id": "s", "content": "x" * 100_001}, "at most 100000 characters"),
        (
            "inject",
            {"session_id": "s", "content": "x", "mode": "now"},
            "mode: .*'next' or 'direct'",
        ),
        ("inject", {"session_id": "s", "content": "x", "position": "top"}, "position: .*'prepend'"),
        ("inject", {"session_id": "s", "content": "x", "ttl_s": 0}, "ttl_s: .*greater than 0"),
        ("inject", {"session_id": "s", "content": "x", "to": 1}, "unknown key 'to'; allowed: "),
        ("inject", {"session_id": "s", "content": "x", "enabled": False}, "injects nothing"),
        ("inject", {"session_id": "s", "content": "x", "target_sessions": []}, "target_sessions"),
        ("inject", {"session_id": "s", "content": "x", "target_sessions": "b"}, "this is a list"),
        ("inject", {"session_id": "s", "content": "x", "model": "m1"}, "goes with mode direct"),
        ("queue", {"request_id": "r"}, "injection_config is missing"),
        ("queue", {"injection_config": {}}, "request_id is missing"),
        ("queue", {"request_id": "r", "injection_config": {"mod": 1}}, "injection_config.mod"),
        ("execute", {}, "exactly one of injection_id"),
        ("execute", {"injection_id": "i", "request_id": "r"}, "exactly one of injection_id"),
        ("execute", {"request_id": "r", "model": "m1"}, "model goes with injection_id"),
        ("process_result", {"request_id": "r"}, "result is missing"),
        ("process_result", {"request_id": "r", "result": {"response": 1}}, "no text found"),
        ("process_result", {"request_id": "r", "result": 3}, "result: .*string; found 3"),
        ("batch", {"injections": []}, "at least 1 item"),
        ("batch", {"injections": "x"}, "injections: this is a list; found 'x'"),
        ("list", {"session": "s"}, "unknown key 'session'; allowed: session_id"),
        ("clear", {}, "session_id is missing"),
        ("clear", {"session_id": "s", "mode": "all"}, "mode: .*'next' or 'direct'"),
        ("status", {"verbose": True}, "unknown key 'verbose'"),
    ],
)
async def test_wrong_input_is_named(
    tmp_path: Path, name: str, data: dict[str, Any], told: str
) -> None:
    async with running(config(tmp_path)) as rig:
        reply = await rig.emit(f"injection:{name}", **data)
        assert reply["code"] == "invalid_request"
        assert re.search(told, reply["error"]), reply["error"]
        assert rig.core.injections.pending == 0


# --- inject --------------------------------------------------------------------------------------


async def test_inject_next_answers_what_was_stored_and_is_used(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        reply = await rig.emit(
            "injection:inject",
            session_id="a",
            content="note",
            mode="next",
            position="postscript",
            target_sessions=["originating", "b"],
            ttl_s=60,
        )
        ids = reply.pop("injection_ids")
        assert reply == {
            "status": "stored",
            "stored": 2,
            "queued": 0,
            "blocked": 0,
            "duplicates": 0,
            "request_ids": [],
            "sessions": ["a", "b"],
            "reasons": [],
        }
        assert len(set(ids)) == 2
        told = await rig.event("injection:stored")
        assert (told["request_id"], told["injection_id"]) == (None, ids[1])
        for session in "ab":
            asked = await rig.submit("ask", session_id=session)
            assert await prompt_of(rig, asked) == "ask\n\nP.S. note"


async def test_inject_direct_queues_a_completion(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        reply = await rig.emit(
            "injection:inject", session_id="a", content="do it", mode="direct", model="m7"
        )
        assert (reply["status"], reply["queued"], reply["stored"]) == ("queued", 1, 0)
        (born,) = reply["request_ids"]
        assert await prompt_of(rig, born) == "do it"
        status = await rig.status(born)
        assert (status["session_id"], status["requested_model"]) == ("a", "m7")
        (received,) = status["injections"]["received"]
        assert received["source_request_id"] is None
        assert status["circuit_breaker_config"] is None


async def test_inject_direct_for_a_model_that_nobody_serves(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        reply = await rig.emit(
            "injection:inject", session_id="a", content="x", mode="direct", model="zz"
        )
        assert reply["code"] == "no_provider"
        assert (await rig.core.store.counts())[State.QUEUED] == 0


async def test_inject_into_many_is_all_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ksi_tui.engine.injection.pending.MAX_PENDING_PER_SESSION", 1)
    async with running(config(tmp_path)) as rig:
        await rig.emit("injection:inject", session_id="b", content="x")
        reply = await rig.emit(
            "injection:inject", session_id="a", content="y", target_sessions=["a", "b"]
        )
        assert reply["code"] == "queue_full"
        assert "session b: max_pending_per_session is 1, found 2" in reply["error"]
        assert rig.core.injections.ids("a") == []


async def test_inject_is_on_disk_before_the_reply(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        reply = await rig.emit("injection:inject", session_id="a", content="x")
        found = await rig.core.store.injections(reply["injection_ids"])
        assert [(each.session_id, each.content) for each in found] == [("a", "x")]


# --- batch ---------------------------------------------------------------------------------------


async def test_batch_answers_each_in_its_place(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        reply = await rig.emit(
            "injection:batch",
            injections=[
                {"session_id": "a", "content": "one"},
                {"session_id": "a"},
                {"session_id": "a", "content": "two", "mode": "direct"},
                {"session_id": "a", "content": "three"},
            ],
        )
        assert (reply["status"], reply["stored"], reply["queued"], reply["refused"]) == (
            "processed",
            2,
            1,
            1,
        )
        assert [result.get("status") for result in reply["results"]] == [
            "stored",
            None,
            "queued",
            "stored",
        ]
        assert reply["results"][1]["code"] == "invalid_request"
        listed = await rig.emit("injection:list", session_id="a")
        await rig.ended(reply["results"][2]["request_ids"][0])
        assert {each["content"] for each in listed["injections"]} <= {"one", "three"}


# --- queue and execute ---------------------------------------------------------------------------


async def test_queue_is_used_when_its_request_completes(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        reply = await rig.emit(
            "injection:queue", request_id="r", injection_metadata={"target_sessions": ["to"]}
        )
        assert reply == {
            "status": "queued",
            "request_id": "r",
            "request_status": None,
            "queued_terms": 1,
        }
        await rig.ended(await rig.submit("find", request_id="r"))
        await rig.event("injection:stored", "r")
        asked = await rig.submit("ask", session_id="to")
        assert await prompt_of(rig, asked) == "re: find\n\nask"
        assert rig.core.injections.terms == {}


async def test_queue_again_replaces_and_disabled_takes_back(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        for target in ("a", "b"):
            await rig.emit(
                "injection:queue", request_id="r", injection_config={"target_sessions": [target]}
            )
        (listed,) = (await rig.emit("injection:list"))["queued"]
        assert (listed["request_id"], listed["injection_config"]["targets"]) == ("r", ["b"])
        off = await rig.emit("injection:queue", request_id="r", injection_config={"enabled": False})
        assert (off["status"], off["queued_terms"]) == ("removed", 0)
        off = await rig.emit("injection:queue", request_id="r", injection_config={"enabled": False})
        assert off["status"] == "not_queued"
        await rig.ended(await rig.submit("find", request_id="r"))
        assert rig.core.injections.pending == 0


async def test_queue_does_not_override_a_requests_own(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        own = await rig.submit("find", injection_config={"target_sessions": ["to"]})
        reply = await rig.emit("injection:queue", request_id=own, injection_config={})
        assert (reply["code"], "of its own" in reply["error"]) == ("conflict", True)


async def test_queue_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ksi_tui.engine.injection.events.MAX_QUEUED_TERMS", 1)
    async with running(config(tmp_path)) as rig:
        await rig.emit("injection:queue", request_id="r", injection_config={})
        again = await rig.emit("injection:queue", request_id="r", injection_config={})
        assert again["status"] == "queued"
        more = await rig.emit("injection:queue", request_id="s", injection_config={})
        assert more["code"] == "queue_full"
        assert "1 requests, 1 is the limit" in more["error"]


async def test_execute_a_queued_result(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        to = {"target_sessions": ["to"]}
        done = await rig.submit("find")
        (up,) = await rig.calls(1)
        unknown = await rig.emit("injection:execute", request_id=done)
        assert unknown["code"] == "not_found"
        up.go.set()
        await rig.ended(done)
        late = await rig.emit("injection:queue", request_id=done, injection_config=to)
        assert late["request_status"] == "completed"
        reply = await rig.emit("injection:execute", request_id=done)
        assert (reply["status"], reply["stored"], reply["sessions"]) == ("injected", 1, ["to"])
        assert rig.core.injections.terms == {}
        again = await rig.emit("injection:execute", request_id=done)
        assert again["code"] == "not_found"


async def test_execute_what_is_not_ready(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        await rig.emit("injection:queue", request_id="r", injection_config={})
        early = await rig.emit("injection:execute", request_id="r")
        assert (early["code"], "has not come yet" in early["error"]) == ("conflict", True)
        await rig.submit("find", request_id="r")
        await rig.calls(1)
        runs = await rig.emit("injection:execute", request_id="r")
        assert runs["code"] == "conflict"
        assert "r is processing; it injects when it completes" in runs["error"]
        await rig.emit("completion:cancel", request_id="r")
        ended = await rig.emit("injection:execute", request_id="r")
        assert "r is cancelled; it has no result" in ended["error"]


async def test_execute_one_that_waits_as_a_completion_now(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await rig.submit(
            "find",
            request_id="src",
            model="m9",
            agent_id="a1",
            injection_config={"target_sessions": ["to"]},
        )
        waits = (await rig.event("injection:stored", "src"))["injection_id"]
        reply = await rig.emit("injection:execute", injection_id=waits)
        assert (reply["status"], reply["queued"], reply["sessions"]) == ("queued", 1, ["to"])
        (born,) = reply["request_ids"]
        assert await prompt_of(rig, born) == "re: find"
        status = await rig.status(born)
        assert (status["requested_model"], status["agent_id"]) == ("m9", "a1")
        assert status["injections"]["received"][0]["mode"] == "direct"
        assert rig.core.injections.pending == 0
        again = await rig.emit("injection:execute", injection_id=waits)
        assert (again["code"], "not waiting" in again["error"]) == ("conflict", True)
        unknown = await rig.emit("injection:execute", injection_id="nobody")
        assert unknown["code"] == "not_found"


async def test_execute_what_is_part_of_a_prompt_is_a_conflict(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        (one,) = (await rig.emit("injection:inject", session_id="a", content="x"))["injection_ids"]
        await rig.submit("ask", session_id="a")
        await rig.calls(1)
        reply = await rig.emit("injection:execute", injection_id=one)
        assert (reply["code"], "part of a prompt" in reply["error"]) == ("conflict", True)


# --- process_result ------------------------------------------------------------------------------


async def test_process_result_of_a_foreign_request(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        envelope = {"response": {"choices": [{"message": {"content": "found it"}}]}}
        data = {
            "request_id": "elsewhere-1",
            "result": envelope,
            "injection_metadata": {"target_sessions": ["to"], "position": "after_prompt"},
        }
        reply = await rig.emit("injection:process_result", **data)
        assert (reply["status"], reply["stored"]) == ("injected", 1)
        assert reply["injection_ids"] == [id_of_result("elsewhere-1", "to")]
        again = await rig.emit("injection:process_result", **data)
        assert (again["status"], again["duplicates"], again["stored"]) == ("duplicate", 1, 0)
        asked = await rig.submit("ask", session_id="to")
        assert await prompt_of(rig, asked) == "ask\n\nfound it"
        used = await rig.emit("injection:process_result", **data)
        assert used["status"] == "duplicate"


@pytest.mark.parametrize("mode", ["next", "direct"])
async def test_the_same_result_twice_at_once_is_a_duplicate(tmp_path: Path, mode: str) -> None:
    async with running(config(tmp_path)) as rig:
        data = {
            "request_id": "elsewhere-1",
            "result": "found it",
            "injection_metadata": {"target_sessions": ["to"], "mode": mode},
        }
        replies = await asyncio.gather(
            *[rig.emit("injection:process_result", **data) for _ in range(3)]
        )
        assert sorted(reply["status"] for reply in replies) == [
            "duplicate",
            "duplicate",
            "injected",
        ]
        assert sum(reply["stored"] + reply["queued"] for reply in replies) == 1


async def test_what_is_part_of_a_prompt_is_listed_with_its_session(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        await rig.emit("injection:inject", session_id="s", content="found it")
        await rig.submit("ask", session_id="s")
        (up,) = await rig.calls(1)
        bound = [
            (await rig.emit("injection:list", **asked))["bound"]
            for asked in ({}, {"session_id": "s"}, {"session_id": "other"})
        ]
        assert bound == [1, 1, 0]
        up.go.set()


async def test_process_result_for_its_own_session_must_know_that(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        data: dict[str, Any] = {"request_id": "x", "result": "r", "injection_config": {}}
        reply = await rig.emit("injection:process_result", **data)
        assert (reply["code"], "session_id is missing" in reply["error"]) == (
            "invalid_request",
            True,
        )
        reply = await rig.emit("injection:process_result", session_id="mine", **data)
        assert reply["sessions"] == ["mine"]


async def test_process_result_uses_the_terms_that_are_known(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        own = await rig.submit("find", session_id="s", injection_config={"mode": "direct"})
        await rig.calls(1)
        reply = await rig.emit("injection:process_result", request_id=own, result="early")
        assert (reply["status"], reply["queued"]) == ("injected", 1)
        await rig.emit("injection:queue", request_id="x", injection_config={})
        reply = await rig.emit(
            "injection:process_result", request_id="x", session_id="q", result="r"
        )
        assert (reply["stored"], reply["sessions"]) == (1, ["q"])
        assert rig.core.injections.terms == {}
        nothing = await rig.emit("injection:process_result", request_id="y", result="r")
        assert (nothing["status"], nothing["stored"]) == ("nothing_to_inject", 0)


async def test_process_result_over_a_bound_says_which(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        root = await rig.submit("root")
        await rig.ended(root)
        await rig.core.store.write()
        reply = await rig.emit(
            "injection:process_result",
            request_id="x",
            session_id="s",
            result="r",
            injection_config={},
            circuit_breaker_config={"parent_request_id": root, "max_depth": 1},
        )
        assert (reply["status"], reply["blocked"]) == ("blocked", 1)
        assert reply["reasons"] == [
            {"session_id": "s", "bound": "max_depth", "limit": 1, "found": 2}
        ]
        told = await rig.event("injection:blocked", "x")
        assert told["bound"] == "max_depth"


# --- list, clear, status -------------------------------------------------------------------------


async def test_list_names_what_waits_in_order(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock) as rig:
        for content, session in (("1", "a"), ("2", "b"), ("3", "a")):
            await rig.emit("injection:inject", session_id=session, content=content, ttl_s=60)
        everything = await rig.emit("injection:list")
        assert [each["content"] for each in everything["injections"]] == ["1", "2", "3"]
        assert (everything["status"], everything["pending"], everything["limited_to"]) == (
            "listed",
            3,
            100,
        )
        of_a = await rig.emit("injection:list", session_id="a")
        assert [each["content"] for each in of_a["injections"]] == ["1", "3"]
        assert of_a["injections"][0]["expires_at"] == "2027-01-15T08:01:00.000Z"
        nobody = await rig.emit("injection:list", session_id="nobody")
        assert (nobody["injections"], nobody["pending"]) == ([], 0)


async def test_clear_by_mode(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        await rig.submit("busy", session_id="a")
        (busy,) = await rig.calls(1)
        normal = await rig.submit("normal", session_id="a")
        by_hand = await rig.emit("completion:inject", prompt="mine", session_id="a")
        for mode in ("next", "next", "direct"):
            await rig.emit("injection:inject", session_id="a", content="x", mode=mode)
        await rig.emit("injection:inject", session_id="b", content="x")
        nexts = await rig.emit("injection:clear", session_id="a", mode="next")
        assert (nexts["status"], nexts["cleared"], nexts["cancelled"]) == ("cleared", 2, 0)
        direct = await rig.emit("injection:clear", session_id="a", mode="direct")
        assert (direct["cleared"], direct["cancelled"]) == (0, 1)
        told = await rig.event("completion:cancelled", direct["request_ids"][0])
        assert told["reason"] == "injection cleared"
        assert rig.core.injections.ids() == rig.core.injections.ids("b")
        empty = await rig.emit("injection:clear", session_id="nobody")
        assert (empty["cleared"], empty["cancelled"]) == (0, 0)
        busy.go.set()
        for number in (2, 3):
            (await rig.calls(number))[-1].go.set()
        await rig.ended(normal, by_hand["request_id"])
        assert rig.p.prompts == ["busy", "mine", "normal"]


async def test_clear_is_durable_and_leaves_what_is_part_of_a_prompt(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        await rig.emit("injection:inject", session_id="a", content="taken")
        asked = await rig.submit("ask", session_id="a")
        (up,) = await rig.calls(1)
        await rig.emit("injection:inject", session_id="a", content="gone")
        assert (await rig.emit("injection:clear", session_id="a"))["cleared"] == 1
        up.go.set()
        await rig.ended(asked)
        assert up.prompt == "taken\n\nask"
    async with running(config(tmp_path)) as rig:
        assert (await rig.emit("injection:status"))["pending"] == 0


async def test_status_counts_everything(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        await rig.emit("injection:inject", session_id="a", content="1")
        await rig.submit("ask", session_id="a")
        await rig.calls(1)
        await rig.emit("injection:inject", session_id="b", content="2")
        await rig.emit("injection:inject", session_id="c", content="3")
        await rig.emit("injection:clear", session_id="c")
        await rig.emit("injection:queue", request_id="r", injection_config={})
        status = await rig.emit("injection:status")
        assert status.pop("limits")["max_pending_per_session"] == 100
        assert status == {
            "status": "active",
            "pending": 1,
            "bound": 1,
            "sessions": 1,
            "queued_terms": 1,
            "owed": 0,
            "since_start": {
                "stored": 3,
                "queued": 0,
                "used": 0,
                "blocked": 0,
                "expired": 0,
                "cleared": 1,
            },
        }
        rig.p.calls[0].go.set()
        await until(lambda: rig.core.injections.counts.used == 1)
