"""Injections after a kill, a full disk and an ending engine: none lost, none doubled."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.engine.errors import NotReady
from ksi_tui.engine.injection import injector
from ksi_tui.engine.injection.injector import Delivery, Injector
from ksi_tui.engine.injection.policy import Injection, Source, id_of_result
from ksi_tui.engine.intake import Intake
from ksi_tui.engine.models import State
from ksi_tui.engine.providers.base import CallObserver, CallResult, CallSpec
from tests.engine.engine_fixtures import (
    USED,
    HandClock,
    Rig,
    Upstream,
    answers,
    config,
    held,
    running,
    until,
)
from tests.engine.test_recovery import killed

BOTH = {"target_sessions": ["a", "b"]}


async def as_killed(rig: Rig, folder: Path) -> None:
    """Put into `folder` what a kill in this moment would leave on disk."""
    await rig.core.store.write()
    _copy(rig.engine.config.engine.database_path.parent, folder)


def _copy(source: Path, folder: Path) -> None:
    folder.mkdir()
    for name in ("ksi.db", "ksi.db-wal"):
        shutil.copy(source / name, folder / name)


async def never(self: Injector, source: object, arrived: asyncio.Future[None]) -> None:
    """Stand for a delivery that the kill comes before."""
    arrived.set_result(None)


async def prompt_of(rig: Rig, request_id: str) -> str:
    await rig.ended(request_id)
    return [up for up in rig.p.calls if up.spec.request_id == request_id][-1].prompt


def _injected(rig: Rig) -> list[dict[str, Any]]:
    return rig.events("injection:stored") + rig.events("injection:queued")


def _has_injected(rig: Rig, at_least: int) -> bool:
    return len(_injected(rig)) >= at_least


@pytest.mark.parametrize("mode", ["next", "direct"])
async def test_a_kill_between_result_and_injection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    after = tmp_path / "after"
    with monkeypatch.context() as patch:
        patch.setattr(Injector, "_deliver", never)
        async with running(config(tmp_path)) as rig:
            terms = {**BOTH, "mode": mode}
            await rig.ended(await rig.submit("find", request_id="src", injection_config=terms))
            await as_killed(rig, after)
    for life in range(2):  # the second finds nothing that is still owed
        async with running(config(after), scripts={"p": answers}) as rig:
            await until(lambda: not rig.core.injections.terms)
            await rig.settled()
            expected = 0 if life else 2
            await until(partial(_has_injected, rig, expected))
            assert len(_injected(rig)) == expected
            assert (await rig.core.store.load()).injection_terms == {}
            if mode == "direct" and not life:
                await rig.ended(*(id_of_result("src", session) for session in "ab"))
                assert rig.p.prompts == ["re: find", "re: find"]
            if mode == "next" and life:
                asked = await rig.submit("ask", session_id="b")
                assert await prompt_of(rig, asked) == "re: find\n\nask"
                assert rig.core.injections.ids() == [id_of_result("src", "a")]


async def test_a_prompt_recovered_with_what_is_owed_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after, one_at_a_time = tmp_path / "after", {"max_concurrency": 1}
    with monkeypatch.context() as patch:
        patch.setattr(Injector, "_deliver", never)
        async with running(config(tmp_path, engine=one_at_a_time), scripts={"p": held}) as rig:
            await rig.submit("find", request_id="src", injection_config=BOTH)
            (up,) = await rig.calls(1)
            waits = await rig.submit("ask", session_id="b")
            rig.core.draining = True
            up.go.set()
            await rig.ended("src")
            await as_killed(rig, after)
    async with running(config(after)) as rig:
        assert await prompt_of(rig, waits) == "re: find\n\nask"


async def test_what_is_sent_was_bound_on_disk_before(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        reply = await rig.emit("injection:inject", session_id="a", content="one")
        found: list[Injection] = []

        async def looks(up: Upstream) -> str:
            found.extend(await rig.core.store.injections(reply["injection_ids"]))
            return "seen"

        rig.p.script = looks
        asked = await rig.submit("ask", session_id="a")
        await rig.ended(asked)
        assert [(each.state, each.request_id) for each in found] == [("bound", asked)]


async def test_a_kill_under_a_prompt_sends_the_same_text_again(tmp_path: Path) -> None:
    after = tmp_path / "after"
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        await rig.emit("injection:inject", session_id="a", content="one")
        asked = await rig.submit("ask", session_id="a")
        (up,) = await rig.calls(1)
        await rig.emit("injection:inject", session_id="a", content="two")
        await as_killed(rig, after)
        up.go.set()
        await rig.ended(asked)
    async with running(config(after), scripts={"p": held}) as rig:
        (up,) = await rig.calls(1)
        assert (up.prompt, rig.core.injections.bound) == ("one\n\nask", 1)
        await rig.emit("completion:cancel", request_id=asked)
        behind = await rig.submit("next", session_id="a")
        (await rig.calls(2))[-1].go.set()
        assert await prompt_of(rig, behind) == "one\n\ntwo\n\nnext"


async def test_a_prompt_that_was_sent_without_any_is_sent_again_without(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        asked = await rig.submit("ask", session_id="a")
        await rig.calls(1)
        await rig.emit("injection:inject", session_id="a", content="late")
    async with running(config(tmp_path)) as rig:
        assert await prompt_of(rig, asked) == "ask"
        behind = await rig.submit("next", session_id="a", history="none")
        assert await prompt_of(rig, behind) == "late\n\nnext"


async def test_the_end_of_the_engine_waits_for_what_is_on_its_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inject, begun = Injector.inject, asyncio.Event()

    async def slow(self: Injector, source: Source) -> Delivery:
        begun.set()
        await asyncio.sleep(0.05)
        return await inject(self, source)

    monkeypatch.setattr(Injector, "inject", slow)
    async with running(config(tmp_path)) as rig:
        await rig.submit("find", request_id="src", injection_config=BOTH)
        await begun.wait()
    async with running(config(tmp_path)) as rig:
        status = await rig.emit("injection:status")
        assert (status["pending"], status["owed"]) == (2, 0)


async def test_what_cannot_go_now_goes_on_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refusing(self: Intake, specs: object, writes: object) -> None:
        raise NotReady("nothing was accepted: the disk is full")

    async with running(config(tmp_path)) as rig:
        (one,) = (await rig.emit("injection:inject", session_id="a", content="x"))["injection_ids"]
        with monkeypatch.context() as patch:
            patch.setattr(Intake, "own", refusing)
            reply = await rig.emit("injection:execute", injection_id=one)
        assert reply["code"] == "not_ready"
        assert rig.core.injections.ids("a") == [one]
        asked = await rig.submit("ask", session_id="a")
        assert await prompt_of(rig, asked) == "x\n\nask"


async def test_what_waits_and_what_is_queued_survives_in_its_order(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock) as rig:
        for content in "321":
            await rig.emit("injection:inject", session_id="a", content=content)
        await rig.emit("injection:inject", session_id="a", content="short", ttl_s=60)
        await rig.emit("injection:queue", request_id="r", injection_config=BOTH)
    async with running(config(tmp_path), clock=clock) as rig:
        status = await rig.emit("injection:status")
        assert (status["pending"], status["queued_terms"]) == (4, 1)
        rig.advance(61)
        await until(lambda: rig.core.injections.pending == 3)
        asked = await rig.submit("ask", session_id="a")
        assert await prompt_of(rig, asked) == "3\n\n2\n\n1\n\nask"
        await rig.ended(await rig.submit("find", request_id="r"))
        await until(lambda: len(rig.events("injection:stored", "r")) == 2)


async def test_without_resuming_what_is_owed_stays_owed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Injector, "_deliver", never)
        async with running(config(tmp_path)) as rig:
            await rig.ended(await rig.submit("find", request_id="src", injection_config=BOTH))
    async with running(config(tmp_path), resume=False) as rig:
        status = await rig.emit("injection:status")
        assert (status["owed"], status["pending"]) == (1, 0)
    async with running(config(tmp_path)) as rig:
        await until(lambda: rig.core.injections.pending == 2)


async def test_an_ending_engine_leaves_a_direct_one_to_the_next(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        await rig.submit(
            "find", request_id="src", session_id="a", injection_config={"mode": "direct"}
        )
        (up,) = await rig.calls(1)
        rig.core.draining = True
        up.go.set()
        await rig.ended("src")
    async with running(config(tmp_path)) as rig:
        await rig.ended(id_of_result("src", "a"))
        assert rig.p.prompts == ["re: find"]


async def test_a_disk_that_refuses_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(injector, "RETRY_S", 0.01)
    own, refusals = Intake.own, 2

    async def refusing(self: Intake, specs: Any, writes: Any) -> None:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise NotReady("nothing was accepted: the disk is full")
        await own(self, specs, writes)

    monkeypatch.setattr(Intake, "own", refusing)
    async with running(config(tmp_path)) as rig:
        await rig.submit(
            "find", request_id="src", session_id="a", injection_config={"mode": "direct"}
        )
        await rig.ended("src", id_of_result("src", "a"))
        assert refusals == 0
        assert rig.p.prompts == ["find", "re: find"]
        await rig.settled()


async def test_an_answer_that_cannot_be_stored_injects_nothing_and_gives_back(
    tmp_path: Path,
) -> None:
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"x": deep}

    async def unstorable(spec: CallSpec, observer: CallObserver) -> CallResult:
        response: Mapping[str, Any] = deep
        return CallResult(response=response, text="x", usage=USED)

    async with running(config(tmp_path)) as rig:
        await rig.emit("injection:inject", session_id="a", content="one")
        call = rig.p.call
        rig.p.call = unstorable  # type: ignore[method-assign]
        failed = await rig.submit("ask", session_id="a", injection_config=BOTH)
        told = await rig.event("completion:error", failed)
        assert "cannot be stored" in told["error"]
        rig.p.call = call  # type: ignore[method-assign]
        asked = await rig.submit("ask", session_id="a")
        assert await prompt_of(rig, asked) == "one\n\nask"
        assert rig.core.injections.terms == {}
        assert rig.core.injections._coming == {}


async def test_a_kill_under_load_loses_and_doubles_none(tmp_path: Path) -> None:
    def ask(number: int) -> dict[str, Any]:
        mode, target = ("direct", f"d{number % 3}") if number % 2 else ("next", "n")
        return {
            "prompt": str(number),
            "request_id": f"src-{number}",
            "injection_config": {"mode": mode, "target_sessions": [target]},
        }

    requests = [ask(number) for number in range(80)]
    done = 0
    async with killed(tmp_path, requests, []) as lines:
        async for line in lines:
            done += "done" in line
            if done >= 30:
                break
    async with running(config(tmp_path)) as rig:
        await until(lambda: not rig.left_over() and not rig.core.injections.terms)
        await rig.core.store.write()
        counts = await rig.core.store.counts()
        results = (await rig.emit("completion:results"))["results"]
        ended = [each["request_id"] for each in results]
        sources = [each for each in ended if each.startswith("src-")]
        direct = {
            id_of_result(each, f"d{int(each[4:]) % 3}") for each in sources if int(each[4:]) % 2
        }
        assert len(ended) == len(set(ended)) == counts[State.COMPLETED]
        assert set(ended) - set(sources) == direct
        waiting = {id_of_result(each, "n") for each in sources if not int(each[4:]) % 2}
        assert set(rig.core.injections.ids("n")) == waiting
        assert rig.core.injections.pending == len(waiting)
        asked = await rig.submit("ask", session_id="n")
        parts = (await prompt_of(rig, asked)).split("\n\n")
        assert sorted(parts) == sorted(
            ["ask", *(f"re: {each[4:]}" for each in sources if not int(each[4:]) % 2)]
        )


# --- checkpoint ----------------------------------------------------------------------------------


async def test_a_checkpoint_goes_into_an_empty_database(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    async with running(config(tmp_path / "one"), scripts={"p": held}) as rig:
        await rig.emit("injection:inject", session_id="a", content="bound")
        await rig.submit("ask", session_id="a")
        await rig.calls(1)
        await rig.emit("injection:inject", session_id="a", content="waits", position="prepend")
        await rig.emit("injection:inject", session_id="b", content="other")
        await rig.emit("injection:queue", request_id="later", injection_config=BOTH)
        checkpoint = await rig.emit("checkpoint:collect")
    collected = checkpoint["injections"]
    assert [each["content"] for each in collected["pending"]] == ["bound", "waits", "other"]
    async with running(config(tmp_path / "two"), scripts={"p": held}) as rig:
        answer = await rig.engine.emit("checkpoint:restore", checkpoint)
        assert (answer["details"]["restored"]["injections"], answer["skipped"]) == (4, [])
        again = await rig.engine.emit("checkpoint:restore", checkpoint)
        assert again["details"]["restored"]["injections"] == 0
        assert len([each for each in again["details"]["skipped"] if "injection" in each]) == 4
        (up,) = await rig.calls(1)
        assert up.prompt == "bound\n\nask"
        assert rig.core.injections.pending == 2
        checkpoint["injections"] = {"pending": [{"injection_id": "x"}]}
        refused = await rig.engine.emit("checkpoint:restore", checkpoint)
        assert (refused["code"], "injections" in refused["error"]) == ("invalid_request", True)
    async with running(config(tmp_path / "two")) as rig:
        status = await rig.emit("injection:status")
        assert (status["pending"], status["bound"], status["queued_terms"]) == (2, 1, 1)
