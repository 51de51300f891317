"""A handful of rounds of `python -m tests.crash`, where a kill is worst; the rest is by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.rounds import KINDS, kinds_of, play


@pytest.mark.parametrize(
    ("kind", "seed"),
    [
        ("after accept, before the reply", 0),
        ("between the final state and its event", 0),
        ("response files: half a line", 0),
        ("migration: a statement", 0),
    ],
)
async def test_a_kill_keeps_every_promise(tmp_path: Path, kind: str, seed: int) -> None:
    played = await play(seed, tmp_path, kind)
    assert played.met[kind]


def test_all_kinds_take_their_turns() -> None:
    assert set(kinds_of(range(200))) == set(KINDS)
