"""Plays rounds and says how they went: `python -m tests.crash [--rounds N] [--seed N]`.

A round follows from its seed: `--seed S --rounds 1` plays it again. Exit code 1 when a promise
did not hold; the files of such a round stay, and it is said where.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.crash.home import Broken
from tests.crash.rounds import KINDS, kinds_of, play

_TOLD_EVERY: Final = 25


@dataclass(slots=True, kw_only=True)
class Tally:
    """How rounds went, by kind."""

    began: float = field(default_factory=time.monotonic)
    green: Counter[str] = field(default_factory=Counter)
    red: dict[int, str] = field(default_factory=dict)
    met: Counter[str] = field(default_factory=Counter)
    drawn: Counter[str] = field(default_factory=Counter)
    lives: int = 0
    took_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def told(self) -> None:
        """Print one line a kind of round, then the verdict."""
        for kind in KINDS:
            if count := self.green[kind]:
                met = (
                    f", point met {self.met[kind]} of {self.drawn[kind]}"
                    if self.drawn[kind]
                    else ""
                )
                print(f"  {kind}: {count} green, {self.took_s[kind] / count:.1f} s each{met}")
        missed = sorted(name for name in self.drawn if not self.met[name])
        if missed:
            print(f"  never met: {', '.join(missed)}")
        took_s = time.monotonic() - self.began
        green, lives = self.green.total(), self.lives
        print(f"{green} rounds green, {len(self.red)} red, {lives} lives, {took_s:.0f} s")
        for seed, why in sorted(self.red.items()):
            print(f"  red: python -m tests.crash --rounds 1 --seed {seed}   {why}")


async def _round(seed: int, kind: str, place: Path, tally: Tally) -> None:
    folder = place / f"{seed}"
    began = time.monotonic()
    try:
        played = await play(seed, folder, kind)
    except Exception as error:  # the harness's own boundary: one round, the others go on
        what = (
            str(error) if isinstance(error, Broken) else "".join(traceback.format_exception(error))
        )
        tally.red[seed] = f"{kind}: {what.splitlines()[-1][:200]}"
        print(f"seed {seed}: {kind}: RED: {what[:3000]}\n  files: {folder}", flush=True)
        return
    tally.green[kind] += 1
    tally.took_s[kind] += time.monotonic() - began
    tally.lives += played.home.lives
    if tally.green.total() % _TOLD_EVERY == 0:
        took_s = time.monotonic() - tally.began
        print(f"{tally.green.total()} rounds green after {took_s:.0f} s", flush=True)
    for name, met in played.met.items():
        tally.drawn[name] += 1
        tally.met[name] += met
    shutil.rmtree(folder, ignore_errors=True)


async def _all(seeds: range, kinds: list[str], place: Path, jobs: int, until: float) -> Tally:
    tally = Tally()
    left = list(zip(seeds, kinds, strict=True))[::-1]

    async def plays() -> None:
        while left and time.monotonic() < until:
            await _round(*left.pop(), place, tally)

    async with asyncio.TaskGroup() as tasks:
        for number in range(jobs):
            tasks.create_task(plays(), name=f"rounds-{number}")
    for seed, kind in left:
        tally.red[seed] = f"{kind}: not played, the time was over"
    return tally


def main() -> int:
    """Play the rounds that were asked for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    parser.add_argument("--kind", help=f"only rounds of this kind: {', '.join(KINDS)}")
    parser.add_argument(
        "--jobs", type=int, default=(os.cpu_count() or 1) + 1, help="rounds at once"
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="no round begins after these")
    options = parser.parse_args()
    seeds = range(options.seed, options.seed + options.rounds)
    kinds = [options.kind] * len(seeds) if options.kind else kinds_of(seeds)
    if unknown := set(kinds) - KINDS.keys():
        parser.error(f"no kind {', '.join(unknown)}")
    place = Path(tempfile.mkdtemp(prefix="ksi-crash-", dir=_memory()))
    print(f"{len(seeds)} rounds, seeds {seeds[0]} to {seeds[-1]}, files in {place}", flush=True)
    until = time.monotonic() + options.minutes * 60
    try:
        tally = asyncio.run(_all(seeds, kinds, place, options.jobs, until))
    except KeyboardInterrupt:
        print(f"interrupted; files: {place}")
        return 130
    tally.told()
    if not tally.red:
        shutil.rmtree(place, ignore_errors=True)
    return 1 if tally.red else 0


def _memory() -> str | None:
    """Return a folder in memory, where there is one: what a kill leaves outlives it there too."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


if __name__ == "__main__":
    sys.exit(main())
