"""The thin commands, as processes of their own, on a real engine behind its door."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.client import Snapshot, SnapshotQuery
from ksi_tui.door import stream
from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.views import Level, Verdict
from tests.engine.engine_fixtures import Rig, Upstream, answers, fails, held, in_turn, provider
from tests.remote.shell import Running, Shell
from tests.remote.stage import served, until
from tests.servers.forked import Template

HOSTILE = "\x1b]0;owned\x07\u202ex\x1b[31m"


@pytest.fixture
def shell(tmp_path: Path, template: Template | None) -> Shell:
    return Shell(tmp_path, template)


# --- no engine ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("submit", "x"),
        ("why", "r-1"),
        ("cancel", "r-1"),
        ("pause",),
        ("locks",),
        ("provider", "open", "p"),
        ("emit", "completion:status"),
        ("tail",),
        ("attach",),
    ],
    ids=lambda words: words[0],
)
async def test_without_an_engine_it_is_code_2_and_says_how_to_start_one(
    shell: Shell, words: tuple[str, ...]
) -> None:
    ended = await shell(*words)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"ksi-tui: no engine answers at {shell.folder}/ksi.db.sock")
    assert f"start one with: ksi-tui --config {shell.settings} --db " in ended.err
    assert ended.err.endswith(" serve\n")


# --- submit ---------------------------------------------------------------------------------------


async def test_submit_prints_the_id_or_the_reply_and_codes_tell_how_it_ended(
    shell: Shell, tmp_path: Path
) -> None:
    providers = [provider("p", "m*"), provider("bad", "bad*")]
    scripts = {"bad": fails(ErrorKind.CONTENT_POLICY, f"no{HOSTILE}")}
    async with served(tmp_path, providers=providers, scripts=scripts) as (rig, _):
        accepted = await shell("submit", "hello", "--session", "s1", "--agent", "a1", "--json")
        assert accepted.code == 0
        assert (accepted.json["session_id"], accepted.json["status"]) == ("s1", "queued")
        await rig.ended(accepted.json["request_id"])
        status = await rig.status(accepted.json["request_id"])
        assert (status["prompt"], status["agent_id"]) == ("hello", "a1")
        named = await shell(
            "submit", "-", "--id", "mine", "--priority", "low", given="two\nlines\n"
        )
        assert (named.code, named.out) == (0, "mine\n")
        assert (await rig.status("mine"))["prompt"] == "two\nlines"
        assert (await rig.status("mine"))["priority"] == "low"
        waited = await shell("submit", f"say{HOSTILE}", "--wait", "--system", "be brief")
        assert (waited.code, waited.out, waited.err) == (0, "re: say]0;ownedx[31m\n", "")
        whole = await shell("submit", "x", "--wait", "--json")
        assert (whole.json["status"], whole.json["text"], whole.json["provider"]) == (
            "completed",
            "re: x",
            "p",
        )
        failed = await shell("submit", "x", "--wait", "--model", "bad-1")
        assert (failed.code, failed.out) == (1, "")
        assert failed.err.endswith("failed: content_policy: no]0;ownedx[31m\n")
        nobody = await shell("submit", "x", "--model", "zzz")
        assert (nobody.code, "no provider serves the model 'zzz'" in nobody.err) == (1, True)
        wrong = await shell("submit", "x", "--session", "")
        assert (wrong.code, "session_id" in wrong.err) == (2, True)
        both = await shell("submit", "x", "--stream", "--json")
        assert both.code == 2


@pytest.mark.parametrize("wait", [(), ("--wait",)], ids=["goes on", "waits"])
async def test_submit_says_that_a_name_is_that_of_an_earlier_request(
    shell: Shell, tmp_path: Path, wait: tuple[str, ...]
) -> None:
    async with served(tmp_path) as (rig, _):
        first = await shell("submit", "one", "--id", "mine", "--wait")
        assert (first.code, first.out, first.err) == (0, "re: one\n", "")
        again = await shell("submit", "other", "--id", "mine", *wait)
        assert again.code == 0
        assert again.out == ("re: one\n" if wait else "mine\n")
        assert again.err.startswith("ksi-tui: mine was there before: ")
        assert rig.p.prompts == ["one"]


async def test_submit_streams_what_comes(shell: Shell, tmp_path: Path) -> None:
    async with (
        served(tmp_path, scripts={"p": held}) as (rig, _),
        shell.started("submit", "x", "--stream") as process,
    ):
        (up,) = await rig.calls(1)
        up.say("one line\n")
        assert await process.line() == "one line\n"
        up.say("and \x1b[31man end")
        up.answer = "one line\nand \x1b[31man end."
        up.go.set()
        ended = await process.end()
        assert (ended.code, ended.out, ended.err) == (0, "and [31man end.\n", "")


async def test_submit_streams_only_the_answer_that_counts_after_a_call_broke_off(
    shell: Shell, tmp_path: Path
) -> None:
    async def breaks(up: Upstream) -> str:
        up.say("half\nof it\r")
        await up.go.wait()
        return await fails(ErrorKind.NETWORK_ERROR)(up)

    async def talks(up: Upstream) -> str:
        up.say("all\r")
        up.say("\nof it")
        return "all\r\nof it!"

    async with (
        served(tmp_path, scripts={"p": in_turn(breaks, talks)}) as (rig, _),
        shell.started("submit", "x", "--stream") as process,
    ):
        (up,) = await rig.calls(1)
        assert await process.line() == "half\n"
        up.go.set()
        ended = await process.end()
        assert (ended.code, ended.out) == (0, "of it\nall\nof it!\n")
        assert ended.err.endswith("the call broke off; the answer begins again\n")


async def test_submit_that_waits_outlives_the_engine_that_took_it(
    shell: Shell, tmp_path: Path
) -> None:
    async with shell_waits(shell, tmp_path) as process:
        alone = await process.complaint()  # told while no engine runs
        async with served(tmp_path, scripts={"p": answers}):
            ended = await process.end()
        assert (ended.code, ended.out) == (0, "re: x\n")
        assert "no connection" in alone
        assert "the engine is back" in ended.err


@asynccontextmanager
async def shell_waits(shell: Shell, folder: Path) -> AsyncIterator[Running]:
    async with served(folder, scripts={"p": held}) as (rig, _):
        started = shell.started("submit", "x", "--wait")
        process = await started.__aenter__()
        await rig.calls(1)
    try:
        yield process
    finally:
        await started.__aexit__(None, None, None)


async def test_ctrl_c_ends_the_waiting_and_not_the_request(shell: Shell, tmp_path: Path) -> None:
    async with served(tmp_path, scripts={"p": held}) as (rig, _):
        async with shell.started("submit", "x", "--wait", "--id", "mine") as process:
            (up,) = await rig.calls(1)
            process.send_signal(signal.SIGINT)
            assert (await process.end()).code == 130
        up.go.set()
        await rig.ended("mine")
        assert (await rig.status("mine"))["status"] == "completed"


# --- looking --------------------------------------------------------------------------------------


async def blocked(rig: Rig) -> None:
    """`r-b` waits for the lock that a7 holds while its own request runs."""
    await rig.emit("conversation:acquire_lock", session_id="s", agent_id="a7", timeout_s=600)
    await rig.submit("runs", request_id="r-a", session_id="other", agent_id="a7")
    await rig.submit("waits", request_id="r-b", session_id="s", agent_id="a8")


async def test_why_and_locks(shell: Shell, tmp_path: Path) -> None:
    async with served(tmp_path, scripts={"p": held}) as (rig, _):
        empty = await shell("locks")
        assert (empty.code, empty.out) == (0, "no conversation is locked\n")
        await blocked(rig)
        why = await shell("why", "r-b")
        assert why.code == 0
        assert why.out.startswith("r-b  queued in session s: lock held by a7")
        for part in ("root: ", "chain:\n", "if nobody acts: ", "what frees it"):
            assert part in why.out
        told = (await shell("why", "r-b", "--json")).json
        assert (told["cause"]["kind"], told["chain"][0]["request_id"]) == ("lock", "r-b")
        assert any(remedy["also_hits"] for remedy in told["remedies"])
        assert any(remedy["undo"] for remedy in told["remedies"])
        for remedy in told["remedies"]:
            (row,) = [
                each for each in why.out.splitlines() if each.startswith(f"  {remedy['what']}")
            ]
            assert (f"; also hits: {remedy['also_hits']}" in row) == bool(remedy["also_hits"])
            assert (f"; undo: {remedy['undo']}" in row) == bool(remedy["undo"])
        locks = await shell("locks")
        heading, row = locks.out.splitlines()
        assert heading.split()[:3] == ["SESSION", "HOLDER", "LEFT"]
        assert row.split()[:2] == ["s", "a7"]
        held_now = (await shell("locks", "--json")).json
        assert held_now["total"] == 1
        assert held_now["locks"][0]["waiting"] == 1
        none = await shell("why", "r-zzz")
        assert (none.code, none.out) == (1, "")
        assert "no request 'r-zzz'" in none.err
        done = await rig.submit(session_id="third", request_id="done")
        (await rig.calls(2))[-1].go.set()
        await rig.ended(done)
        assert "it waits for nothing" in (await shell("why", "done")).out


# --- acting ---------------------------------------------------------------------------------------


async def test_cancel_and_retry(shell: Shell, tmp_path: Path) -> None:
    async with served(tmp_path, scripts={"p": held}) as (rig, _):
        for n in range(4):
            await rig.submit(request_id=f"r{n}", session_id="s")
        await rig.calls(1)
        one = await shell("cancel", "r0", "--reason", "too slow")
        assert (one.code, one.out) == (0, "r0  cancelled, was processing\n")
        assert [(await rig.status("r0"))[key] for key in ("by", "reason")] == ["op9", "too slow"]
        some = await shell("cancel", "r1", "r0", "zz")
        assert some.code == 1
        assert some.out == "r1  cancelled, was processing\nr0  unchanged: cancelled already\n"
        assert "zz: no request 'zz'" in some.err
        rest = await shell("cancel", "--session", "s", "--json")
        assert [each["request_id"] for each in rest.json["cancelled"]] == ["r2", "r3"]
        again = await shell("retry", "r0", "r1")
        assert (again.code, again.out.count("retried, was cancelled")) == (0, 2)
        no_way = await shell("retry", "r2", "--avoid", "nobody")
        assert (no_way.code, "nobody" in no_way.err) == (1, True)
        done = await shell("retry", "zz")
        assert (done.code, "no request 'zz'" in done.err) == (1, True)
        assert (await shell("cancel")).code == 2
        assert (await shell("cancel", "r0", "--session", "s")).code == 2


async def test_what_waits_for_the_disk_says_so(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(tmp_path, scripts={"p": held}) as (rig, _):
        await rig.submit(request_id="r-a")
        free, emit, snapshot = asyncio.Event(), rig.engine.emit, rig.engine.snapshot
        full = Verdict(level=Level.READ_ONLY, cause="database: cannot write: the disk is full")

        async def waits(name: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
            if name == "completion:cancel":
                await free.wait()
            return await emit(name, data)

        def looks(query: SnapshotQuery | None = None) -> Snapshot:
            return dataclasses.replace(snapshot(query), verdict=full)

        monkeypatch.setattr(rig.engine, "emit", waits)
        monkeypatch.setattr(rig.engine, "snapshot", looks)
        async with shell.started("cancel", "r-a") as running:
            told = await running.complaint()
            assert told == "ksi-tui: the engine waits: database: cannot write: the disk is full\n"
            free.set()
            assert (await running.end()).code == 0


async def test_pause_and_resume(shell: Shell, tmp_path: Path) -> None:
    async with served(tmp_path) as (rig, _):
        paused = await shell("pause", "--reason", f"deploy{HOSTILE}")
        assert paused.code == 0
        assert paused.out.startswith("engine paused; paused now: engine (paused by op9: deploy")
        assert "\x1b" not in paused.out
        request_id = await rig.submit(session_id="s")
        assert "paused by op9: deploy" in await rig.why(request_id)
        again = await shell("pause")
        assert again.out.startswith("engine was paused already; ")
        more = await shell("pause", "session", "s", "--json")
        assert [each["scope"] for each in more.json["paused"]] == ["engine", "session"]
        for words in (("resume",), ("resume", "session", "s")):
            assert (await shell(*words)).code == 0
        await rig.ended(request_id)
        last = await shell("resume")
        assert last.out == "engine was not paused; paused now: nothing\n"
        assert (await shell("pause", "session")).code == 2
        assert (await shell("pause", "provider", "zz")).code == 1


async def test_provider(shell: Shell, tmp_path: Path) -> None:
    async with served(tmp_path) as (rig, _):
        opened = await shell("provider", "open", "p", "--reason", "maintenance", "--for", "5m")
        assert opened.code == 0
        assert opened.out.startswith("p: open, forced by op9: maintenance, until ")
        circuit = (await rig.emit("completion:provider_status", provider="p"))["circuit_breaker"]
        assert (circuit["forced"], circuit["forced_by"]) == ("open", "op9")
        closed = await shell("provider", "close", "p", "--json")
        assert closed.json["circuit_breaker"]["forced"] == "closed"
        assert (await shell("provider", "reset", "p")).out == "p: closed\n"
        probe = await shell("provider", "probe", "p")
        assert (probe.code, probe.out) == (1, "")
        assert (await shell("provider", "open", "zz")).code == 1
        assert (await shell("provider", "open", "p", "--for", "soon")).code == 2


async def test_emit(shell: Shell, tmp_path: Path) -> None:
    async with served(tmp_path) as (rig, _):
        status = await shell("emit", "completion:status", "{}")
        assert (status.code, status.json["service_ready"]) == (0, True)
        given = await shell("emit", "completion:async", "-", given='{"prompt": "x"}')
        await rig.ended(given.json["request_id"])
        unknown = await shell("emit", "no:such")
        assert (unknown.code, unknown.json["code"]) == (2, "invalid_request")
        missing = await shell("emit", "completion:request_status", '{"request_id": "zz"}')
        assert (missing.code, missing.json["code"]) == (1, "not_found")
        no_text = await shell("emit", os.fsdecode(b"a\xff"))
        assert (no_text.code, no_text.json["code"]) == (2, "invalid_request")
        assert no_text.err == "ksi-tui: the event's name is not UTF-8 text\n"
        for bad in ("{", "[1]"):
            wrong = await shell("emit", "completion:status", bad)
            assert (wrong.code, wrong.out) == (2, "")


async def test_tail(shell: Shell, tmp_path: Path) -> None:
    async with served(tmp_path) as (rig, _):
        async with shell.started("tail", "completion:*", "--count", "3") as process:
            await listened(rig, 3)
            await rig.submit(request_id="one", session_id="s")
            ended = await process.end()
            lines = ended.out.splitlines()
            assert ended.code == 0
            assert lines[0].split()[1] == "completion:queued"
            assert len(lines) == 3
            assert "request_id=one" in lines[0]
        await listened(rig, 2)
        async with shell.started("tail", "queue:*", "--count", "1") as process:
            await listened(rig, 3)
            await rig.emit("queue:pause", scope="session", id="s1", reason=HOSTILE)
            (line,) = (await process.end()).out.splitlines()
            assert "reason=]0;ownedx[31m" in line
        async with shell.started("tail", "--json") as process:
            first = json.loads(await process.line())
            assert first["name"] == "engine:snapshot"
            await rig.emit("queue:pause", scope="session", id="s", reason="\x1b[31m")
            told = await process.line()
            assert json.loads(told)["data"]["reason"] == "\x1b[31m"
            assert "\x1b" not in told
            process.send_signal(signal.SIGTERM)
            assert (await process.end()).code == 130


async def test_a_pattern_that_fits_nothing_is_refused_at_once(shell: Shell) -> None:
    for pattern in ("", "x" * 209):
        ended = await shell("tail", pattern)
        assert (ended.code, "a pattern has 1 to 208 characters" in ended.err) == (2, True)


async def test_what_the_engine_refuses_to_tell_is_not_waited_for(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MOST_PATTERN", 20)  # as an engine of another version may have it
    async with served(tmp_path) as (rig, _):
        ended = await shell("tail", "completion:" + "x" * 10)
        assert (ended.code, ended.out) == (2, "")
        assert ended.err == ("ksi-tui: pattern has 1 to 20 characters, such as completion:*\n")
        ended = await shell("submit", "hello", "--id", "x" * 13, "--wait")
        assert (ended.code, ended.out) == (2, "")
        assert ended.err == (
            "ksi-tui: xxxxxxxxxxxxx was accepted, and cannot be followed: pattern has 1 to 20"
            " characters, such as completion:*\n"
        )
        await rig.ended("x" * 13)


async def test_a_pattern_that_is_no_text_is_refused(shell: Shell, tmp_path: Path) -> None:
    async with served(tmp_path):
        ended = await shell("tail", os.fsdecode(b"a\xff"))
        assert (ended.code, ended.err) == (2, "ksi-tui: the pattern is not UTF-8 text\n")


async def test_a_request_with_the_longest_id_is_followed(shell: Shell, tmp_path: Path) -> None:
    async with served(tmp_path):
        for more in (["--wait"], ["--stream"]):
            ended = await shell("submit", "hello", "--id", more[0].rjust(200, "x"), *more)
            assert (ended.code, ended.out, ended.err) == (0, "re: hello\n", "")


async def listened(rig: Rig, count: int) -> None:
    """Wait until so many listen to the engine: the rig itself, the door's memory, and who comes."""
    await until(lambda: len(rig.engine._router._subscriptions) == count)
