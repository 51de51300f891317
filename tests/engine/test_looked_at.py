"""Failures that were looked at need no attention of whoever looked; to others they are new."""

from __future__ import annotations

from pathlib import Path

from ksi_tui.engine.advice import LookedAt
from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.views import AttentionView, SnapshotQuery
from tests.engine.engine_fixtures import HandClock, Rig, config, fails, running

NO = fails(ErrorKind.CONTENT_POLICY, "told no")


def rows(rig: Rig, looked_at: LookedAt) -> list[AttentionView]:
    return list(rig.engine.snapshot(SnapshotQuery(looked_at=looked_at)).attention)


async def test_only_what_was_not_looked_at_is_told(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock, scripts={"p": NO}) as rig:
        times: list[float] = []
        for each in ("a", "b", "c"):
            await rig.ended(await rig.submit(request_id=each))
            times.append(clock.now)
            clock.now += 10
        (all_three,) = rows(rig, LookedAt())
        assert (all_three.request_id, all_three.hits) == ("c", "3 req")
        (one,) = rows(rig, LookedAt(until=times[1]))
        assert (one.request_id, one.hits) == ("c", "1 req")
        (two,) = rows(rig, LookedAt(single={"b": times[1]}))
        assert (two.request_id, two.hits) == ("c", "2 req")
        assert rows(rig, LookedAt(until=times[1], single={"c": times[2]})) == []
        assert rows(rig, LookedAt(until=times[2])) == []
        (again,) = rows(rig, LookedAt())
        assert again.hits == "3 req", "somebody else has not looked"


async def test_one_that_fails_again_is_new_again(tmp_path: Path) -> None:
    clock = HandClock()
    async with running(config(tmp_path), clock=clock, scripts={"p": NO}) as rig:
        await rig.ended(await rig.submit(request_id="a"))
        seen = LookedAt(until=clock.now - 1, single={"a": clock.now})
        assert rows(rig, seen) == []
        clock.now += 10
        await rig.emit("completion:retry", request_id="a")
        await rig.settled()
        (row,) = rows(rig, seen)
        assert row.request_id == "a"
