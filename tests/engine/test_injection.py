"""Results that go into other sessions: what is sent there, and what a prompt gives back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.injection.policy import id_of_result
from ksi_tui.engine.models import State
from tests.engine.engine_fixtures import (
    HandClock,
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

FORMS = {
    "before_prompt": "{it}\n\nask",
    "after_prompt": "ask\n\n{it}",
    "system_reminder": "<system-reminder>\n{it}\n</system-reminder>\n\nask",
    "prepend": "{it}\n\nask",
    "postscript": "ask\n\nP.S. {it}",
}


async def inject_into(rig: Rig, *sessions: str, request_id: str = "src", **terms: Any) -> None:
    """Let a request complete whose result goes into these sessions for their next prompt."""
    config = {"target_sessions": list(sessions), **terms}
    await rig.submit("find", request_id=request_id, session_id="from", injection_config=config)
    await rig.ended(request_id)
    await arrived(rig)


async def arrived(rig: Rig) -> None:
    """Wait until no result is on its way any more."""
    await until(lambda: not rig.core.injections._coming, "all has arrived")


async def prompt_of(rig: Rig, request_id: str) -> str:
    """Wait until a request ended; return the prompt of its newest call."""
    await rig.ended(request_id)
    return [up for up in rig.p.calls if up.spec.request_id == request_id][-1].prompt


@pytest.mark.parametrize("position", FORMS)
async def test_next_joins_the_next_prompt_once(tmp_path: Path, position: str) -> None:
    async with running(config(tmp_path)) as rig:
        await inject_into(rig, "to", position=position)
        stored = await rig.event("injection:stored", "src")
        assert (stored["session_id"], stored["position"]) == ("to", position)
        other = await rig.submit("ask", session_id="other")
        first = await rig.submit("ask", session_id="to")
        second = await rig.submit("ask", session_id="to")
        assert await prompt_of(rig, other) == "ask"
        assert await prompt_of(rig, first) == FORMS[position].format(it="re: find")
        assert await prompt_of(rig, second) == "ask"


@pytest.mark.parametrize("position", FORMS)
async def test_direct_queues_a_completion_of_the_composed_text(
    tmp_path: Path, position: str
) -> None:
    form = FORMS[position].replace("\n\nask", "").replace("ask\n\n", "")
    async with running(config(tmp_path)) as rig:
        await rig.submit(
            "find",
            request_id="src",
            agent_id="a1",
            model="m2",
            injection_config={"mode": "direct", "position": position, "target_sessions": ["to"]},
        )
        told = await rig.event("injection:queued", "src")
        born = told["queued_request_id"]
        assert born == id_of_result("src", "to")
        assert await prompt_of(rig, born) == form.format(it="re: find")
        status = await rig.status(born)
        assert (status["session_id"], status["agent_id"]) == ("to", "a1")
        assert (status["priority"], status["requested_model"]) == ("inject", "m2")
        assert status["circuit_breaker_config"]["parent_request_id"] == "src"
        (received,) = status["injections"]["received"]
        assert (received["source_request_id"], received["state"]) == ("src", "queued")


async def test_a_direct_one_runs_ahead_of_the_normal_ones_of_its_session(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        await rig.submit("busy", session_id="to")
        (busy,) = await rig.calls(1)
        normal = await rig.submit("normal", session_id="to")
        await rig.submit(
            "find",
            request_id="src",
            injection_config={"mode": "direct", "target_sessions": ["to"]},
        )
        (_, source) = await rig.calls(2)
        source.go.set()
        born = (await rig.event("injection:queued"))["queued_request_id"]
        busy.go.set()
        for number in (3, 4):
            (await rig.calls(number))[-1].go.set()
        await rig.ended(born, normal)
        assert rig.p.prompts == ["busy", "find", "re: find", "normal"]


async def test_originating_is_the_default_and_reaches_what_already_waits(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": in_turn(held, answers)}) as rig:
        await rig.submit("find", request_id="src", session_id="s", injection_config={})
        (source,) = await rig.calls(1)
        behind = await rig.submit("ask", session_id="s")
        source.go.set()
        assert await prompt_of(rig, behind) == "re: find\n\nask"


async def test_many_targets_and_many_sources_in_order_of_arrival(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await inject_into(rig, "originating", "b", "b", request_id="one")
        await inject_into(rig, "b", request_id="two", trigger_type="t", follow_up_guidance="go")
        status = await rig.status("one")
        assert [sent["session_id"] for sent in status["injections"]["sent"]] == ["from", "b"]
        assert (await rig.emit("completion:status"))["injections"] == {"pending": 2, "blocked": 0}
        asked = await rig.submit("ask", session_id="b")
        assert await prompt_of(rig, asked) == (
            "re: find\n\n[trigger: t]\nre: re: find\n\nfind\n\nFollow-up guidance: go\n\nask"
        )


async def test_messages_are_sent_as_given_and_consume_nothing(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await inject_into(rig, "to")
        reply = await rig.emit(
            "completion:async", messages=[{"role": "user", "content": "raw"}], session_id="to"
        )
        assert await prompt_of(rig, reply["request_id"]) == "raw"
        asked = await rig.submit("ask", session_id="to")
        assert await prompt_of(rig, asked) == "re: find\n\nask"


async def test_not_enabled_and_failed_inject_nothing(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        off = await rig.submit("find", session_id="s", injection_config={"enabled": False})
        await rig.ended(off)
        rig.p.script = in_turn(fails(ErrorKind.INVALID_REQUEST), answers)
        failed = await rig.submit("find", session_id="s", injection_metadata={})
        await rig.ended(failed)
        asked = await rig.submit("ask", session_id="s", history="none")
        assert await prompt_of(rig, asked) == "ask"
        assert rig.core.injections.pending == 0
        assert rig.core.injections.terms == {}


async def test_the_old_spelling_and_batches_and_inject_carry_it_too(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        to = {"target_sessions": ["to"], "position": "after_prompt"}
        line = {"prompt": "1", "request_id": "one", "injection_metadata": to}
        await rig.emit("completion:batch", requests=[line])
        await rig.emit("completion:inject", prompt="2", request_id="two", injection_config=to)
        await rig.ended("one", "two")
        await until(lambda: rig.core.injections.pending == 2)
        asked = await rig.submit("ask", session_id="to")
        text = await prompt_of(rig, asked)
        assert sorted(text.split("\n\n")) == ["ask", "re: 1", "re: 2"]


async def test_the_transcript_keeps_the_prompt_as_it_was_sent(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await inject_into(rig, "to")
        first = await rig.submit("ask", session_id="to")
        await rig.ended(first)
        second = await rig.submit("more", session_id="to")
        await rig.ended(second)
        history = rig.p.calls[-1].spec.history
        assert [turn["content"] for turn in history] == [
            "re: find\n\nask",
            "re: re: find\n\nask",
        ]


# --- what is given back ----------------------------------------------------------------------


async def test_a_retry_sends_the_same_text_and_takes_nothing_new(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, retry={"initial_delay_s": 30})
    async with running(settings, clock=clock) as rig:
        await inject_into(rig, "to")
        rig.p.script = in_turn(fails(ErrorKind.NETWORK_ERROR), answers)
        asked = await rig.submit("ask", session_id="to")
        await rig.state(asked, State.RETRYING)
        late = await rig.emit("injection:inject", session_id="to", content="late")
        assert late["stored"] == 1
        rig.advance(31)
        await rig.ended(asked)
        sent = [up.prompt for up in rig.p.calls if up.spec.request_id == asked]
        assert sent == ["re: find\n\nask"] * 2
        following = await rig.submit("next", session_id="to", history="none")
        assert await prompt_of(rig, following) == "late\n\nnext"


async def test_a_prompt_without_any_takes_none_at_its_retry(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, retry={"initial_delay_s": 30})
    script = in_turn(fails(ErrorKind.NETWORK_ERROR), answers)
    async with running(settings, clock=clock, scripts={"p": script}) as rig:
        asked = await rig.submit("ask", session_id="to")
        await rig.state(asked, State.RETRYING)
        await rig.emit("injection:inject", session_id="to", content="late")
        rig.advance(31)
        await rig.ended(asked)
        assert rig.p.prompts == ["ask", "ask"]
        assert rig.core.injections.pending == 1


async def test_one_sent_elsewhere_takes_nothing_new(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=[provider("p"), provider("q", priority=2)])
    async with running(settings, scripts={"p": held}) as rig:
        asked = await rig.submit("ask", session_id="to")
        await rig.calls(1)
        await rig.emit("injection:inject", session_id="to", content="late")
        await rig.emit("completion:retry", request_id=asked, avoid=["p"])
        await rig.ended(asked)
        assert (rig.p.prompts, rig.providers["q"].prompts) == (["ask"], ["ask"])
        assert rig.core.injections.pending == 1


@pytest.mark.parametrize("end", ["failed", "cancelled", "cancelled in backoff"])
async def test_what_did_not_complete_releases_it_for_the_next(tmp_path: Path, end: str) -> None:
    clock = HandClock()
    settings = config(tmp_path, retry={"initial_delay_s": 30})
    async with running(settings, clock=clock) as rig:
        await inject_into(rig, "to")
        rig.p.script = {
            "failed": in_turn(fails(ErrorKind.INVALID_REQUEST), answers),
            "cancelled": in_turn(held, answers),
            "cancelled in backoff": in_turn(fails(ErrorKind.NETWORK_ERROR), answers),
        }[end]
        first = await rig.submit("ask", session_id="to")
        behind = await rig.submit("behind", session_id="to")
        if end == "cancelled":
            await rig.calls(2)
        elif end == "cancelled in backoff":
            await rig.state(first, State.RETRYING)
        if end != "failed":
            await rig.emit("completion:cancel", request_id=first)
        assert await prompt_of(rig, behind) == "re: find\n\nbehind"
        assert (await rig.status(first))["injections"]["received"] == []
        assert (await rig.status(first))["prompt"] == "ask"
        assert rig.core.injections.bound == 0


async def test_one_retried_by_hand_gets_it_again(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await inject_into(rig, "to")
        rig.p.script = in_turn(fails(ErrorKind.INVALID_REQUEST), answers)
        first = await rig.submit("ask", session_id="to")
        await rig.ended(first)
        await rig.emit("completion:retry", request_id=first)
        await rig.event("completion:result", first)
        assert rig.p.prompts[1:] == ["re: find\n\nask"] * 2


# --- time to live ------------------------------------------------------------------------------


async def test_what_has_expired_is_dropped_on_time_and_counted(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock) as rig:
        await inject_into(rig, "to", ttl_s=60)
        rig.advance(59)
        assert rig.core.injections.pending == 1
        rig.advance(1)
        await until(lambda: rig.core.injections.pending == 0)
        status = await rig.emit("injection:status")
        assert status["since_start"]["expired"] == 1
        asked = await rig.submit("ask", session_id="to")
        assert await prompt_of(rig, asked) == "ask"
        sent = (await rig.status("src"))["injections"]["sent"]
        assert [each["state"] for each in sent] == ["expired"]


async def test_what_is_part_of_a_prompt_does_not_expire_before_it_ends(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock) as rig:
        await inject_into(rig, "to", ttl_s=10)
        rig.p.script = held
        first = await rig.submit("ask", session_id="to")
        behind = await rig.submit("behind", session_id="to", history="none")
        await rig.calls(2)
        rig.advance(11)
        (await rig.calls(2))[-1].fail(ErrorKind.INVALID_REQUEST)
        (await rig.calls(3))[-1].go.set()
        await rig.ended(first, behind)
        assert rig.p.prompts[1:] == ["re: find\n\nask", "behind"]
        assert rig.core.injections.counts.expired == 1
        assert rig.core.alarms.count("injection") == 0


async def test_what_was_given_back_expires_on_time_too(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock) as rig:
        await inject_into(rig, "to", ttl_s=10)
        rig.p.script = fails(ErrorKind.INVALID_REQUEST)
        await rig.ended(await rig.submit("ask", session_id="to"))
        assert rig.core.injections.pending == 1
        rig.advance(11)
        await until(lambda: rig.core.injections.counts.expired == 1)
        assert rig.core.injections.pending == 0


async def test_expired_while_no_engine_ran(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock) as rig:
        await inject_into(rig, "to", ttl_s=60)
    clock.now += 61
    async with running(config(tmp_path), clock=clock) as rig:
        asked = await rig.submit("ask", session_id="to")
        assert await prompt_of(rig, asked) == "ask"
        assert rig.core.injections.counts.expired == 1


# --- born of an injection, and limits ------------------------------------------------------------


async def test_born_of_an_injection_it_does_not_inject_again(tmp_path: Path) -> None:
    born = id_of_result("src", "to")
    async with running(config(tmp_path)) as rig:
        # Terms queued ahead are the only way for one to have any.
        queued = await rig.emit("injection:queue", request_id=born, injection_config={})
        assert queued["status"] == "queued"
        await rig.submit(
            "find",
            request_id="src",
            injection_config={"mode": "direct", "target_sessions": ["to"]},
        )
        told = await rig.event("injection:blocked", born)
        assert (told["bound"], told["session_id"]) == ("born_of_injection", "to")
        await arrived(rig)
        assert rig.core.injections.pending == 0
        again = await rig.emit("injection:queue", request_id=born, injection_config={})
        assert again["code"] == "conflict"


async def test_an_empty_result_and_a_full_session_are_blocked_with_the_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ksi_tui.engine.injection.pending.MAX_PENDING_PER_SESSION", 1)
    async with running(config(tmp_path)) as rig:
        await inject_into(rig, "to", request_id="one")
        await inject_into(rig, "to", "free", request_id="two")
        told = rig.events("injection:blocked", "two")
        assert [(t["session_id"], t["bound"], t["limit"], t["found"]) for t in told] == [
            ("to", "max_pending_per_session", 1, 2)
        ]
        assert [e["session_id"] for e in rig.events("injection:stored", "two")] == ["free"]

        async def blank(_: object) -> str:
            return " "

        rig.p.script = blank
        await inject_into(rig, "new", request_id="three")
        told = rig.events("injection:blocked", "three")
        assert [t["bound"] for t in told] == ["min_content_chars"]
        status = await rig.status("three")
        (sent,) = status["injections"]["sent"]
        assert (sent["state"], sent["blocked"]["bound"]) == ("blocked", "min_content_chars")
        assert "injection blocked" in [entry["what"] for entry in status["timeline"]]
        assert (await rig.emit("completion:status"))["injections"]["blocked"] == 2


async def test_a_full_queue_blocks_a_direct_one(tmp_path: Path) -> None:
    settings = config(tmp_path, engine={"max_session_depth": 1})
    async with running(settings, scripts={"p": held}) as rig:
        await rig.submit("busy", session_id="to")
        await rig.calls(1)
        await rig.submit("waits", session_id="to")
        await rig.submit(
            "find",
            request_id="src",
            injection_config={"mode": "direct", "target_sessions": ["to"]},
        )
        (await rig.calls(2))[-1].go.set()
        told = await rig.event("injection:blocked", "src")
        assert (told["bound"], told["limit"]) == ("max_session_depth", 1)


async def test_the_report_and_the_timeline_tell_both_sides(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await inject_into(rig, "to", trigger_type="done")
        asked = await rig.submit("ask", session_id="to")
        await rig.ended(asked)
        (sent,) = (await rig.status("src"))["injections"]["sent"]
        (received,) = (await rig.status(asked))["injections"]["received"]
        assert sent == received
        assert (sent["state"], sent["request_id"], sent["content"]) == ("used", asked, "re: find")
        assert (sent["source_request_id"], sent["trigger_type"]) == ("src", "done")
        source, target = await rig.status("src"), await rig.status(asked)
        assert {"what": "injected", "text": "into to, next, before_prompt"} in [
            {"what": entry["what"], "text": entry["text"]} for entry in source["timeline"]
        ]
        assert {"what": "injection", "text": "src, before_prompt"} in [
            {"what": entry["what"], "text": entry["text"]} for entry in target["timeline"]
        ]
        assert source["injection_config"]["targets"] == ["to"]
        await rig.settled()
