"""Renders every screen in every designed state at both sizes: `python -m tests.ui.shots`.

Not a test: pictures (`shots/*.svg`, for a look) and the same as text (`shots/*.txt`, to lay
beside the designed pictures); those in docs/pictures.md are written anew too. With names, only
those, and no document: `python -m tests.ui.shots overview why`.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.ui.gallery import SCENES, Scene
from tests.ui.harness import dashboard

FOLDER = Path("shots")
DOCUMENT = Path(__file__).parents[2] / "docs" / "pictures.md"
_PICTURE = re.compile(r"<!-- picture: (\S+)-(\d+)x(\d+) -->\n(?:\n```text\n.*?\n```\n)?", re.DOTALL)
_COLOURS = {"theme": "ksi-dark"}
"""Unless a scene says otherwise: what would be shown depends on the terminal this is started in."""


@contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


async def text_of(scene: Scene, size: tuple[int, int]) -> str:
    """Return a scene as text, a line for each of the terminal's."""
    return (await _rendered(scene, size, ""))[0]


async def _rendered(scene: Scene, size: tuple[int, int], title: str) -> tuple[str, str]:
    with _environment(scene.environment):
        ui = {**_COLOURS, **scene.ui}
        options = scene.app_options
        async with dashboard(
            scene.engine(), size, ready=scene.ready, app_options=options, **ui
        ) as hand:
            await scene.play(hand)
            await hand.pilot.pause(0.1)
            picture = hand.app.export_screenshot(title=title)
            taken = hand.screen, picture.replace("<text ", '<text xml:space="preserve" ')
            if scene.end is not None:
                scene.end(hand.client)
            return taken


async def render(folder: Path, names: Sequence[str]) -> int:
    """Render scenes and return how many pictures were written."""
    written = 0
    for name in names:
        for size in SCENES[name].sizes:
            stem = f"{name}-{size[0]}x{size[1]}"
            text, picture = await _rendered(SCENES[name], size, stem)
            (folder / f"{stem}.svg").write_text(picture, encoding="utf-8")
            (folder / f"{stem}.txt").write_text(text + "\n", encoding="utf-8")
            written += 1
    return written


def named(document: str) -> list[tuple[str, tuple[int, int]]]:
    """Return which pictures a document has, in its order."""
    return [(name, (int(w), int(h))) for name, w, h in _PICTURE.findall(document)]


async def illustrated(document: str) -> str:
    """Return a document with the pictures that it names as they are now."""
    pieces = []
    at = 0
    for found in _PICTURE.finditer(document):
        name, size = found[1], (int(found[2]), int(found[3]))
        mark = found[0].partition("\n")[0]
        text = await text_of(SCENES[name], size)
        pieces += [document[at : found.start()], f"{mark}\n\n```text\n{text}\n```\n"]
        at = found.end()
    return "".join([*pieces, document[at:]])


async def _all(folder: Path) -> int:
    written = await render(folder, list(SCENES))
    document = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(await illustrated(document), encoding="utf-8")
    return written


def main() -> None:
    """Render what is named, by default everything, into the folder `shots`."""
    unknown = [name for name in sys.argv[1:] if name not in SCENES]
    if unknown:
        raise SystemExit(f"no such picture: {', '.join(unknown)}; there are {', '.join(SCENES)}")
    FOLDER.mkdir(exist_ok=True)
    wanted = sys.argv[1:]
    written = asyncio.run(render(FOLDER, wanted) if wanted else _all(FOLDER))
    print(f"{written} pictures in {FOLDER}")


if __name__ == "__main__":
    main()
