"""Plays the scenes in a real terminal: `python -m tests.scenes [operator|developer|support] …`.

Needs tmux. After each step it prints what the user then sees. Exit code 1: a step was not seen.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.scenes import developer, operator, story, support
from tests.scenes.terminal import Terminal
from tests.scenes.user import Scene

SCENES: Mapping[str, Scene] = {
    "operator": operator.play,
    "developer": developer.play,
    "support": support.play,
}
SIZES = ((140, 45), (80, 24))


async def played(name: str, columns: int, lines: int) -> bool:
    """Play a scene; returns whether every step was seen."""
    about = f"{name} at {columns}x{lines}"
    with tempfile.TemporaryDirectory(prefix="ksi-scene-") as folder:
        await story.prepare(Path(folder))
        async with Terminal(Path(folder), columns, lines) as user:
            try:
                async for step in SCENES[name](user):
                    print(f"\n=== {about}: {step}\n{await user.screen()}", flush=True)
            except AssertionError as error:
                print(f"\n!!! {about}: {error}", flush=True)
                return False
    print(f"\n=== {about}: √ every step was seen", flush=True)
    return True


async def _all(names: list[str]) -> int:
    seen = [await played(name, *size) for name in names for size in SIZES]
    return 0 if all(seen) else 1


def main() -> None:
    """Play those that are named, or all."""
    names = sys.argv[1:] or list(SCENES)
    unknown = [name for name in names if name not in SCENES]
    if unknown:
        sys.exit(f"no scene {', '.join(unknown)}; there are {', '.join(SCENES)}")
    if shutil.which("tmux") is None:
        sys.exit("the scenes are played in tmux, and there is none")
    sys.exit(asyncio.run(_all(names)))


if __name__ == "__main__":
    main()
