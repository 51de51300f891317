"""Copying: the system's own tool where there is one, else the terminal's clipboard (OSC 52).

A tool's success is known, the terminal's is not, and what is said tells which it was. No
shell, no text on a command line, and no wait without an end.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

LIMIT_S = 2.0
"""So long a tool may take, in seconds."""
_ACTS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""What would act on a terminal into which the text is pasted; line ends and tabs stay."""

Tool = tuple[str, ...]


def tools(
    environ: Mapping[str, str],
    *,
    platform: str = sys.platform,
    which: Callable[[str], str | None] = shutil.which,
) -> list[Tool]:
    """Return the commands that may take a text on stdin here, the best first.

    Over ssh the machine's own clipboard is not the user's: only what reaches a display of
    theirs counts.
    """
    found: list[Tool] = []
    if environ.get("WAYLAND_DISPLAY"):
        found.append(("wl-copy",))
    if environ.get("DISPLAY"):
        found += [("xclip", "-selection", "clipboard", "-in"), ("xsel", "--clipboard", "--input")]
    if not (environ.get("SSH_CONNECTION") or environ.get("SSH_TTY")):
        if platform == "darwin":
            found.append(("pbcopy",))
        if environ.get("WSL_DISTRO_NAME") or platform == "win32":
            found.append(("clip.exe",))
    return [tool for tool in found if which(tool[0]) is not None]


def pasteable(text: str) -> str:
    """Return a text without what acts on a terminal; carriage returns become newlines."""
    return _ACTS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


async def copy(text: str, offered: Sequence[Tool], osc52: Callable[[str], object]) -> str:
    """Copy a text and return in words what became of it; `osc52` hands it to the terminal."""
    text = pasteable(text)
    for tool in offered:
        if await _taken(tool, text):
            return f"copied by {tool[0]}"
    osc52(text)
    return "offered to the terminal's clipboard (OSC 52), which does not say whether it took it"


async def _taken(tool: Tool, text: str) -> bool:
    """Whether a tool took the text; one that lingers with the selection has gone behind by then."""
    try:
        process = await asyncio.create_subprocess_exec(
            *tool,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return False
    encoding = "utf-16-le" if tool[0] == "clip.exe" else "utf-8"
    try:
        await asyncio.wait_for(process.communicate(text.encode(encoding)), LIMIT_S)
    except TimeoutError:
        return False
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return process.returncode == 0
