"""How a round of each kind goes: lives that are killed, one that drains, and a look after each.

Everything but the machine's own timing follows from the seed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.crash import load
from tests.crash.home import BOUND_S, Broken, Home, Life, must
from tests.crash.judge import Judge
from tests.crash.load import Author, Gone, Operator, Record, Visitor, at_the_door, listens
from tests.crash.points import ENDING, MID_STREAM, SERVED, STARTING, Point, Trap

MEETS_S: Final = 6.0
"""How long a load is given to come to a trap; its life is then killed all the same."""
_UNFINISHED: Final = ("queued", "processing", "retrying")
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


@dataclass(slots=True, kw_only=True)
class Round:
    """One round and what is to be said of it: how many lives, and which points were met."""

    seed: int
    kind: str
    home: Home
    dice: random.Random
    met: dict[str, bool] = field(default_factory=dict)


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
            await self._operator.holds(visitor)
            async with asyncio.TaskGroup() as tasks:
                for author in self._authors:
                    tasks.create_task(author.life(visitor, most), name=author.name)
                tasks.create_task(self._operator.meddles(visitor, most // 2), name="operator")
            if life.over:
                await listening
            listening.cancel()
            await asyncio.wait([listening])

    async def last_life(self, life: Life) -> None:
        """Send what was not acknowledged, let go of what is held, wait until all has ended."""
        async with at_the_door(life.home.socket) as visitor:
            for author in self._authors:
                await author.life(visitor, 1)
            await self._operator.lets_go(visitor)
            await all_ended(visitor)


async def all_ended(visitor: Visitor) -> None:
    """Return when nothing is unfinished, and nothing comes of what has ended."""
    quiet = 0
    async with asyncio.timeout(BOUND_S):
        while quiet < 3:
            counts = (await visitor.emit("completion:status"))["status_counts"]
            quiet = 0 if any(counts.get(state, 0) for state in _UNFINISHED) else quiet + 1
            await asyncio.sleep(0.03)


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
    killing = asyncio.create_task(_killed_in(life, kill_in_s), name="killer")
    try:
        if await life.serves():
            await crew.life(life, 12)
            if point in ENDING:
                life.end()
        met = await killing
    finally:
        life.kill()
        killing.cancel()
    if point is not None:
        round_.met[point.name] = round_.met.get(point.name, False) or met
    clean(life)


async def _killed_in(life: Life, seconds: float) -> bool:
    """Kill a life unless it ends before; returns whether it was killed by itself."""
    try:
        async with asyncio.timeout(seconds):
            return await life.killed()
    except TimeoutError:
        life.kill()
        await life.ended()
        return False


async def drained(round_: Round, judge: Judge, crew: Crew) -> None:
    """Start once more, let everything end, ask the engine to end, and look at what is there."""
    life = await round_.home.start("serve")
    try:
        must(await life.serves(), f"it does not start again: {life.err}")
        try:
            await crew.last_life(life)
        except Gone as error:
            raise Broken(f"it ended by itself: {life.err}") from error
        life.end()
        code = await life.ended()
    finally:
        life.kill()
    must(code == 0, f"drained with code {code}: {life.err}")
    clean(life)
    found = judge.at_the_end()
    judge.in_order(found)
    judge.injected(found)


def clean(life: Life) -> None:
    """Nothing of a fault was said to the user."""
    must("Traceback" not in life.err, f"a traceback on stderr: {life.err}")


POINTS: Final = {point.name: point for point in (*SERVED, *STARTING, *ENDING)}
Play = Callable[[Round], Awaitable[None]]
RANDOM: Final = "a random moment"
KINDS: Final[dict[str, Play]] = {RANDOM: served, **dict.fromkeys(POINTS, served)}


def kinds_of(seeds: Sequence[int]) -> list[str]:
    """Return the kind of the round of each seed: they take turns."""
    turns = turn_order()
    return [turns[seed % len(turns)] for seed in seeds]


def turn_order() -> list[str]:
    """Return the kinds in the order in which they take turns; some have several."""
    named = [name for name in KINDS if name != RANDOM]
    return [name for at, each in enumerate(named) for name in _with_random(at, each)]


def _with_random(at: int, name: str) -> tuple[str, ...]:
    return (name, RANDOM) if at % 6 == 0 else (name,)


async def play(seed: int, folder: Path, kind: str | None = None) -> Round:
    """Play the round of a seed in a folder; raises Broken where a promise does not hold."""
    chosen = kind or kinds_of([seed])[0]
    round_ = Round(
        seed=seed, kind=chosen, home=Home(folder=folder), dice=random.Random(f"{seed} {chosen}")
    )
    await KINDS[chosen](round_)
    return round_


__all__ = ["KINDS", "RANDOM", "Round", "Trap", "kinds_of", "play", "turn_order"]
