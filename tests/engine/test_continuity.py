"""Earlier turns of a session that go along with a prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ksi_tui.engine.errors import ErrorKind
from tests.engine.engine_fixtures import Rig, answers, config, fails, held, in_turn, running


def pair(asked: str, replied: str | None = None) -> list[dict[str, Any]]:
    return [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": replied or f"re: {asked}"},
    ]


async def say(rig: Rig, prompt: str | None = None, **data: Any) -> None:
    given = {"session_id": "s", **({"prompt": prompt} if prompt else {}), **data}
    reply = await rig.emit("completion:async", **given)
    assert "code" not in reply, reply
    await rig.ended(reply["request_id"])


async def test_each_prompt_is_sent_with_the_turns_before_it(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        for prompt in ("one", "two", "three"):
            await say(rig, prompt)
        assert [up.spec.history for up in rig.p.calls] == [
            [],
            pair("one"),
            [*pair("one"), *pair("two")],
        ]
        assert [list(up.spec.messages) for up in rig.p.calls][2] == [
            {"role": "user", "content": "three"}
        ]


async def test_sessions_do_not_mix(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await say(rig, "one")
        await say(rig, "two", session_id="t")
        await say(rig, "three", session_id=None)
        assert [list(up.spec.history) for up in rig.p.calls] == [[], [], []]


async def test_only_completed_pairs_are_kept(tmp_path: Path) -> None:
    async with running(config(tmp_path, retry={"max_attempts": 1})) as rig:
        rig.p.script = in_turn(fails(ErrorKind.PROVIDER_ERROR), held, answers)
        await say(rig, "fails")
        reply = await rig.emit("completion:async", prompt="cancelled", session_id="s")
        (await rig.calls(2))[1].say("half")
        await rig.emit("completion:cancel", request_id=reply["request_id"])
        await say(rig, "one")
        await say(rig, "two")
        assert rig.p.calls[-1].spec.history == pair("one")


async def test_messages_are_sent_as_given_and_add_their_last_turn(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "be short"},
        {"role": "user", "content": "old"},
        {"role": "assistant", "content": "older"},
        {"role": "user", "content": "new"},
    ]
    async with running(config(tmp_path)) as rig:
        await say(rig, "one")
        await say(rig, messages=messages)
        await say(rig, "two")
        sent = rig.p.calls[1].spec
        assert (list(sent.messages), list(sent.history)) == (messages, [])
        assert rig.p.calls[2].spec.history == [*pair("one"), *pair("new")]


async def test_it_can_be_turned_off_for_one_request(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await say(rig, "one")
        await say(rig, "two", history="none")
        await say(rig, "three")
        assert [len(up.spec.history) for up in rig.p.calls] == [0, 0, 4]


async def test_it_goes_on_after_a_restart(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await say(rig, "one")
    async with running(config(tmp_path)) as rig:
        await say(rig, "two")
        await say(rig, "three")
        assert rig.p.calls[0].spec.history == pair("one")
        assert rig.p.calls[1].spec.history == [*pair("one"), *pair("two")]
        session = (await rig.emit("completion:session_status", session_id="s"))["session"]
        assert session["request_count"] == 3


async def test_it_goes_on_after_the_session_idled_out(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await say(rig, "one")
        await rig.settled()
        parts = rig.engine._parts
        assert parts is not None
        parts.end_idle_sessions(rig.core.clock() + 10, 1)
        assert rig.core.sessions.get("s") is None
        await say(rig, "two")
        assert rig.p.calls[1].spec.history == pair("one")


async def test_a_session_of_ones_own_can_be_continued_by_its_name(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        request_id = await rig.submit("one")
        await rig.ended(request_id)
        await rig.settled()
        await say(rig, "two", session_id=request_id)
        assert rig.p.calls[1].spec.history == pair("one")


async def test_a_retry_by_hand_brings_the_turns_that_were_before_it(tmp_path: Path) -> None:
    settings = config(tmp_path, retry={"max_attempts": 1})
    async with running(settings) as rig:
        await say(rig, "one")
        rig.p.script = fails(ErrorKind.PROVIDER_ERROR)
        await say(rig, "two", request_id="two")
    async with running(settings) as rig:
        await rig.emit("completion:retry", request_id="two")
        await rig.ended("two")
        assert rig.p.calls[0].spec.history == pair("one")


async def test_a_retried_attempt_sends_the_same_history(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await say(rig, "one")
        rig.p.script = in_turn(fails(ErrorKind.NETWORK_ERROR), answers)
        await say(rig, "two")
        assert [up.spec.history for up in rig.p.calls[1:]] == [pair("one")] * 2


async def test_an_answer_without_text_makes_no_pair(tmp_path: Path) -> None:
    async def nothing(_: object) -> str:
        return ""

    async with running(config(tmp_path)) as rig:
        rig.p.script = in_turn(nothing, answers)
        await say(rig, "one")
        await say(rig, "two")
        assert rig.p.calls[1].spec.history == []
