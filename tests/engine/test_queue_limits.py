"""Backpressure, and which request is which."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ksi_tui.engine.errors import StoreUnavailable
from ksi_tui.engine.models import State
from tests.engine.engine_fixtures import config, held, running, until_turn

# --- limits --------------------------------------------------------------------------------


async def test_a_full_queue_refuses_with_its_numbers_and_drops_nothing(tmp_path: Path) -> None:
    settings = config(tmp_path, engine={"max_queue_depth": 3, "max_concurrency": 1})
    async with running(settings, scripts={"p": held}) as rig:
        ids = [await rig.submit("runs")]
        await rig.calls(1)
        ids += [await rig.submit(f"{number}") for number in range(3)]
        refused = await rig.emit("completion:async", prompt="over", request_id="over")
        assert refused["code"] == "queue_full"
        assert refused["error"] == "3 requests wait, max_queue_depth is 3"
        assert (await rig.emit("completion:request_status", request_id="over"))["code"] == (
            "not_found"
        )
        for number in range(4):
            (await rig.calls(number + 1))[number].go.set()
        await rig.ended(*ids)
        assert "code" not in await rig.emit("completion:async", prompt="now")


async def test_a_full_session_refuses_only_its_own(tmp_path: Path) -> None:
    settings = config(tmp_path, engine={"max_session_depth": 2})
    async with running(settings, scripts={"p": held}) as rig:
        await rig.submit("runs", session_id="s")
        await rig.calls(1)
        for number in range(2):
            await rig.submit(f"{number}", session_id="s")
        refused = await rig.emit("completion:async", prompt="over", session_id="s")
        assert refused["code"] == "queue_full"
        assert refused["error"] == "2 requests wait in session s, max_session_depth is 2"
        assert "code" not in await rig.emit("completion:async", prompt="x", session_id="t")


async def test_limits_hold_for_what_is_still_on_its_way_to_disk(tmp_path: Path) -> None:
    settings = config(tmp_path, engine={"max_queue_depth": 5, "max_session_depth": 3})
    async with running(settings, scripts={"p": held}) as rig:
        replies = await asyncio.gather(
            *[rig.emit("completion:async", prompt="x", session_id="s") for _ in range(6)]
        )
        assert [reply.get("code") for reply in replies].count("queue_full") == 3
        replies = await asyncio.gather(
            *[rig.emit("completion:async", prompt="x", session_id=f"s{n}") for n in range(8)]
        )
        accepted = sum("code" not in reply for reply in replies)
        assert accepted <= 3


async def test_a_batch_accepts_what_fits_and_refuses_the_rest_in_place(tmp_path: Path) -> None:
    settings = config(tmp_path, engine={"max_queue_depth": 2, "max_concurrency": 1})
    async with running(settings, scripts={"p": held}) as rig:
        reply = await rig.emit(
            "completion:batch",
            requests=[
                {"prompt": "a", "request_id": "a"},
                {"prompt": ""},
                {"prompt": "b", "request_id": "b"},
                {"prompt": "c"},
                {"prompt": "again", "request_id": "a"},
            ],
        )
        codes = [each.get("code") for each in reply["accepted"]]
        assert codes == [None, "invalid_request", None, "queue_full", None]
        assert reply["accepted"][4]["duplicate"] is True
        assert reply["cursor"] == 0


async def test_what_is_injected_directly_into_many_is_within_the_limits(tmp_path: Path) -> None:
    async with running(config(tmp_path, engine={"max_queue_depth": 3})) as rig:
        await rig.emit("queue:pause", scope="engine")
        given = {"session_id": "s", "content": "x", "mode": "direct"}
        four = ["a", "b", "c", "d"]
        refused = await rig.emit("injection:inject", **given, target_sessions=four)
        assert refused["code"] == "queue_full"
        assert "session d: max_queue_depth is 3, found 3" in refused["error"]
        assert rig.core.queue.waiting_count == 0
        result = {"request_id": "other", "session_id": "s", "result": "x"}
        terms = {"mode": "direct", "target_sessions": four}
        reply = await rig.emit("injection:process_result", **result, injection_config=terms)
        assert (reply["queued"], reply["blocked"]) == (3, 1)
        assert (reply["reasons"][0]["bound"], rig.core.queue.waiting_count) == (
            "max_queue_depth",
            3,
        )


async def test_what_waits_to_be_injected_goes_on_waiting_at_the_limit(tmp_path: Path) -> None:
    async with running(config(tmp_path, engine={"max_session_depth": 1})) as rig:
        await rig.emit("queue:pause", scope="engine")
        stored = await rig.emit("injection:inject", session_id="s", content="x")
        (waits,) = stored["injection_ids"]
        in_the_way = await rig.submit("first", session_id="s")
        refused = await rig.emit("injection:execute", injection_id=waits)
        assert refused["code"] == "queue_full"
        assert "max_session_depth is 1, found 1" in refused["error"]
        assert (rig.core.queue.depth("s"), rig.core.injections.ids("s")) == (1, [waits])
        await rig.emit("completion:cancel", request_id=in_the_way)
        assert (await rig.emit("injection:execute", injection_id=waits))["status"] == "queued"


# --- identity ------------------------------------------------------------------------------


async def test_a_known_id_answers_its_state_and_does_not_run_again(tmp_path: Path) -> None:
    settings = config(tmp_path)
    async with running(settings, scripts={"p": held}) as rig:
        await rig.submit("one", request_id="job", session_id="s")
        (up,) = await rig.calls(1)
        again = await rig.emit("completion:async", prompt="two", request_id="job")
        assert (again["duplicate"], again["status"], again["session_id"]) == (
            True,
            "processing",
            "s",
        )
        up.go.set()
        await rig.ended("job")
        await rig.settled()
        done = await rig.emit("completion:async", prompt="three", request_id="job")
        assert (done["duplicate"], done["status"], done["queued"]) == (True, "completed", False)
        assert rig.p.prompts == ["one"]
    async with running(settings) as rig:
        later = await rig.emit("completion:async", prompt="four", request_id="job")
        assert (later["duplicate"], later["status"]) == (True, "completed")
        assert rig.p.prompts == []


async def test_those_that_have_ended_are_told_with_the_sessions_they_had(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        for number in (1, 2):
            await rig.submit("one", request_id=f"job-{number}", session_id=f"s-{number}")
            await rig.ended(f"job-{number}")
        await rig.settled()
        asked = [("job-2", "s-9"), ("job-1", None), ("new", None), ("job-2", None)]
        reply = await rig.emit(
            "completion:batch",
            requests=[
                {"prompt": "x", "request_id": request_id, "session_id": session_id}
                for request_id, session_id in asked
            ],
        )
        assert [each["session_id"] for each in reply["accepted"]] == ["s-2", "s-1", "new", "s-2"]


async def test_an_id_that_comes_many_times_at_once_runs_once(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        replies = await asyncio.gather(
            *[rig.emit("completion:async", prompt="x", request_id="job") for _ in range(10)]
        )
        assert sum(not reply.get("duplicate") for reply in replies) == 1
        assert {reply["request_id"] for reply in replies} == {"job"}
        assert {reply["session_id"] for reply in replies} == {"job"}
        (up,) = await rig.calls(1)
        up.go.set()
        await rig.ended("job")
        await rig.settled()
        assert len(rig.p.calls) == 1


async def test_no_twin_is_told_that_it_is_queued_when_nothing_was_written_down(
    tmp_path: Path,
) -> None:
    async with running(config(tmp_path)) as rig:
        full: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        write = rig.core.store.write
        rig.core.store.write = lambda *_: full  # type: ignore[method-assign]
        same = {"prompt": "x", "request_id": "job"}
        asked = asyncio.gather(*[rig.emit("completion:async", **same) for _ in range(3)])
        await until_turn(lambda: "job" in rig.core.entering)
        late = asyncio.create_task(rig.emit("completion:async", **same))
        full.set_exception(StoreUnavailable("the disk is full"))
        rig.core.store.write = write  # type: ignore[method-assign]
        replies = [*await asked, await late]
        refused = [reply for reply in replies if reply.get("code") == "not_ready"]
        assert "the disk is full" in refused[0]["error"]
        # Whoever came to the door after the failure is accepted, once, and known from then on.
        assert sum("code" not in r and "duplicate" not in r for r in replies) == 1
        await rig.ended("job")
        await rig.settled()
        assert len(rig.p.calls) == 1


async def test_whoever_submits_may_give_up_waiting_and_the_request_still_runs_once(
    tmp_path: Path,
) -> None:
    async with running(config(tmp_path)) as rig:
        asked = asyncio.create_task(rig.emit("completion:async", prompt="x", request_id="job"))
        await until_turn(lambda: "job" in rig.core.entering)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        await rig.ended("job")
        await rig.settled()
        assert len(rig.p.calls) == 1


async def test_without_a_session_each_request_has_its_own(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        replies = [await rig.emit("completion:async", prompt=f"{n}") for n in range(5)]
        assert len({reply["session_id"] for reply in replies}) == 5
        await rig.calls(5)
        assert rig.p.most_open == 5


async def test_sessions_of_their_own_do_not_gather(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await rig.ended(*[await rig.submit(f"{number}") for number in range(20)])
        await rig.settled()
        assert len(rig.core.sessions) == 0


async def test_generated_ids_never_collide_with_given_ones(tmp_path: Path) -> None:
    settings = config(tmp_path)
    async with running(settings) as rig:
        given = ["r-1", "r-3", "r-007", "r-20"]
        for request_id in given:
            await rig.submit("given", request_id=request_id)
        ids = [await rig.submit("generated") for _ in range(5)]
        assert not set(ids) & set(given)
        assert len(set(ids)) == 5
        await rig.ended(*given, *ids)
    async with running(settings) as rig:
        assert await rig.submit("after a restart") not in {*given, *ids}


async def test_a_generated_id_never_names_a_session_that_somebody_else_named(
    tmp_path: Path,
) -> None:
    settings = config(tmp_path)
    async with running(settings) as rig:
        await rig.submit("named", session_id="r-3")
        for number in range(5):
            reply = await rig.emit("completion:async", prompt=f"{number}")
            assert reply["session_id"] == reply["request_id"] != "r-3"
    async with running(settings) as rig:
        reply = await rig.emit("completion:async", prompt="after a restart")
        assert reply["session_id"] != "r-3"


async def test_numbers_beyond_reason_do_not_move_the_counter(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        for request_id in ("r-" + "9" * 50, "r-x", "r-", "r-1.5", "x-7", "r-\u0663"):
            await rig.submit("given", request_id=request_id)
        assert await rig.submit("generated") == "r-1"


async def test_counts_follow_what_the_store_holds(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        first, second = await rig.submit("1", session_id="s"), await rig.submit("2", session_id="s")
        await rig.calls(1)
        assert rig.core.counts[State.PROCESSING] == 1
        assert rig.core.counts[State.QUEUED] == 1
        rig.p.calls[0].go.set()
        (await rig.calls(2))[1].go.set()
        await rig.ended(first, second)
        assert dict(rig.core.counts) == dict(await rig.core.store.counts())


# --- a session of its own ------------------------------------------------------------------


async def test_an_id_that_is_a_sessions_name_does_not_join_that_session(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await rig.ended(await rig.submit("theirs", session_id="x"))
        await rig.settled()
        mine = await rig.emit("completion:async", prompt="mine", request_id="x")
        await rig.ended("x")
        assert (mine["request_id"], mine["session_id"]) == ("x", "x~2")
        assert rig.p.calls[1].spec.history == []
        other = await rig.emit("completion:async", prompt="free", request_id="y")
        assert (other["request_id"], other["session_id"]) == ("y", "y")


async def test_it_does_not_join_one_that_ended_in_an_earlier_life_either(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await rig.ended(await rig.submit("theirs", session_id="x"))
    async with running(config(tmp_path)) as rig:
        reply = await rig.emit("completion:async", prompt="mine", request_id="x")
        assert reply["session_id"] != "x"
        await rig.ended("x")
        assert rig.p.calls[0].spec.history == []


async def test_nor_one_that_is_on_its_way_to_disk_or_only_locked(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        both = [{"prompt": "1", "session_id": "x"}, {"prompt": "2", "request_id": "x"}]
        first, second = (await rig.emit("completion:batch", requests=both))["accepted"]
        assert first["session_id"] == "x" != second["session_id"]
        await rig.emit("conversation:acquire_lock", session_id="r-7", agent_id="a1")
        ids = [await rig.submit(f"{number}") for number in range(8)]
        assert "r-7" in ids
        await rig.ended(*ids)


async def test_a_long_id_still_gets_a_session_that_can_be_asked_about(tmp_path: Path) -> None:
    name = "n" * 200
    async with running(config(tmp_path)) as rig:
        await rig.ended(await rig.submit("theirs", session_id=name))
        reply = await rig.emit("completion:async", prompt="mine", request_id=name)
        await rig.ended(name)
        status = await rig.emit("completion:session_status", session_id=reply["session_id"])
        assert [each["request_id"] for each in status["completions"]] == [name]
