"""Names come from outside and are endless: what is kept of them in memory has a bound."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.engine import controls, lock_keeper
from ksi_tui.engine.upkeep import housekeeping, idle_sessions
from ksi_tui.engine.upkeep.housekeeping import Every
from tests.engine.engine_fixtures import HandClock, Rig, config, held, running

FEW = 20


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "LOOK_EVERY_S", 3600.0)  # turns are the tests' own
    monkeypatch.setattr(idle_sessions, "MOST_LIVE", FEW)
    monkeypatch.setattr(idle_sessions, "AT_ONCE", 10)
    monkeypatch.setattr(controls, "MOST_PAUSES", 3)
    monkeypatch.setattr(lock_keeper, "MOST_LOCKS", 3)


def end_idle(rig: Rig, idle_s: float = 3600) -> list[bool]:
    """Take as many turns as there is something to end; return what each said."""
    parts, turns = rig.engine._parts, [True]
    assert parts is not None
    while turns[-1] and len(turns) < 50:
        turns.append(parts.end_idle_sessions(rig.core.clock(), idle_s))
    return turns[1:]


async def test_beyond_the_bound_the_longest_idle_end_and_come_back_whole(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock) as rig:
        sent = []
        for number in range(45):
            clock.now += 1
            sent.append(await rig.submit(f"p{number}", session_id=f"s{number}", agent_id="a"))
        await rig.ended(*sent)
        await rig.settled()
        await rig.emit("conversation:acquire_lock", session_id="s0", agent_id="a")
        await rig.emit("queue:pause", scope="session", id="s1")
        assert end_idle(rig) == [True, True, False]
        live = {session.session_id for session in rig.core.sessions}
        assert live == {"s0", "s1", *(f"s{number}" for number in range(27, 45))}
        assert end_idle(rig) == [False]
        clock.now += 7200
        assert end_idle(rig) == [True, False]
        assert {session.session_id for session in rig.core.sessions} == {"s0", "s1"}

        await rig.ended(await rig.submit("again", session_id="s5"))
        history = [message["content"] for message in rig.p.calls[-1].spec.history]
        assert history == ["p5", "re: p5"], "the record stayed"
        status = await rig.emit("completion:session_status", session_id="s5")
        assert status["session"]["request_count"] == 2


async def test_busy_sessions_do_not_end_however_many(tmp_path: Path) -> None:
    settings = config(tmp_path, engine={"max_concurrency": 100})
    async with running(settings, clock=HandClock(), scripts={"p": held}) as rig:
        for number in range(FEW + 5):
            await rig.submit(session_id=f"s{number}")
        assert end_idle(rig, 0) == [False]
        assert len(rig.core.sessions) == FEW + 5
        for up in await rig.calls(FEW + 5):
            up.go.set()


def test_what_was_not_finished_is_due_at_once() -> None:
    every = Every(60)
    assert every.due(0)
    assert not every.due(1)
    every.again()
    assert every.due(1)
    assert not every.due(2)


@pytest.mark.parametrize(
    ("take", "give_back", "names"),
    [
        ("conversation:acquire_lock", "conversation:release_lock", {"agent_id": "a"}),
        ("queue:pause", "queue:resume", {"scope": "session"}),
    ],
)
async def test_locks_and_pauses_by_hand_are_bounded(
    tmp_path: Path, take: str, give_back: str, names: dict[str, Any]
) -> None:
    key = "id" if "scope" in names else "session_id"
    async with running(config(tmp_path)) as rig:
        for number in range(3):
            assert "code" not in await rig.emit(take, **names, **{key: f"s{number}"})
        refused = await rig.emit(take, **names, **{key: "s3"})
        assert refused["code"] == "queue_full"
        assert refused["error"].startswith("3 ")
        assert "code" not in await rig.emit(take, **names, **{key: "s2"}), "no more, but again"
        assert "code" not in await rig.emit(give_back, **names, **{key: "s0"})
        assert "code" not in await rig.emit(take, **names, **{key: "s3"})


TWINS = ("S", "s", "ß", "SS", "\u00e9", "e\u0301", "a.b", "a_b", "a/b", "..", "../a", "x" * 199)


async def test_names_that_are_alike_are_not_mixed_up(tmp_path: Path) -> None:
    """Neither in memory nor on disk, whatever a file system takes for one name."""
    async with running(config(tmp_path)) as rig:
        sent = [await rig.submit(f"of {name}", session_id=name, agent_id=name) for name in TWINS]
        await rig.ended(*sent)
        await rig.settled()
        for name, request_id in zip(TWINS, sent, strict=True):
            reply = await rig.emit("completion:session_status", session_id=name)
            assert [each["request_id"] for each in reply["completions"]] == [request_id]
            found = await rig.emit(
                "completion:requests", filter=f"session:{json.dumps(name, ensure_ascii=False)}"
            )
            assert request_id in [row["request_id"] for row in found["requests"]]
    files = list((tmp_path / "responses").iterdir())
    assert all(file.parent == tmp_path / "responses" and file.is_file() for file in files)
    folded = {file.name.casefold() for file in files}
    assert len(folded) == len(TWINS)
    for file in files:
        (line,) = file.read_text().splitlines()
        assert json.loads(line)["ksi"]["session_id"] in TWINS
    assert {path.name for path in tmp_path.parent.iterdir() if path.suffix == ".jsonl"} == set()
