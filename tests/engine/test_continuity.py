"""Earlier turns of a session that go along with a prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ksi_tui.engine.continuity import HISTORY_MAX_CHARS, SHOWN_CHARS, SHOWN_TURNS
from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import Outcome
from tests.engine.engine_fixtures import (
    Rig,
    answers,
    config,
    fails,
    held,
    in_turn,
    provider,
    running,
)


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


# --- which turns are kept --------------------------------------------------------------------


async def test_system_prompts_and_tool_turns_of_messages_are_not_kept(tmp_path: Path) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "system", "content": "be short"},
        {"role": "user", "content": "look it up"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
    ]
    async with running(config(tmp_path)) as rig:
        await say(rig, messages=messages)
        await say(rig, "two")
        assert rig.p.calls[1].spec.history == pair("look it up", "re: 42")


async def test_messages_without_a_user_leave_no_turn(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await say(rig, messages=[{"role": "system", "content": "say something"}])
        await say(rig, "two")
        assert rig.p.calls[1].spec.history == []


async def test_content_in_parts_is_kept_as_it_was_sent(tmp_path: Path) -> None:
    parts = [
        {"type": "text", "text": "what is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    async with running(config(tmp_path)) as rig:
        rig.p.script = in_turn(_says("a cat"), answers)
        await say(rig, messages=[{"role": "user", "content": parts}])
        await say(rig, "and now?")
        assert rig.p.calls[1].spec.history == [
            {"role": "user", "content": parts},
            {"role": "assistant", "content": "a cat"},
        ]


def _says(text: str) -> Any:
    async def script(_: object) -> str:
        return text

    return script


async def test_any_text_comes_back_as_it_was_even_broken_unicode(tmp_path: Path) -> None:
    asked, replied = (
        "\U0001f9ea Ünï \u202e\x07 \ud83d cut",
        "\udc9a half \U0001f469\u200d\U0001f680",
    )
    async with running(config(tmp_path)) as rig:
        rig.p.script = in_turn(_says(replied), answers)
        await say(rig, messages=[{"role": "user", "content": asked}])
        await say(rig, "two")
    async with running(config(tmp_path)) as rig:
        await say(rig, "three")
        assert rig.p.calls[0].spec.history == [*pair(asked, replied), *pair("two")]


# --- in which order, over what -----------------------------------------------------------------


async def test_the_turns_stand_in_the_order_in_which_they_were_answered(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        ids = [await rig.submit("first", session_id="s")]
        await rig.calls(1)
        ids.append(await rig.submit("low", session_id="s", priority="low"))
        ids.append(await rig.submit("urgent", session_id="s", priority="critical"))
        injected = await rig.emit("completion:inject", prompt="injected", session_id="s")
        for number in (1, 2, 3, 4):
            (await rig.calls(number))[-1].go.set()
        await rig.ended(*ids, injected["request_id"])
        assert [up.prompt for up in rig.p.calls] == ["first", "urgent", "injected", "low"]
        assert rig.p.calls[3].spec.history == [
            *pair("first"),
            *pair("urgent"),
            *pair("injected"),
        ]


async def test_a_failed_one_that_is_retried_stands_where_it_was_answered(tmp_path: Path) -> None:
    async with running(config(tmp_path, retry={"max_attempts": 1})) as rig:
        rig.p.script = in_turn(fails(ErrorKind.PROVIDER_ERROR), answers)
        await say(rig, "late", request_id="late")
        await say(rig, "early")
        await rig.emit("completion:retry", request_id="late", in_place=True)
        await rig.event("completion:result", "late")
        await say(rig, "last")
        assert rig.p.calls[-1].spec.history == [*pair("early"), *pair("late")]


async def test_what_the_engine_s_end_interrupts_is_sent_with_the_same_turns(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await say(rig, "one")
        rig.p.script = held
        await rig.submit("two", session_id="s", request_id="two")
        (await rig.calls(2))[1].say("half an ans")
    async with running(config(tmp_path)) as rig:
        await rig.ended("two")
        await say(rig, "three")
        assert [up.spec.history for up in rig.p.calls] == [
            pair("one"),
            [*pair("one"), *pair("two")],
        ]


async def test_all_candidates_of_a_walk_get_the_same_turns(tmp_path: Path) -> None:
    providers = [provider("p"), provider("q", priority=2)]
    async with running(config(tmp_path, providers=providers)) as rig:
        await say(rig, "one")
        rig.p.script = fails(ErrorKind.MODEL_NOT_FOUND)
        await say(rig, "two")
        assert rig.providers["q"].calls[0].spec.history == pair("one")


async def test_two_without_a_session_never_share_one(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        replies = [await rig.emit("completion:async", prompt=str(n)) for n in range(3)]
        await rig.ended(*[reply["request_id"] for reply in replies])
        assert len({reply["session_id"] for reply in replies}) == 3
        assert [list(up.spec.history) for up in rig.p.calls] == [[], [], []]


# --- how much ------------------------------------------------------------------------------


async def test_only_so_much_of_a_long_transcript_is_read_in_whole_pairs(tmp_path: Path) -> None:
    third = "x" * (HISTORY_MAX_CHARS // 3)
    async with running(config(tmp_path)) as rig:
        rig.p.script = in_turn(*[_says("ok")] * 5, answers)
        for number in range(4):
            await say(rig, f"{number}{third}")
        await say(rig, "now")
        kept = [str(turn["content"])[:1] for turn in rig.p.calls[4].spec.history]
        assert kept == ["2", "o", "3", "o"]


async def test_the_tokens_of_a_cancelled_call_count_what_was_sent_along(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await say(rig, "long " * 1000)
        rig.p.script = held
        request_id = await rig.submit("x", session_id="s")
        (await rig.calls(2))[1].say("half")
        await rig.emit("completion:cancel", request_id=request_id)
        await rig.event("completion:upstream_closed", request_id)
        (attempt,) = (await rig.status(request_id))["attempts"]
        assert attempt["calls"][0]["outcome"] == Outcome.CANCELLED
        assert attempt["calls"][0]["usage"]["input"] > 2_000


# --- shown before sending ------------------------------------------------------------------


async def shown(rig: Rig, session_id: str = "s") -> dict[str, Any]:
    reply = await rig.emit("completion:session_status", session_id=session_id, history=True)
    assert "code" not in reply, reply
    return dict(reply["history"])


async def test_what_will_be_sent_along_can_be_asked_for(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        plain = await rig.emit("completion:session_status", session_id="s")
        assert "history" not in plain
        nothing = {"pairs": 0, "chars": 0, "estimated_tokens": 0, "turns": []}
        assert await shown(rig) == {**nothing, "limited_to_chars": HISTORY_MAX_CHARS}
        await say(rig, "one")
        await say(rig, "two", history="none")
        found = await shown(rig)
        await say(rig, "three")
        sent = rig.p.calls[2].spec.history
        assert found["pairs"] == len(sent) // 2 == 2
        assert found["chars"] == sum(len(turn["content"]) for turn in sent)
        assert found["turns"] == [
            {"role": turn["role"], "text": turn["content"], "chars": len(turn["content"])}
            for turn in sent
        ]
        assert 0 < found["estimated_tokens"] < 40


async def test_what_is_shown_of_it_is_bounded_and_parts_are_named(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "x"}}]
    async with running(config(tmp_path)) as rig:
        for number in range(SHOWN_TURNS // 2):
            await say(rig, f"{number} " + "long " * 1_000)
        rig.p.script = _says("ok")
        await say(rig, messages=[{"role": "user", "content": parts}])
        found = await shown(rig)
        assert found["pairs"] == SHOWN_TURNS // 2 + 1
        assert len(found["turns"]) == SHOWN_TURNS
        assert found["turns"][0]["text"].startswith("1 ")
        assert len(found["turns"][0]["text"]) == SHOWN_CHARS
        assert found["turns"][0]["chars"] > 2 * SHOWN_CHARS
        assert found["turns"][-2]["text"] == "see\n[image_url]"
