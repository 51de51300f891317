"""A session from its first request to its end, and how it comes back (contract section 6)."""

from __future__ import annotations

from pathlib import Path

from tests.engine.engine_fixtures import HandClock, Rig, config, held, running, until

IDLE_S = 3600.0


def sweep(rig: Rig, *, after_s: float) -> None:
    """Let time pass, then let idle sessions end."""
    parts = rig.engine._parts
    assert parts is not None
    rig.advance(after_s)
    parts.end_idle_sessions(rig.core.clock(), IDLE_S)


def lives(rig: Rig, session_id: str) -> bool:
    return rig.core.sessions.get(session_id) is not None


async def test_it_lives_from_its_first_request_until_it_has_been_idle(tmp_path: Path) -> None:
    async with running(config(tmp_path), clock=HandClock()) as rig:
        assert not lives(rig, "s")
        await rig.ended(await rig.submit(session_id="s", agent_id="a1"))
        await rig.settled()
        sweep(rig, after_s=IDLE_S)
        assert lives(rig, "s")
        assert rig.core.sessions.sessions_of("a1") == {"s"}
        sweep(rig, after_s=1)
        assert not lives(rig, "s")
        assert rig.core.sessions.sessions_of("a1") == frozenset()


async def test_each_request_begins_its_time_anew(tmp_path: Path) -> None:
    async with running(config(tmp_path), clock=HandClock()) as rig:
        for _ in range(3):
            await rig.ended(await rig.submit(session_id="s"))
            await rig.settled()
            sweep(rig, after_s=IDLE_S - 1)
            assert lives(rig, "s")


async def test_its_record_stays_and_a_later_request_opens_it_again(tmp_path: Path) -> None:
    async with running(config(tmp_path), clock=HandClock()) as rig:
        await rig.ended(await rig.submit(session_id="s", agent_id="a1"))
        await rig.settled()
        sweep(rig, after_s=IDLE_S + 1)
        status = await rig.emit("completion:session_status", session_id="s")
        assert status["session"]["exists"]
        created = status["session"]["created_at"]
        await rig.ended(await rig.submit(session_id="s", agent_id="a2"))
        await rig.settled()
        assert lives(rig, "s")
        session = (await rig.emit("completion:session_status", session_id="s"))["session"]
        assert (session["request_count"], session["created_at"]) == (2, created)
        assert session["agents"] == ["a1", "a2"]


async def test_it_does_not_end_while_something_runs_or_waits_in_it(tmp_path: Path) -> None:
    async with running(config(tmp_path), clock=HandClock(), scripts={"p": held}) as rig:
        first = await rig.submit(session_id="s", timeout_s=10 * IDLE_S)
        second = await rig.submit(session_id="s", timeout_s=10 * IDLE_S)
        await rig.calls(1)
        sweep(rig, after_s=2 * IDLE_S)
        assert lives(rig, "s")
        await rig.emit("completion:cancel", request_id=first)
        await rig.calls(2)
        await rig.emit("completion:cancel", request_id=second)
        await rig.ended(first, second)
        await rig.settled()
        sweep(rig, after_s=0)
        assert not lives(rig, "s")


async def test_a_lock_keeps_it_but_is_no_request(tmp_path: Path) -> None:
    async with running(config(tmp_path), clock=HandClock()) as rig:
        await rig.ended(await rig.submit(session_id="s"))
        await rig.settled()
        rig.advance(IDLE_S - 60)
        hold = {"session_id": "s", "agent_id": "a", "timeout_s": 120}
        await rig.emit("conversation:acquire_lock", **hold)
        sweep(rig, after_s=61)
        assert lives(rig, "s")
        assert rig.core.sessions.sessions_of("a") == {"s"}
        rig.advance(60)
        await until(lambda: rig.core.locks.get("s") is None)
        sweep(rig, after_s=0)
        assert not lives(rig, "s")


async def test_who_holds_a_lock_is_in_its_session_also_after_a_restart(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock) as rig:
        await rig.emit("conversation:acquire_lock", session_id="s", agent_id="a", timeout_s=600)
        began = clock.now
    clock.now += 60
    async with running(config(tmp_path), clock=clock) as rig:
        assert rig.core.sessions.sessions_of("a") == {"s"}
        session = rig.core.sessions.get("s")
        assert session is not None
        assert (session.created_at, session.last_activity) == (began, began)
        lock = rig.core.locks.get("s")
        assert lock is not None
        assert lock.expires_at == clock.now + 540
