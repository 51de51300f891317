"""What a request was sent with, its place in its session, and what it spent, as replies tell it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import Usage
from ksi_tui.engine.views import SnapshotQuery
from tests.engine.engine_fixtures import (
    USED,
    Rig,
    answers,
    config,
    fails,
    held,
    in_turn,
    provider,
    running,
    until,
)


async def sent(rig: Rig, request_id: str) -> dict[str, Any]:
    reply = await rig.emit("completion:request_status", request_id=request_id, sent=True)
    found: dict[str, Any] = reply["sent"]
    return found


def pair(prompt: str) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": prompt},
        {"role": "assistant", "content": f"re: {prompt}"},
    ]


async def test_each_of_a_session_was_sent_with_the_turns_before_it(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": answers}) as rig:
        ids = []
        for prompt in ("one", "two", "three"):
            ids.append(await rig.submit(prompt, session_id="s"))
            await rig.ended(ids[-1])
        for index, expected in enumerate(([], pair("one"), [*pair("one"), *pair("two")])):
            found = await sent(rig, ids[index])
            assert found["history"] == expected
            assert (found["begun"], found["known"], found["turns"]) == (True, True, index)
        assert (await sent(rig, ids[2]))["messages"] == [{"role": "user", "content": "three"}]
        plain = await rig.emit("completion:request_status", request_id=ids[2])
        assert "sent" not in plain


async def test_a_failed_one_was_sent_with_what_was_there_then(tmp_path: Path) -> None:
    script = in_turn(answers, fails(ErrorKind.INVALID_REQUEST), answers)
    async with running(config(tmp_path), scripts={"p": script}) as rig:
        first = await rig.submit("one", session_id="s")
        await rig.ended(first)
        failed = await rig.submit("two", session_id="s")
        await rig.ended(failed)
        third = await rig.submit("three", session_id="s")
        await rig.ended(third)
        assert (await sent(rig, failed))["history"] == pair("one")
        assert (await sent(rig, third))["history"] == pair("one")


async def test_a_running_one_is_known_a_waiting_one_foretold(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": in_turn(answers, held)}) as rig:
        await rig.ended(await rig.submit("one", session_id="s"))
        second = await rig.submit("two", session_id="s")
        await rig.calls(2)
        third = await rig.submit("three", session_id="s")
        runs, waits = await sent(rig, second), await sent(rig, third)
        assert (runs["begun"], runs["history"]) == (True, pair("one"))
        assert (waits["begun"], waits["history"]) == (False, pair("one"))
        assert runs["estimated_tokens"] > runs["history_tokens"] > 0


async def test_messages_and_no_history_are_sent_as_given(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": answers}) as rig:
        await rig.ended(await rig.submit("one", session_id="s"))
        messages = [{"role": "system", "content": "short"}, {"role": "user", "content": "two"}]
        reply = await rig.emit("completion:async", messages=messages, session_id="s")
        given = reply["request_id"]
        alone = await rig.submit("three", session_id="s", history="none")
        await rig.ended(alone)
        found = await sent(rig, given)
        assert (found["history"], found["messages"]) == ([], messages)
        assert (await sent(rig, alone))["history"] == []


async def test_a_forgotten_transcript_is_not_made_up(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": answers}) as rig:
        await rig.ended(await rig.submit("one", session_id="s"))
        second = await rig.submit("two", session_id="s")
        await rig.ended(second)
        await rig.emit("completion:reset_conversation", session_id="s")
        found = await sent(rig, second)
        assert (found["known"], found["history"]) == (False, [])
        await rig.ended(await rig.submit("three", session_id="s"))
        assert (await sent(rig, second))["known"] is False


async def test_place_in_the_session_and_deadline(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        ids = [await rig.submit(str(n), session_id="s", timeout_s=100) for n in range(3)]
        await rig.calls(1)
        found = [await rig.emit("completion:request_status", request_id=each) for each in ids]
        assert [each["session_position"] for each in found] == [
            {"at": 1, "of": 3},
            {"at": 2, "of": 3},
            {"at": 3, "of": 3},
        ]
        assert found[0]["deadline_at"] is not None
        assert found[1]["deadline_at"] is None
        assert found[1]["timeout_s"] == 100


async def test_a_running_call_tells_what_it_has_used_so_far(tmp_path: Path) -> None:
    prices = {"m1": {"input": 1_000_000, "output": 2_000_000}}
    async with running(config(tmp_path, prices=prices), scripts={"p": held}) as rig:
        request_id = await rig.submit("a" * 40)
        (up,) = await rig.calls(1)
        up.say("some words", tokens=3)
        report = await rig.emit("completion:request_status", request_id=request_id)
        (call,) = report["attempts"][-1]["calls"]
        used = call["estimate"]
        assert (used["output"], used["estimated"]) == (3, True)
        assert used["input"] >= 10
        assert used["cost"] == used["input"] + 2 * 3
        assert call["worker"] is None


async def test_a_stopped_call_is_told_while_its_upstream_closes(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        rig.p.closes_at_once = False
        request_id = await rig.submit("a", session_id="s")
        (up,) = await rig.calls(1)
        up.say("some words")
        await rig.emit("completion:cancel", request_id=request_id, by="op1", reason="ticket 1")
        await until(lambda: rig.left_over().get("closing"))
        report = await rig.status(request_id)
        (call,) = report["attempts"][-1]["calls"]
        assert (report["status"], call["outcome"], call["closing"]) == (
            "cancelled",
            "cancelled",
            True,
        )
        up.close(after_ms=38)
        found = await rig.status(request_id)
        (now,) = found["attempts"][-1]["calls"]
        assert (now["closing"], now["upstream_closed_ms"]) == (False, 38)
        told = next(e for e in report["timeline"] if e["what"] == "cancel")
        assert (told["by"], told["reason"]) == ("op1", "ticket 1")


async def test_a_sessions_requests_tell_what_they_spent(tmp_path: Path) -> None:
    script = in_turn(answers, fails(ErrorKind.INVALID_REQUEST, usage=Usage(input=5)), held)
    async with running(config(tmp_path), scripts={"p": script}) as rig:
        for prompt in ("one", "two"):
            await rig.ended(await rig.submit(prompt, session_id="s", agent_id="a1"))
        await rig.submit("three", session_id="s")
        await rig.calls(3)
        reply = await rig.emit("completion:session_status", session_id="s")
        done, failed, runs = reply["completions"]
        assert (done["tokens"], done["phase"], done["provider"]) == (USED.total, "completed", "p")
        assert (failed["tokens"], failed["error_kind"]) == (5, "invalid_request")
        assert (runs["tokens"], runs["phase"], done["agent_id"]) == (None, "connecting", "a1")
        assert reply["session"]["turn_count"] == 1


async def test_a_snapshot_of_one_provider_holds_its_calls_only(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=[provider("p"), provider("q", "other")])
    async with running(settings, scripts={"p": held, "q": held}) as rig:
        mine = await rig.submit("a")
        await rig.submit("b", model="other")
        await rig.calls(1)
        await until(lambda: rig.engine.snapshot().active_total == 2)
        found = rig.engine.snapshot(SnapshotQuery(provider="p"))
        assert [view.request_id for view in found.active] == [mine]
        assert found.active_total == 1
