"""The table of what waits: nothing is lost or doubled, whatever order things come in."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ksi_tui.engine.injection import pending as pending_injections
from ksi_tui.engine.injection.pending import PendingInjections

SESSIONS = ("a", "b")


class Life(RuleBasedStateMachine):
    """Add, bind, end and drop at will; a list of plain ids is the model."""

    def __init__(self) -> None:
        super().__init__()
        self.table = PendingInjections()
        self.waits: dict[str, list[int]] = {"a": [], "b": []}
        self.bound: dict[str, list[int]] = {}
        self.next = 0
        self.used = 0

    @rule(session=st.sampled_from(SESSIONS))
    def add(self, session: str) -> None:
        self.next += 1
        self.table.add(str(self.next), session, 1, None)
        self.waits[session].append(self.next)

    @rule(session=st.sampled_from(SESSIONS))
    def bind(self, session: str) -> None:
        request = f"r-{session}"
        if request in self.bound:  # one request of a session runs at a time
            return
        taken = self.table.bind(session, request)
        assert [int(held.injection_id) for held in taken] == self.waits[session]
        if self.waits[session]:
            self.bound[request] = self.waits[session]
        self.waits[session] = []

    @rule(session=st.sampled_from(SESSIONS), completed=st.booleans())
    def end(self, session: str, completed: bool) -> None:
        ids = self.bound.pop(f"r-{session}", [])
        self.table.unbind(f"r-{session}", wait_again=not completed)
        if completed:
            self.used += len(ids)
        else:
            self.waits[session] = sorted(ids + self.waits[session])

    @rule(session=st.sampled_from(SESSIONS), back=st.booleans())
    def drop_first(self, session: str, back: bool) -> None:
        if not self.waits[session]:
            assert self.table.drop("none") is None
            return
        held = self.table.drop(str(self.waits[session][0]))
        assert held is not None
        if back:
            self.table.put_back(held)
        else:
            del self.waits[session][0]

    @invariant()
    def as_the_model_says(self) -> None:
        for session in SESSIONS:
            assert [int(each) for each in self.table.ids(session)] == self.waits[session]
            request = f"r-{session}"
            bound = [int(held.injection_id) for held in self.table.bound_to(request)]
            assert bound == self.bound.get(request, [])
            touched = bool(self.waits[session] or bound)
            assert self.table.concerns(session, request) == touched
        assert self.table.pending == sum(map(len, self.waits.values()))
        assert self.table.bound == sum(map(len, self.bound.values()))
        assert self.table.session_count == sum(map(bool, self.waits.values()))
        assert self.table.counts.used == self.used


TestLife = Life.TestCase


def test_room_ends_at_each_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending_injections, "MAX_PENDING_PER_SESSION", 2)
    monkeypatch.setattr(pending_injections, "MAX_PENDING_CHARS", 10)
    monkeypatch.setattr(pending_injections, "MAX_PENDING", 3)
    table = PendingInjections()
    assert table.room("a", 10) is None
    table.add("1", "a", 5, None)
    assert table.room("a", 5) is None
    over = table.room("a", 6)
    assert over is not None
    assert (over.bound, over.limit, over.found) == ("max_pending_chars", 10, 11)
    table.add("2", "a", 5, None)
    full = table.room("a", 0)
    assert full is not None
    assert (full.bound, full.limit, full.found) == ("max_pending_per_session", 2, 3)
    assert table.room("b", 1) is None
    table.add("3", "b", 1, None)
    most = table.room("c", 1)
    assert most is not None
    assert (most.bound, most.limit, most.found) == ("max_pending", 3, 4)


async def test_a_prompt_waits_for_what_is_on_its_way_to_its_session() -> None:
    table = PendingInjections()
    arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    table.expect(("a", "b"), arrived)
    assert table.concerns("a", "r")
    assert not table.concerns("c", "r")
    await table.all_arrived("c")
    waits = asyncio.create_task(table.all_arrived("b"))
    await asyncio.sleep(0)
    assert not waits.done()
    arrived.set_result(None)
    await waits
    assert not table.concerns("a", "r")
    assert not table.concerns("b", "r")
