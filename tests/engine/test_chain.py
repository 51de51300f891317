"""The chain from any waiting request to its root: links, inferred edges, cycles, occupied slots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ksi_tui.engine.clock import time_of_day
from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.models import Cause, CauseKind, State
from ksi_tui.engine.views import Chain, Next, Phase, SnapshotQuery
from ksi_tui.engine.why import same_root
from ksi_tui.engine.why.causes import Causes
from ksi_tui.engine.why.chain import MAX_LINKS, SHOWN_OF_A_SESSION, Chains
from ksi_tui.engine.why.lock_holder import work_of
from ksi_tui.engine.why.outlook import Outlooks
from tests.engine.engine_fixtures import (
    HandClock,
    Rig,
    config,
    fails,
    held,
    in_turn,
    provider,
    running,
    until_turn,
)


def chain_of(rig: Rig, request_id: str) -> Chain:
    """Return a request's chain as a screen gets it."""
    live = rig.engine.snapshot(SnapshotQuery(request_id=request_id)).live
    assert live is not None
    assert live.chain is not None
    return live.chain


def links(chain: Chain) -> list[tuple[str, str, bool]]:
    return [(link.request_id, link.why, link.certain) for link in chain.links]


async def lock(rig: Rig, session_id: str, agent_id: str, timeout_s: float = 300) -> None:
    reply = await rig.emit(
        "conversation:acquire_lock", session_id=session_id, agent_id=agent_id, timeout_s=timeout_s
    )
    assert reply["locked"], reply


async def open_circuit(rig: Rig) -> None:
    """Open p's circuit, which then waits 30 s for its probe."""
    rig.p.script = fails(ErrorKind.PROVIDER_ERROR, "down")
    first = await rig.submit("opens it", max_attempts=1)
    await rig.ended(first)
    rig.p.script = held


SICK = [provider("p", circuit={"fail_max": 1, "reset_timeout_s": 30}), provider("q", "n*")]


async def test_behind_one_that_waits_for_a_lock_whose_holder_waits_for_a_probe(
    tmp_path: Path,
) -> None:
    clock = HandClock()
    async with running(config(tmp_path, providers=SICK), clock=clock) as rig:
        await open_circuit(rig)
        clock.now += 10
        busy = await rig.submit("1", session_id="s2", agent_id="a7", request_id="r-1x")
        await lock(rig, "s1", "a7")
        waits = await rig.submit("2", session_id="s1", agent_id="a3", request_id="r-2x")
        last = await rig.submit("3", session_id="s1", agent_id="a3", request_id="r-3x")
        chain = chain_of(rig, last)
        assert links(chain) == [
            (last, "behind r-2x in its session", True),
            (waits, "lock held by a7, 5 min left", True),
            (busy, "p open, probe in 20 s", False),
        ]
        assert [link.phase for link in chain.links] == [Phase.QUEUED, Phase.WAITING, Phase.WAITING]
        assert chain.links[2].via == "probably busy with r-1x"
        held = f"held by a7 since {time_of_day(clock.now)}, 5 min left"
        assert [link.lock for link in chain.links] == ["", held, ""]
        await lock(rig, "s1", "a7")
        assert chain_of(rig, last).links[1].lock == f"{held}, extended 1x"
        assert chain.root is not None
        assert (chain.root.kind, chain.root.target, chain.root.until) == (
            "circuit",
            "p",
            clock.now + 20,
        )
        assert not chain.cycle
        assert chain.text == (
            "r-3x is behind r-2x, which waits for the lock of a7, probably busy with r-1x: "
            "p open, probe in 20 s"
        )
        status = await rig.status(last)
        assert [(link["request_id"], link["certain"]) for link in status["chain"]] == [
            (last, True),
            (waits, True),
            (busy, False),
        ]
        assert status["chain"][1]["cause"]["kind"] == "lock"
        assert status["root"]["kind"] == "circuit"
        assert status["cycle"] is False
        assert status["outlook"]["what"] == "probe"
        assert status["outlook"]["at"] == status["root"]["until"]
        assert status["outlook"]["request_id"] == busy
        assert [(m["what"], m["request_id"], m["text"]) for m in status["moves"]] == [
            ("probe", busy, "in 20 s a probe may go to p"),
            ("lock_expires", waits, "in 5 min the lock of a7 expires and it goes on"),
        ]


async def test_each_kind_of_root_ends_a_chain_of_one(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(
        tmp_path,
        providers=[
            provider("p", circuit={"fail_max": 1, "reset_timeout_s": 30}),
            provider("q", "n*", max_concurrency=1),
            provider("c", "c*"),
        ],
        retry={"initial_delay_s": 12, "max_attempts": 2},
    )
    async with running(settings, clock=clock, scripts={"q": held}) as rig:
        await open_circuit(rig)
        rig.providers["c"].script = fails(ErrorKind.API_RATE_LIMIT, "slow down", retry_after_s=40)
        backoff = await rig.submit("limited", model="c1")
        await rig.state(backoff, State.RETRYING)
        runs = await rig.submit("runs", model="n1")
        await rig.calls(1, "q")
        expected = {
            backoff: ("backoff", "backoff 40 s (api_rate_limit)"),
            runs: ("running", "calling q"),
            await rig.submit("x"): ("circuit", "p open, probe in 30 s"),
            await rig.submit("x", model="c1"): ("cooldown", "c cooling (429), 40 s left"),
            await rig.submit("x", model="n1"): ("slot", f"q at 1 of 1, longest by {runs}: 0 s"),
        }
        for request_id, (kind, text) in expected.items():
            chain = chain_of(rig, request_id)
            assert chain.root is not None
            assert (len(chain.links), chain.root.kind, chain.root.text) == (1, kind, text)
            assert chain.text == f"{request_id}: {text}"


async def test_a_full_slot_is_named_after_who_has_held_it_longest(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(
        tmp_path,
        engine={"max_concurrency": 3},
        providers=[provider("p", max_concurrency=2), provider("q", "n*")],
    )
    async with running(settings, clock=clock, scripts={"p": held, "q": held}) as rig:
        other = await rig.submit("0", model="n1")
        await rig.calls(1, "q")
        clock.now += 5
        longest = await rig.submit("1")
        await rig.calls(1)
        clock.now += 35
        await rig.submit("2")
        await rig.calls(2)
        slot = chain_of(rig, await rig.submit("3")).root
        assert slot is not None
        assert (slot.kind, slot.target, slot.occupied_by) == ("slot", "p", longest)
        assert (slot.certain, slot.text) == (False, f"p at 2 of 2, longest by {longest}: 35 s")
        engine = chain_of(rig, await rig.submit("4", model="n2")).root
        assert engine is not None
        assert (engine.kind, engine.occupied_by) == ("engine", other)
        assert engine.text == f"engine at 3 of 3, longest by {other}: 40 s"


# --- whom a lock's holder is busy with ---------------------------------------------------------


async def test_a_holder_with_nothing_unfinished_is_the_root(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock, scripts={"p": held}) as rig:
        await lock(rig, "s", "a7", 50)
        clock.now += 9
        chain = chain_of(rig, await rig.submit("x", session_id="s"))
        assert chain.root is not None
        assert (chain.root.kind, chain.root.target, chain.root.certain) == ("lock", "a7", True)
        assert chain.root.text == "lock held by a7, who has nothing running; expires in 41 s"
        assert chain.links[0].why == "lock held by a7, 41 s left"


async def test_what_runs_comes_before_what_waits_and_the_longest_first(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock, scripts={"p": held}) as rig:
        await lock(rig, "t", "a1")
        waits = await rig.submit("waits", session_id="t", agent_id="a7")
        await lock(rig, "s", "a7")
        victim = await rig.submit("x", session_id="s", agent_id="a3")
        assert [link.request_id for link in chain_of(rig, victim).links] == [victim, waits]
        clock.now += 1
        runs = [await rig.submit("runs", session_id=s, agent_id="a7") for s in ("u", "v")]
        await rig.calls(2)
        assert [link.request_id for link in chain_of(rig, victim).links] == [victim, runs[0]]
        row = next(each for each in rig.engine.snapshot().locks if each.session_id == "s")
        assert row.doing == f"{runs[0]} runs"


async def test_a_request_that_took_the_lock_is_certain(tmp_path: Path) -> None:
    clock = HandClock()
    settings = config(tmp_path, retry={"initial_delay_s": 90, "max_delay_s": 90})
    script = in_turn(fails(ErrorKind.NETWORK_ERROR), held)
    async with running(settings, clock=clock, scripts={"p": script}) as rig:
        taker = await rig.submit(
            "1", session_id="s", agent_id="a7", conversation_lock={"timeout_s": 200}
        )
        await rig.state(taker, State.RETRYING)
        other = await rig.submit("2", session_id="s", agent_id="a3")
        assert links(chain_of(rig, other)) == [
            (other, f"behind {taker} in its session", True),
            (taker, "backoff 90 s (network_error)", True),
        ]
        lock_taken = rig.core.locks.get("s")
        assert lock_taken is not None
        work = work_of(rig.core, lock_taken)
        assert work is not None
        assert (work.ticket.request_id, work.certain) == (taker, True)
        (row,) = rig.engine.snapshot().locks
        assert (row.doing, row.doing_phase) == (f"{taker} waits", Phase.RETRYING)


# --- cycles ------------------------------------------------------------------------------------


async def test_two_agents_that_hold_each_others_locks_are_a_cycle(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock) as rig:
        await lock(rig, "s1", "a1", 90)
        await lock(rig, "s2", "a2", 40)
        one = await rig.submit("1", session_id="s1", agent_id="a2")
        two = await rig.submit("2", session_id="s2", agent_id="a1")
        chain = chain_of(rig, one)
        assert chain.cycle
        assert links(chain) == [
            (one, "lock held by a1, 90 s left", True),
            (two, "lock held by a2, 40 s left", False),
        ]
        assert chain.text == (
            f"{one} waits for the lock of a1, probably busy with {two}, which waits for the lock "
            f"of a2, probably busy with {one}: a cycle; the lock of a2 on s2 expires in 40 s "
            "and ends it"
        )
        assert chain.root is not None
        assert (chain.root.kind, chain.root.target, chain.root.until) == (
            "lock",
            "a2",
            clock.now + 40,
        )
        status = await rig.status(one)
        assert status["cycle"] is True
        assert (status["outlook"]["what"], status["outlook"]["request_id"]) == ("lock_expires", two)
        assert chain_of(rig, two).cycle
        rig.advance(39.9)
        assert not rig.p.calls
        rig.advance(0.2)
        await rig.ended(two)


async def test_a_holder_behind_the_one_that_its_lock_holds_up_is_a_cycle(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock) as rig:
        await lock(rig, "s", "a7", 60)
        head = await rig.submit("1", session_id="s", agent_id="a3")
        middle = await rig.submit("2", session_id="s", agent_id="a3")
        own = await rig.submit("3", session_id="s", agent_id="a7")
        last = await rig.submit("4", session_id="s", agent_id="a3")
        chain = chain_of(rig, last)
        assert [link.request_id for link in chain.links] == [last, own, middle, head]
        assert chain.cycle
        assert chain.text == (
            f"{last} is behind {head}, which waits for the lock of a7, probably busy with {own}: "
            "a cycle; the lock of a7 on s expires in 60 s and ends it"
        )
        rig.advance(60)
        await rig.ended(head, middle, own, last)


# --- bounds --------------------------------------------------------------------------------------


async def test_a_deep_session_is_shown_in_part_and_its_first_one_always(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        items = [{"prompt": f"{n}", "session_id": "s"} for n in range(2_000)]
        reply = await rig.emit("completion:batch", requests=items)
        ids = [each["request_id"] for each in reply["accepted"]]
        await rig.calls(1)
        chain = chain_of(rig, ids[-1])
        assert len(chain.links) == SHOWN_OF_A_SESSION + 1
        assert [link.request_id for link in chain.links[:3]] == ids[-1:-4:-1]
        end = chain.links[-1]
        assert (end.request_id, end.phase) == (ids[0], Phase.CONNECTING)
        assert sum(link.omitted for link in chain.links) + len(chain.links) == 2_000
        near = chain_of(rig, ids[SHOWN_OF_A_SESSION])
        assert [link.omitted for link in near.links] == [0] * (SHOWN_OF_A_SESSION + 1)


@pytest.mark.parametrize("agents", [3, MAX_LINKS + 5])
async def test_a_long_way_over_many_locks_is_bounded(tmp_path: Path, agents: int) -> None:
    async with running(config(tmp_path), clock=HandClock()) as rig:
        for number in range(agents):
            await lock(rig, f"s{number}", f"a{number + 1}")
        ids = [
            await rig.submit("x", session_id=f"s{number}", agent_id=f"a{number}")
            for number in range(agents)
        ]
        chain = chain_of(rig, ids[0])
        assert [link.request_id for link in chain.links] == ids[:MAX_LINKS]
        assert (chain.root is None) == (agents > MAX_LINKS)
        outlook: dict[str, Any] = (await rig.status(ids[0]))["outlook"]
        assert outlook["what"] == "lock_expires"


async def test_one_that_is_just_ending_is_a_root_for_those_behind(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        first = await rig.submit("1", session_id="s")
        second = await rig.submit("2", session_id="s")
        (up,) = await rig.calls(1)
        up.go.set()
        await until_turn(lambda: first in rig.core.finishing)
        chain = chain_of(rig, second)
        assert [link.request_id for link in chain.links] == [second, first]
        assert (chain.links[1].phase, chain.links[1].why) == (
            Phase.COMPLETED,
            "its end is being written to disk",
        )
        (await rig.calls(2))[1].go.set()
        await rig.settled()


async def test_what_has_ended_has_no_chain(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        request_id = await rig.submit()
        await rig.ended(request_id)
        status = await rig.status(request_id)
        assert (status["chain"], status["root"], status["cycle"]) == ([], None, False)
        assert (status["outlook"], status["chain_text"]) == (None, None)


# --- causes of every kind ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in CauseKind if kind is not CauseKind.BEHIND])
@pytest.mark.parametrize("dated", [True, False])
async def test_any_other_cause_of_a_head_is_a_root_with_an_outlook(
    tmp_path: Path, kind: CauseKind, dated: bool
) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock) as rig:
        await lock(rig, "s", "a7", 60)
        ticket = rig.ticket(await rig.submit(session_id="s"))
        until_s = clock.now + 8 if dated else None
        cause = Cause(kind=kind, target="session:s", until=until_s, text="paused by op1: deploy")
        causes = Causes(rig.core, lambda _, at: cause if at < clock.now + 8 else None)
        chain = Chains(rig.core, causes).chain(ticket, clock.now)
        assert len(chain.links) == 1
        assert chain.root is not None
        assert (chain.root.kind, chain.root.target, chain.root.until) == (
            kind,
            "session:s",
            until_s,
        )
        outlook = Outlooks(rig.core, causes).outlook(ticket, clock.now)
        assert outlook.text
        timed = (CauseKind.SLOT, CauseKind.ENGINE, CauseKind.NEXT)
        if dated and kind not in timed:
            assert outlook.at == until_s
            assert outlook.text.startswith("in 8 s ")
        if kind is CauseKind.PAUSE:
            assert outlook.what is Next.PAUSE_LIFTED
            assert chain.root.text == "paused by op1: deploy"


async def test_a_disk_that_cannot_be_written_is_a_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(tmp_path, engine={"max_concurrency": 1})
    async with running(settings, clock=HandClock(), scripts={"p": held}) as rig:
        await rig.submit("runs")
        await rig.calls(1)
        request_id = await rig.submit("waits")
        monkeypatch.setattr(type(rig.core.store), "fault", "the disk is full")
        chain = chain_of(rig, request_id)
        assert chain.text == f"{request_id}: database: the disk is full"
        assert chain.root is not None
        assert chain.root.occupied_by is None
        live = rig.engine.snapshot(SnapshotQuery(request_id=request_id)).live
        assert live is not None
        assert live.outlook is not None
        assert (live.outlook.what, live.outlook.at) == (Next.DISK_WRITABLE, None)
        monkeypatch.undo()
        root = chain_of(rig, request_id).root
        assert root is not None
        assert root.text.startswith("engine at 1 of 1")


async def test_totals_are_bounds_where_not_every_lock_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(same_root, "LOCKS_LOOKED_AT", 1)
    clock = HandClock()
    async with running(config(tmp_path), clock=clock, scripts={"p": held}) as rig:
        await lock(rig, "s", "a7")
        request_id = await rig.submit("x", session_id="s", agent_id="a3")
        query = SnapshotQuery(request_id=request_id, explain=True)
        live = rig.engine.snapshot(query).live
        assert live is not None
        assert not live.same_root_at_least
        await lock(rig, "t", "a7")
        clock.now += 5
        live = rig.engine.snapshot(query).live
        assert live is not None
        assert live.same_root_at_least


async def test_one_that_is_answered_is_told_of_as_such(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock, scripts={"p": held}) as rig:
        request_id = await rig.submit(session_id="s")
        await rig.calls(1)
        clock.now += 5
        live = rig.engine.snapshot(SnapshotQuery(request_id=request_id, explain=True)).live
        assert live is not None
        assert live.plain == (
            f"{request_id} is being answered by p. {request_id} of session s has run since "
            "08:00:00. Nothing has to be done."
        )
