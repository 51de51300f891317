"""One round and one life of it: what every kind of round is put together from."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Final

from tests.crash.home import BOUND_S, Home, Life, must
from tests.crash.load import Visitor

MEETS_S: Final = 30.0
"""How long a load is given to come to a trap; its life is then killed all the same."""
_LINGERS_S: Final = 10.0
"""How long a life that has nothing more to do is given to come to its trap."""
_UNFINISHED: Final = ("queued", "processing", "retrying")


@dataclass(slots=True, kw_only=True)
class Round:
    """One round and what is to be said of it: how many lives, and which points were met."""

    seed: int
    kind: str
    home: Home
    dice: random.Random
    met: dict[str, bool] = field(default_factory=dict)

    def note(self, name: str, *, met: bool) -> None:
        """Note whether a life came to its trap."""
        self.met[name] = self.met.get(name, False) or met


async def killed_in(life: Life, seconds: float) -> bool:
    """Kill a life unless it ends before; returns whether it was killed by itself."""
    try:
        async with asyncio.timeout(seconds):
            return await life.trapped()
    except TimeoutError:
        life.kill()
        await life.ended()
        return False


async def met(life: Life, killing: asyncio.Task[bool]) -> bool:
    """Return whether a life that has nothing more to do came to its trap; it ends now."""
    done, _ = await asyncio.wait([killing], timeout=_LINGERS_S)
    if not done:
        life.kill()
    return await killing


async def all_ended(visitor: Visitor) -> None:
    """Return when nothing is unfinished, and nothing comes of what has ended."""
    quiet = 0
    async with asyncio.timeout(BOUND_S):
        while quiet < 3:
            counts = (await visitor.emit("completion:status"))["status_counts"]
            quiet = 0 if any(counts.get(state, 0) for state in _UNFINISHED) else quiet + 1
            await asyncio.sleep(0.03)


async def ended_well(life: Life) -> None:
    """Let an engine on which nothing is unfinished end, as it should."""
    life.end()
    code = await life.ended()
    must(code == 0, f"drained with code {code}: {life.err}")
    clean(life)


def clean(life: Life) -> None:
    """Nothing of a fault was said to the user."""
    must("Traceback" not in life.err, f"a traceback on stderr: {life.err}")
