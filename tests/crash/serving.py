"""Rounds on `serve` under load: killed, started again, killed again, then drained."""

from __future__ import annotations

import asyncio
import random
from typing import Final

from tests.crash import load
from tests.crash.home import Broken, Life, must
from tests.crash.judge import Judge
from tests.crash.load import Author, Gone, Operator, Record, at_the_door, listens
from tests.crash.points import ENDING, MID_STREAM, SERVED, STARTING, Point
from tests.crash.stage import MEETS_S, Round, all_ended, clean, ended_well, killed_in, met

POINTS: Final = {point.name: point for point in (*SERVED, *STARTING, *ENDING)}
_AUTHORS: Final = (
    ("fifo-1", "fifo"),
    ("fifo-2", "fifo"),
    ("mixed-1", "mixed"),
    ("talk-1", "talk"),
    ("locked-1", "locked"),
    ("own-1", "own"),
    ("own-2", "own"),
    (load.PAUSED, "fifo"),
    (load.HELD, "fifo"),
)


class Crew:
    """The clients of one round, over all of its lives."""

    def __init__(self, round_: Round, judge: Judge) -> None:
        dice, record = round_.dice, judge.record
        self.record = record
        self._authors = [
            Author(name, kind, random.Random(dice.random()), record) for name, kind in _AUTHORS
        ]
        self._operator = Operator(random.Random(dice.random()), record)

    async def life(self, life: Life, most: int) -> None:
        """Ask for all there is to ask, until it is done or the engine has gone."""
        async with at_the_door(life.home.socket) as visitor:
            listening = asyncio.create_task(listens(visitor, self.record), name="listens")
            try:
                await self._operator.holds(visitor)
                async with asyncio.TaskGroup() as tasks:
                    for author in self._authors:
                        tasks.create_task(author.life(visitor, most), name=author.name)
                    tasks.create_task(self._operator.meddles(visitor, most // 2), name="operator")
                if life.over:
                    await listening
            finally:
                listening.cancel()
                await asyncio.wait([listening])
                self.record.opening.clear()

    async def last_life(self, life: Life) -> None:
        """Send what was not acknowledged, let go of what is held, wait until all has ended."""
        async with at_the_door(life.home.socket) as visitor:
            for author in self._authors:
                await author.life(visitor, 1)
            await self._operator.lets_go(visitor)
            await all_ended(visitor)


async def served(round_: Round) -> None:
    """Kill `serve` under load: first at the round's point if it has one, then at others."""
    judge = Judge(home=round_.home, record=Record())
    round_.home.configure(load.SETTINGS)
    crew = Crew(round_, judge)
    dice = round_.dice
    first = POINTS.get(round_.kind)
    plans: list[Point | None] = [first]
    if first in STARTING:
        plans.insert(0, MID_STREAM)  # it needs something to start on
    plans += [dice.choice(SERVED)] if first not in SERVED else [dice.choice((None, *SERVED))]
    for point in plans:
        await _one_life(round_, crew, point)
        judge.after_a_kill()
    await drained(round_, judge, crew)


async def _one_life(round_: Round, crew: Crew, point: Point | None) -> None:
    """Let an engine live until its trap, or a moment that the dice choose, ends it."""
    dice = round_.dice
    traps = [point.drawn(dice)] if point is not None else []
    life = await round_.home.start("serve", traps=traps)
    kill_in_s = MEETS_S if traps else dice.random() ** 2 * 1.2
    at_its_start = point is None and dice.random() < 0.2
    if not at_its_start and point is None:
        await life.serves()
    killing = asyncio.create_task(killed_in(life, kill_in_s), name="killer")
    try:
        if await life.serves():
            await crew.life(life, 12)
            if point in ENDING:
                life.end()
        trapped = await met(life, killing)
    finally:
        life.kill()
        killing.cancel()
    if point is not None:
        round_.note(point.name, met=trapped)
    clean(life)


async def drained(round_: Round, judge: Judge, crew: Crew) -> None:
    """Start once more, let everything end, ask the engine to end, and look at what is there."""
    life = await round_.home.start("serve")
    try:
        must(await life.serves(), f"it does not start again: {life.err}")
        try:
            await crew.last_life(life)
        except Gone as error:
            raise Broken(f"it ended by itself: {life.err}") from error
        await ended_well(life)
    finally:
        life.kill()
    found = judge.at_the_end()
    judge.in_order(found)
    judge.injected(found)
