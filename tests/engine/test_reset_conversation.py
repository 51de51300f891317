"""`completion:reset_conversation`: the next prompt goes without what was said before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.engine.engine_fixtures import Rig, answers, config, held, running


async def ask(rig: Rig, prompt: str, session: str = "s", **data: Any) -> None:
    await rig.ended(await rig.submit(prompt, session_id=session, **data))


async def reset(rig: Rig, **data: Any) -> dict[str, Any]:
    reply = await rig.emit("completion:reset_conversation", **data)
    assert "code" not in reply, reply
    return reply


def sent(rig: Rig, prompt: str) -> list[Any]:
    """Return the texts of the history that was sent along with a prompt."""
    return [message["content"] for message in rig.p.of(prompt).spec.history]


async def test_the_next_prompt_goes_without_history(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await ask(rig, "one")
        await ask(rig, "two")
        await ask(rig, "other", "t")
        assert await reset(rig, session_id="s") == {"session_id": "s", "forgotten": 2}
        assert await reset(rig, session_id="s") == {"session_id": "s", "forgotten": 0}
        await ask(rig, "three")
        assert sent(rig, "three") == []
        await ask(rig, "four")
        assert sent(rig, "four") == ["three", "re: three"]
        await ask(rig, "five", "t")
        assert sent(rig, "five") == ["other", "re: other"]
        # The record stays.
        status = await rig.emit("completion:session_status", session_id="s")
        assert len(status["completions"]) == 4
        results = await rig.emit("completion:results", session_id="s")
        assert [r["text"] for r in results["results"]] == [
            "re: one",
            "re: two",
            "re: three",
            "re: four",
        ]


async def test_it_stays_forgotten_after_a_restart(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await ask(rig, "one")
        await reset(rig, conversation_id="s", by="op1")
    async with running(config(tmp_path)) as rig:
        await ask(rig, "two")
        assert sent(rig, "two") == []
        assert await reset(rig, session_id="s") == {"session_id": "s", "forgotten": 1}
    async with running(config(tmp_path)) as rig:
        await ask(rig, "three")
        assert sent(rig, "three") == []


async def test_a_reply_under_way_brings_only_its_own_pair(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await ask(rig, "one")
        rig.p.script = held
        request = await rig.submit("two", session_id="s")
        calls = await rig.calls(2)
        assert sent(rig, "two") == ["one", "re: one"]
        assert (await reset(rig, session_id="s"))["forgotten"] == 1
        rig.p.script = answers
        calls[1].go.set()
        await rig.ended(request)
        await ask(rig, "three")
        assert sent(rig, "three") == ["two", "re: two"]


async def test_pairs_written_in_the_same_moment_keep_their_order(tmp_path: Path) -> None:
    """The pair that ends with the reset and the one after it may share a transaction."""
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        request = await rig.submit("one", session_id="s")
        (call,) = await rig.calls(1)
        rig.p.script = answers
        call.go.set()
        await rig.ended(request)
        await reset(rig, session_id="s")
        await ask(rig, "two")
        found = await rig.core.store.session("s")
        assert found is not None
        assert found.turn_count == 1
        assert len(await rig.core.store.turns("s", 10**6)) == 2


async def test_an_unknown_session_has_nothing_to_forget(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        assert await reset(rig, session_id="x") == {"session_id": "x", "forgotten": 0}
        status = await rig.emit("completion:session_status", session_id="x")
        assert status["exists"] is False


@pytest.mark.parametrize("data", [{}, {"session_id": ""}, {"session_id": "s", "all": True}])
async def test_what_is_wrong_is_named(tmp_path: Path, data: dict[str, Any]) -> None:
    async with running(config(tmp_path)) as rig:
        reply = await rig.emit("completion:reset_conversation", **data)
        assert reply["code"] == "invalid_request"
