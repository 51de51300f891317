"""Conversation locks through the whole engine: who waits, who runs, and for how long."""

from __future__ import annotations

from pathlib import Path

from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import State
from tests.engine.engine_fixtures import (
    HandClock,
    Rig,
    config,
    fails,
    held,
    in_turn,
    running,
    until,
)

LOCK = {"timeout_s": 60}


async def lock(rig: Rig, agent: str = "a1", **data: object) -> dict[str, object]:
    return await rig.emit("conversation:acquire_lock", session_id="s", agent_id=agent, **data)


# --- by hand -------------------------------------------------------------------------------


async def test_others_wait_with_their_why_and_the_holder_runs(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock) as rig:
        granted = await lock(rig, timeout_s=41)
        assert granted == {
            "locked": True,
            "lock_holder": "a1",
            "expires_at": "2027-01-15T08:00:41.000Z",
            "extended": False,
        }
        mine = await rig.submit("mine", session_id="s", agent_id="a1")
        await rig.ended(mine)
        plain = await rig.submit("plain", session_id="s", agent_id="a2")
        nobody = await rig.submit("nobody", session_id="s")
        status = await rig.status(plain)
        assert (status["status"], status["why"]) == ("queued", "lock held by a1, 41 s left")
        assert (status["cause"]["kind"], status["cause"]["target"]) == ("lock", "a1")
        assert status["cause"]["until"] == "2027-01-15T08:00:41.000Z"
        assert "expires and it goes on" in status["if_nobody_acts"]
        assert await rig.why(nobody) == f"behind {plain} in its session"
        assert rig.core.queue.running_count == 0
        released = await rig.emit("conversation:release_lock", session_id="s", agent_id="a1")
        assert released == {"released": True}
        await rig.ended(plain, nobody)
        assert rig.p.prompts == ["mine", "plain", "nobody"]
        assert [e["agent_id"] for e in rig.events("conversation:locked")] == ["a1"]
        assert [e["reason"] for e in rig.events("conversation:unlocked")] == ["released"]


async def test_a_lock_of_another_session_is_none_of_theirs(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await lock(rig)
        await rig.ended(await rig.submit("x", session_id="t", agent_id="a2"))


async def test_the_same_holder_extends_and_others_are_denied(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock) as rig:
        await lock(rig, timeout_s=30)
        clock.now += 10
        extended = await lock(rig, timeout_s=30)
        assert (extended["extended"], extended["expires_at"]) == (True, "2027-01-15T08:00:40.000Z")
        denied = await lock(rig, "a2")
        assert (denied["locked"], denied["lock_holder"], denied["code"]) == (
            False,
            "a1",
            "lock_denied",
        )
        refused = await rig.emit("conversation:release_lock", session_id="s", agent_id="a2")
        assert refused["released"] is False
        assert "a1" in refused["reason"]
        assert rig.core.locks.get("s") is not None
        nothing = await rig.emit("conversation:release_lock", session_id="free", agent_id="a2")
        assert nothing["released"] is False


async def test_it_ends_on_time_and_whoever_waited_goes_on(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock) as rig:
        await lock(rig, timeout_s=20)
        request_id = await rig.submit("x", session_id="s")
        rig.advance(19.9)
        await rig.ended(await rig.submit("other"))
        assert await rig.why(request_id) == "lock held by a1, 0 s left"
        rig.advance(0.2)
        await rig.ended(request_id)
        assert [e["reason"] for e in rig.events("conversation:unlocked")] == ["expired"]
        assert len(rig.core.locks) == 0


async def test_its_end_is_kept_by_the_engines_own_timer(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await lock(rig, timeout_s=0.05)
        await rig.ended(await rig.submit("x", session_id="s"))


async def test_an_operator_forces_it_and_the_record_says_who(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await lock(rig)
        request_id = await rig.submit("x", session_id="s", agent_id="a2")
        forced = await rig.emit(
            "conversation:release_lock", session_id="s", force=True, by="op", reason="stuck"
        )
        assert forced == {"released": True, "reason": "forced"}
        await rig.ended(request_id)
        assert [e["reason"] for e in rig.events("conversation:unlocked")] == ["forced"]
    async with running(config(tmp_path)) as rig:
        assert rig.core.locks.get("s") is None


async def test_it_is_kept_across_a_restart_with_its_expiry(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock) as rig:
        await lock(rig, timeout_s=100)
        request_id = await rig.submit("x", session_id="s")
    clock.now += 60
    async with running(config(tmp_path), clock=clock) as rig:
        assert await rig.why(request_id) == "lock held by a1, 40 s left"
        rig.advance(41)
        await rig.ended(request_id)


async def test_one_that_ended_while_nobody_ran_is_gone_at_the_start(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock) as rig:
        await lock(rig, timeout_s=10)
        request_id = await rig.submit("x", session_id="s")
    clock.now += 11
    async with running(config(tmp_path), clock=clock) as rig:
        await rig.ended(request_id)
        assert len(rig.core.locks) == 0


async def test_a_lock_that_comes_before_dispatch_holds_a_ready_request(tmp_path: Path) -> None:
    settings = config(tmp_path, engine={"max_concurrency": 1})
    async with running(settings, scripts={"p": held}) as rig:
        await rig.submit("runs")
        (up,) = await rig.calls(1)
        waiting = await rig.submit("waits", session_id="s")
        assert await rig.why(waiting) == "engine at 1 of 1"
        await lock(rig)
        assert (await rig.why(waiting)).startswith("lock held by a1")
        up.go.set()
        await until(lambda: rig.core.queue.running_count == 0)
        assert len(rig.p.calls) == 1
        await rig.emit("conversation:release_lock", session_id="s", agent_id="a1")
        (await rig.calls(2))[1].go.set()
        await rig.ended(waiting)


# --- taken by requests ---------------------------------------------------------------------


async def test_a_request_takes_its_lock_at_dispatch_and_gives_it_back(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        request_id = await rig.submit("x", session_id="s", agent_id="a1", conversation_lock=LOCK)
        await rig.calls(1)
        taken = rig.core.locks.get("s")
        assert taken is not None
        assert (taken.holder, taken.request_id, taken.hold_s) == ("a1", request_id, 60)
        rig.p.calls[0].go.set()
        await rig.ended(request_id)
        assert rig.core.locks.get("s") is None
        assert [e["reason"] for e in rig.events("conversation:unlocked")] == ["request ended"]


async def test_it_waits_without_a_lock_of_its_own_before_it_runs(tmp_path: Path) -> None:
    settings = config(tmp_path, engine={"max_concurrency": 1})
    async with running(settings, scripts={"p": held}) as rig:
        await rig.submit("runs")
        await rig.calls(1)
        await rig.submit("x", session_id="s", agent_id="a1", conversation_lock=LOCK)
        assert rig.core.locks.get("s") is None


async def test_failure_and_cancel_give_the_lock_back(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        rig.p.script = in_turn(fails(ErrorKind.INVALID_REQUEST), held)
        terms = {"session_id": "s", "agent_id": "a1", "conversation_lock": LOCK}
        failing = await rig.submit("fails", **terms)
        await rig.ended(failing)
        assert rig.core.locks.get("s") is None
        cancelled = await rig.submit("cancelled", **terms)
        await rig.calls(2)
        assert rig.core.locks.get("s") is not None
        await rig.emit("completion:cancel", request_id=cancelled)
        assert rig.core.locks.get("s") is None
    async with running(config(tmp_path)) as rig:
        assert len(rig.core.locks) == 0


async def test_a_request_gives_back_only_what_it_took_itself(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        await lock(rig, timeout_s=500)
        by_hand = rig.core.locks.get("s")
        request_id = await rig.submit("x", session_id="s", agent_id="a1", conversation_lock=LOCK)
        await rig.calls(1)
        assert rig.core.locks.get("s") == by_hand
        rig.p.calls[0].go.set()
        await rig.ended(request_id)
        assert rig.core.locks.get("s") == by_hand


async def test_a_lock_that_its_agent_extended_by_hand_outlives_the_request(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        request_id = await rig.submit("x", session_id="s", agent_id="a1", conversation_lock=LOCK)
        await rig.calls(1)
        assert (await lock(rig, timeout_s=500))["extended"] is True
        rig.p.calls[0].go.set()
        await rig.ended(request_id)
        assert rig.core.locks.get("s") is not None


async def test_one_by_hand_that_ends_passes_to_its_agents_request(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock, scripts={"p": held}) as rig:
        await lock(rig, timeout_s=5)
        request_id = await rig.submit("x", session_id="s", agent_id="a1", conversation_lock=LOCK)
        await rig.calls(1)
        rig.advance(6)
        await until(lambda: len(rig.events("conversation:locked")) == 2)
        taken = rig.core.locks.get("s")
        assert taken is not None
        assert (taken.holder, taken.request_id, taken.hold_s) == ("a1", request_id, 60)
        await rig.core.store.write()
        assert (await rig.core.store.load()).locks == [taken]
        rig.advance(61)
        assert (await lock(rig, "a2"))["locked"] is False
        rig.p.calls[0].go.set()
        await rig.ended(request_id)
        assert rig.core.locks.get("s") is None
        assert [e["reason"] for e in rig.events("conversation:unlocked")] == ["request ended"]


async def test_one_by_hand_that_is_released_does_not_pass_to_a_request(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock, scripts={"p": held}) as rig:
        await lock(rig, timeout_s=5)
        await rig.submit("x", session_id="s", agent_id="a1", conversation_lock=LOCK)
        await rig.calls(1)
        await rig.emit("conversation:release_lock", session_id="s", agent_id="a1")
        rig.advance(6)
        assert (await lock(rig, "a2"))["locked"] is True


async def test_it_is_renewed_while_its_request_runs(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock, scripts={"p": held}) as rig:
        request_id = await rig.submit(
            "x", session_id="s", agent_id="a1", conversation_lock={"timeout_s": 10}
        )
        await rig.calls(1)
        for _ in range(3):
            rig.advance(10)
            await until(lambda: rig.core.locks.blocks("s", "a2", clock.now) is not None)
        taken = rig.core.locks.get("s")
        assert taken is not None
        assert taken.extended == 0
        # Nobody can slip in between the expiry and the renewal either.
        clock.now += 10
        assert (await lock(rig, "a2"))["locked"] is False
        rig.p.calls[0].go.set()
        await rig.ended(request_id)
        assert (await lock(rig, "a2"))["locked"] is True


async def test_in_backoff_the_hold_runs_out_on_time(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, retry={"initial_delay_s": 60})
    async with running(settings, clock=clock) as rig:
        rig.p.script = in_turn(fails(ErrorKind.NETWORK_ERROR), held)
        request_id = await rig.submit(
            "x", session_id="s", agent_id="a1", conversation_lock={"timeout_s": 20}
        )
        await rig.state(request_id, State.RETRYING)
        assert (await lock(rig, "a2", timeout_s=30))["locked"] is False
        rig.advance(21)
        assert (await lock(rig, "a2", timeout_s=30))["locked"] is True
        assert await rig.why(request_id) == "lock held by a2, 30 s left"
        rig.advance(31)
        assert (await rig.why(request_id)).startswith("backoff 8 s")
        rig.advance(9)
        await rig.calls(2)
        mine = rig.core.locks.get("s")
        assert mine is not None
        assert mine.holder == "a1"


async def test_a_request_may_rather_fail_than_wait(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        await lock(rig)
        impatient = await rig.submit(
            "x",
            session_id="s",
            agent_id="a2",
            conversation_lock={"on_conflict": "fail"},
        )
        told = await rig.event("completion:error", impatient)
        assert told["kind"] == "lock_denied"
        assert "a1" in told["error"]
        assert rig.p.calls == []
        await rig.settled()
        assert (await rig.status(impatient))["attempts_spent"] == 0


async def test_the_next_in_the_session_takes_the_lock_in_its_turn(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        first = await rig.submit("1", session_id="s", agent_id="a1", conversation_lock=LOCK)
        second = await rig.submit("2", session_id="s", agent_id="a2", conversation_lock=LOCK)
        third = await rig.submit("3", session_id="s", agent_id="a3")
        for number, holder in ((1, "a1"), (2, "a2"), (3, None)):
            up = (await rig.calls(number))[-1]
            taken = rig.core.locks.get("s")
            assert (taken.holder if taken else None) == holder
            up.go.set()
        await rig.ended(first, second, third)
        assert rig.p.prompts == ["1", "2", "3"]


# --- the deadline stands still -------------------------------------------------------------


async def test_the_deadline_stands_still_while_a_lock_is_waited_for(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, retry={"initial_delay_s": 5})
    async with running(settings, clock=clock) as rig:
        rig.p.script = in_turn(fails(ErrorKind.NETWORK_ERROR), held)
        request_id = await rig.submit("x", session_id="s", agent_id="a1", timeout_s=30)
        await rig.state(request_id, State.RETRYING)
        clock.now += 3
        await lock(rig, "a2", timeout_s=1_000)
        rig.advance(999)
        status = await rig.status(request_id)
        assert (status["status"], status["deadline_left_s"]) == ("retrying", 27.0)
        rig.advance(2)
        await rig.calls(2)
        clock.now += 1
        assert (await rig.status(request_id))["deadline_left_s"] == 26.0
