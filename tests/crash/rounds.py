"""The kinds of rounds, whose turn it is, and playing one.

Everything but the machine's own timing follows from a round's seed.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from tests.crash import faulty, gatewaying, migrating, pruning, restoring, running, serving, working
from tests.crash.home import Home
from tests.crash.stage import Round

Play = Callable[[Round], Awaitable[None]]
RANDOM: Final = "a random moment"
KINDS: Final[dict[str, Play]] = {
    RANDOM: serving.served,
    **dict.fromkeys(serving.POINTS, serving.served),
    **dict.fromkeys(migrating.POINTS, migrating.migrated),
    **dict.fromkeys(pruning.POINTS, pruning.pruned),
    **dict.fromkeys(restoring.POINTS, restoring.restored),
    **dict.fromkeys(running.POINTS, running.ran),
    **dict.fromkeys(gatewaying.POINTS, gatewaying.gated),
    **working.KINDS,
    **faulty.KINDS,
}


def kinds_of(seeds: Sequence[int]) -> list[str]:
    """Return the kind of the round of each seed: they take turns."""
    turns = [name for at, each in enumerate(_named()) for name in _with_random(at, each)]
    return [turns[seed % len(turns)] for seed in seeds]


def _named() -> list[str]:
    return [name for name in KINDS if name != RANDOM]


def _with_random(at: int, name: str) -> tuple[str, ...]:
    """Put a random moment behind every sixth point."""
    return (name, RANDOM) if at % 6 == 0 else (name,)


async def play(seed: int, folder: Path, kind: str | None = None) -> Round:
    """Play the round of a seed in a folder; raises Broken where a promise does not hold."""
    chosen = kind or kinds_of([seed])[0]
    dice = random.Random(f"{seed} {chosen}")
    round_ = Round(seed=seed, kind=chosen, home=Home(folder=folder), dice=dice)
    await KINDS[chosen](round_)
    return round_
