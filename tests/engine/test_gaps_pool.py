"""How fast a provider worker that keeps dying is started again."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from ksi_tui.engine.providers import pool
from ksi_tui.engine.providers.pool import WorkerPool
from tests.engine.engine_fixtures import until


class Steps(tuple[float, ...]):
    """Backoffs of no length that note which of them was taken."""

    def __new__(cls) -> Steps:
        made = super().__new__(cls, (0.0,) * 4)
        made.taken = []
        return made

    taken: list[Any]

    def __getitem__(self, step: Any) -> Any:
        self.taken.append(step)
        return 0.0


async def test_one_that_dies_again_and_again_is_waited_for_longer_up_to_a_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = Steps()
    monkeypatch.setattr(pool, "_BACKOFF_S", steps)
    lost: list[str] = []
    workers = WorkerPool(
        1, on_event=lambda name, _: lost.append(name), command=(sys.executable, "-S", "-c", "")
    )
    workers.start()
    try:
        await until(lambda: len(steps.taken) >= 6)
    finally:
        await workers.aclose(0)
    assert steps.taken[:6] == [0, 1, 2, 3, 3, 3]
    assert set(lost) == {"worker:lost"}
