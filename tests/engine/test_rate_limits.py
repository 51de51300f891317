"""Limits of requests and tokens a minute, in a whole engine: who waits, why, until when."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import State
from ksi_tui.engine.rate_limit import DEFAULT_REPLY_TOKENS
from ksi_tui.engine.views import Phase
from tests.engine.engine_fixtures import (
    T0,
    HandClock,
    answers,
    config,
    fails,
    held,
    provider,
    running,
    until,
)


async def test_the_next_call_waits_for_the_window_and_goes_exactly_then(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, providers=[provider("p", rpm=2)])
    async with running(settings, clock=clock) as rig:
        first = await rig.submit("one")
        await rig.ended(first)
        clock.now += 10
        second = await rig.submit("two")
        await rig.ended(second)
        third = await rig.submit("three")
        status = await rig.status(third)
        assert status["why"] == "p at 2 of 2 requests a minute, 50 s left"
        assert status["cause"]["kind"] == "rate"
        assert status["cause"]["target"] == "p"
        assert status["cause"]["until"].startswith("2027-01-15T08:01:00")
        assert status["if_nobody_acts"] == "in 50 s p may be called again"
        assert rig.core.alarms.next_at() == T0 + 60
        rig.advance(49.9)
        await asyncio.sleep(0)
        assert len(rig.p.calls) == 2
        rig.advance(0.1)
        await rig.ended(third)


async def test_asking_what_will_happen_lifts_no_limit(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=[provider("p", rpm=1, tpm=9000)])
    async with running(settings, clock=HandClock()) as rig:
        await rig.ended(await rig.submit("one"))
        second = await rig.submit("two")
        for _ in range(2):
            assert (await rig.status(second))["if_nobody_acts"] == "in 60 s p may be called again"
        rig.core.queue.provider_freed()
        third = await rig.submit("three")
        assert await rig.why(third) == "p at 1 of 1 requests a minute, 60 s left"
        assert rig.p.prompts == ["one"]


async def test_another_candidate_is_tried_first_and_the_record_says_why(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=[provider("p", rpm=1), provider("q", priority=2)])
    async with running(settings, clock=HandClock()) as rig:
        await rig.ended(await rig.submit("one"))
        second = await rig.submit("two")
        await rig.ended(second)
        assert rig.providers["q"].prompts == ["two"]
        status = await rig.status(second)
        (attempt,) = status["attempts"]
        limited, taken = attempt["verdicts"]
        assert (limited["provider"], limited["kind"]) == ("p", "limited")
        assert limited["detail"] == "p at 1 of 1 requests a minute"
        assert (taken["provider"], taken["kind"]) == ("q", "taken")


async def test_the_status_tells_limits_and_what_is_used(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=[provider("p", rpm=5, tpm=9000), provider("q", "n*")])
    async with running(settings, clock=HandClock(), scripts={"p": held}) as rig:
        first = await rig.submit("x" * 400, max_tokens=500)
        (call,) = await rig.calls(1)
        reply = await rig.emit("completion:provider_status", provider="p")
        used = reply["limits"].pop("tpm_used")
        assert reply["limits"] == {"rpm": 5, "rpm_used": 1, "tpm": 9000}
        assert 600 <= used <= 610
        call.go.set()
        await rig.ended(first)
        reply = await rig.emit("completion:provider_status", provider="p")
        assert reply["limits"] == {"rpm": 5, "rpm_used": 1, "tpm": 9000, "tpm_used": 10}
        assert (await rig.emit("completion:provider_status", provider="q"))["limits"] is None


async def test_tokens_are_reserved_and_what_was_not_used_is_given_back(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=[provider("p", tpm=1500)])
    async with running(settings, clock=HandClock(), scripts={"p": held}) as rig:
        await rig.submit("one")
        (first,) = await rig.calls(1)
        second = await rig.submit("two")
        await until(lambda: rig.ticket(second).state is State.QUEUED)
        why = await rig.why(second)
        assert why.startswith("p at 1029 of 1500 tokens a minute, ")
        assert why.endswith(" needed, 60 s left")
        first.go.set()  # it used 10
        (_, other) = await rig.calls(2)
        other.go.set()
        await rig.ended(second)


async def test_a_refused_call_gives_all_of_its_tokens_back(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=[provider("p", tpm=1500)], retry={"max_attempts": 1})
    script = fails(ErrorKind.INVALID_REQUEST, status=400)
    async with running(settings, clock=HandClock(), scripts={"p": script}) as rig:
        await rig.ended(await rig.submit("one"))
        (entry,) = rig.core.providers.entries()
        assert entry.limit is not None
        assert entry.limit.used(T0) == (1, 0)


async def test_a_cancelled_call_of_which_nothing_is_known_keeps_its_reservation(
    tmp_path: Path,
) -> None:
    settings = config(tmp_path, providers=[provider("p", tpm=1500)])
    async with running(settings, clock=HandClock(), scripts={"p": held}) as rig:
        request = await rig.submit("one")
        await rig.calls(1)
        await rig.emit("completion:cancel", request_id=request)
        await rig.ended(request)
        await until(lambda: rig.left_over() == {})
        (entry,) = rig.core.providers.entries()
        assert entry.limit is not None
        calls, tokens = entry.limit.used(T0)
        assert calls == 1
        assert tokens > DEFAULT_REPLY_TOKENS


@pytest.mark.parametrize("most", [990, 1000], ids=["nearly all", "more than a minute has"])
async def test_who_waits_for_room_keeps_its_place_before_smaller_ones(
    tmp_path: Path, most: int
) -> None:
    clock = HandClock()
    settings = config(tmp_path, providers=[provider("p", tpm=1000)])
    async with running(settings, clock=clock) as rig:
        await rig.ended(await rig.submit("small", max_tokens=1))
        big = await rig.submit("big", max_tokens=most)
        await until(lambda: rig.ticket(big).needs and rig.ticket(big).run is None)
        small = await rig.submit("later", max_tokens=1)
        rig.advance(59.9)
        await asyncio.sleep(0)
        assert rig.p.prompts == ["small"]
        rig.advance(0.1)
        await rig.ended(big, small)
        assert rig.p.prompts == ["small", "big", "later"]


async def test_new_and_more_urgent_ones_do_not_keep_room_from_who_waits_for_all(
    tmp_path: Path,
) -> None:
    clock = HandClock()
    settings = config(tmp_path, providers=[provider("p", tpm=1000)])
    async with running(settings, clock=clock) as rig:
        await rig.ended(await rig.submit("small", max_tokens=1))
        big = await rig.submit("big", max_tokens=1000)
        await until(lambda: rig.ticket(big).needs and rig.ticket(big).run is None)
        rig.advance(59)
        urgent = [await rig.submit(f"urgent {n}", max_tokens=1, priority="high") for n in range(3)]
        rig.advance(1)
        await rig.ended(big, *urgent)
        assert rig.p.prompts[:2] == ["small", "big"]
        assert len(rig.p.prompts) == 5


async def test_no_room_is_kept_for_one_that_another_provider_answers(tmp_path: Path) -> None:
    settings = config(
        tmp_path, providers=[provider("p", tpm=1000), provider("q", "m-big", priority=2)]
    )
    async with running(settings, clock=HandClock()) as rig:
        await rig.ended(await rig.submit("small", max_tokens=1))
        await rig.ended(await rig.submit("big", model="m-big", max_tokens=1000))
        assert rig.providers["q"].prompts == ["big"]
        await rig.ended(await rig.submit("small again", max_tokens=1))
        assert rig.p.prompts == ["small", "small again"]


@pytest.mark.parametrize(
    "how", ["cancelled", "sent elsewhere", "answered elsewhere", "paused", "locked"]
)
async def test_no_room_is_kept_for_one_that_cannot_use_it(tmp_path: Path, how: str) -> None:
    other = provider("q", "m-big", priority=2, max_concurrency=1)
    settings = config(tmp_path, providers=[provider("p", tpm=1000), other])
    async with running(settings, clock=HandClock(), scripts={"q": held}) as rig:
        await rig.ended(await rig.submit("small", max_tokens=1))
        ahead = await rig.submit("fills q", model="m-big", max_tokens=1000)
        await rig.calls(1, "q")
        big = await rig.submit("big", model="m-big", max_tokens=1000)
        await until(lambda: rig.ticket(big).needs and rig.ticket(big).run is None)
        small = await rig.submit("small again", max_tokens=1)
        assert await rig.why(small) == "p at 10 of 1000 tokens a minute, 1005 needed, 60 s left"
        if how == "cancelled":
            await rig.emit("completion:cancel", request_id=big)
        elif how == "sent elsewhere":
            await rig.emit("completion:retry", request_id=big, avoid=["p"])
        elif how == "paused":
            await rig.emit("queue:pause", scope="session", id=big)
        elif how == "locked":
            await rig.emit("conversation:acquire_lock", session_id=big, agent_id="other")
        else:
            rig.providers["q"].calls[0].go.set()
            await rig.calls(2, "q")
        await rig.ended(small)
        assert rig.p.prompts == ["small", "small again"]
        await rig.emit("completion:cancel", request_ids=[ahead, big])


async def test_the_deadline_of_one_turned_away_for_its_tokens_has_not_begun(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, providers=[provider("p", tpm=1000)])
    async with running(settings, clock=clock) as rig:
        await rig.ended(await rig.submit("small", max_tokens=1))
        alike = [await rig.submit("big", max_tokens=990, timeout_s=12) for _ in range(2)]
        await until(lambda: rig.ticket(alike[0]).needs and rig.ticket(alike[0]).run is None)
        rig.advance(59)
        await rig.core.store.write()
        found = await rig.core.store.unfinished(alike)
        assert [each.started_at for each in found] == [None, None]
        for each in alike:
            status = await rig.status(each)
            assert (status["status"], status["started_at"]) == ("queued", None)
            assert status["if_nobody_acts"] == "in 1 s p may be called again"
        rig.advance(1)
        await rig.ended(alike[0])
        assert (await rig.status(alike[0]))["status"] == "completed"


async def test_an_attempt_laid_by_keeps_its_place_while_it_waits_for_room(tmp_path: Path) -> None:
    clock = HandClock()
    limited = provider("q", tpm=1000, priority=2)
    settings = config(tmp_path, providers=[provider("p", "m-one"), limited])
    scripts = {"p": fails(ErrorKind.MODEL_NOT_FOUND, status=404), "q": answers}
    async with running(settings, clock=clock, scripts=scripts) as rig:
        await rig.ended(await rig.submit("small", model="m-two", max_tokens=1))
        older = await rig.submit("older", model="m-two", max_tokens=990)
        await until(lambda: rig.ticket(older).needs and rig.ticket(older).run is None)
        big = await rig.submit("big", model="m-one", max_tokens=989)
        await until(lambda: rig.ticket(big).laid_by)
        rig.advance(1)
        later = await rig.submit("later", model="m-two", max_tokens=500)
        rig.advance(59)
        await rig.ended(older)
        rig.advance(60)
        await rig.ended(big, later)
        assert rig.providers["q"].prompts == ["small", "older", "big", "later"]


async def test_a_killed_engine_does_not_forget_what_it_admitted(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, providers=[provider("p", rpm=2)])
    seen: list[int] = []

    async def look(_: object) -> str:
        """Read, while the call runs, what another process would find on disk."""
        with closing(sqlite3.connect(tmp_path / "ksi.db")) as raw:
            seen.append(raw.execute("SELECT COUNT(*) FROM admissions").fetchone()[0])
        return "ok"

    async with running(settings, clock=clock, scripts={"p": look}) as rig:
        await rig.ended(await rig.submit("one"))
        await rig.ended(await rig.submit("two"))
    assert seen == [1, 2]
    clock.now += 59
    async with running(settings, clock=clock, scripts={"p": answers}) as rig:
        third = await rig.submit("three")
        assert await rig.why(third) == "p at 2 of 2 requests a minute, 1 s left"
        rig.advance(1)
        await rig.ended(third)
        await rig.core.store.write()
    with closing(sqlite3.connect(tmp_path / "ksi.db")) as raw:
        assert raw.execute("SELECT COUNT(*) FROM admissions").fetchone() == (2,)


async def test_a_provider_without_limits_writes_nothing_more(tmp_path: Path) -> None:
    async with running(config(tmp_path), clock=HandClock()) as rig:
        await rig.ended(await rig.submit("one"))
        await rig.core.store.write()
        with closing(sqlite3.connect(tmp_path / "ksi.db")) as raw:
            assert raw.execute("SELECT COUNT(*) FROM admissions").fetchone() == (0,)


async def test_a_limit_is_never_exceeded_by_many_at_once(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, providers=[provider("p", rpm=3)])
    async with running(settings, clock=clock) as rig:
        requests = [await rig.submit(f"n{number}") for number in range(8)]
        for batch in (3, 6, 8):
            await rig.ended(*requests[:batch])
            await until(lambda: rig.core.queue.running_count == 0)
            assert len(rig.p.calls) == batch
            rig.advance(60)
        await rig.ended(*requests)
        assert rig.p.prompts == [f"n{number}" for number in range(8)]


async def test_the_screen_says_that_a_limit_is_reached(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path, providers=[provider("p", rpm=1)]), clock=clock) as rig:
        await rig.ended(await rig.submit("one"))
        (view,) = rig.engine.snapshot().providers
        assert view.now == "at 1 of 1 requests a minute; again in 60 s"
        waiting = await rig.submit("two")
        clock.now += 1
        (queue,) = rig.engine.snapshot().queues
        assert (queue.phase, queue.head_id) == (Phase.WAITING, waiting)
        assert queue.why == "p at 1 of 1 requests a minute, 59 s left"
        clock.now += 59
        (view,) = rig.engine.snapshot().providers
        assert view.now == ""


async def test_who_finds_no_place_in_the_window_has_not_begun(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=[provider("p", rpm=2)])
    async with running(settings, clock=HandClock(), scripts={"p": held}) as rig:
        ids = [await rig.submit(f"n{number}") for number in range(6)]
        await rig.calls(2)
        waiting = [rig.ticket(request_id) for request_id in ids[2:]]
        assert [(t.state, t.started_at) for t in waiting] == [(State.QUEUED, None)] * 4
        assert rig.core.counts[State.PROCESSING] == 2
        entry = rig.core.providers.get("p")
        assert entry is not None
        assert entry.limit is not None
        assert entry.limit.used(T0) == (2, 0)


async def test_a_call_that_is_not_made_gives_its_place_back(tmp_path: Path) -> None:
    settings = config(tmp_path, providers=[provider("p", rpm=1)])
    async with running(settings, clock=HandClock()) as rig:
        request_id = await rig.just_dispatched()
        assert (await rig.emit("completion:provider_status", provider="p"))["limits"][
            "rpm_used"
        ] == 1
        await rig.emit("completion:cancel", request_id=request_id)
        await rig.settled()
        assert rig.p.calls == []
        await rig.ended(await rig.submit("another"))
