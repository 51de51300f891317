"""A user at a real terminal: the real command in a tmux server of its own, keys in, panes out.

Everything is in one temporary folder: the socket, the home, the state, the settings. Leaving
ends that server through its socket, and with it whatever still runs in it.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.scenes import story

BOUND_S = 60.0
"""The longest that a step waits for what should follow."""
_POLL_S = 0.1
_KEY_S = 0.1
_ESCAPE_S = 0.4
"""A terminal takes what follows an escape at once as a part of it."""
_MEANT_S = 0.5
"""A dialog takes no press as meant in its first 0.4 s, nor so soon after another."""
_STEP_S = 1.0
"""How long the step to another field may take."""
_ROOT = Path(__file__).parents[2]
_KEYS = {
    "enter": "Enter",
    "escape": "Escape",
    "tab": "Tab",
    "shift+tab": "BTab",
    "backspace": "BSpace",
    "space": "Space",
    "left": "Left",
    "right": "Right",
    "up": "Up",
    "down": "Down",
    "ctrl+up": "C-Up",
    "slash": "/",
    "exclamation_mark": "!",
    "question_mark": "?",
}
_EDITOR = "s = open(f).read().replace('vanished', 'stayed'); open(f, 'w').write(s)"


class Terminal:
    """The dashboard in a terminal of `columns` by `lines`; a `User` of the scenes."""

    def __init__(self, folder: Path, columns: int, lines: int) -> None:
        self._folder = folder
        self._size = columns, lines
        self._socket = str(folder / "tmux.sock")

    @property
    def wide(self) -> bool:
        """Whether the terminal has room for every pane."""
        return self._size[0] >= 140

    async def __aenter__(self) -> Self:
        (self._folder / "config" / "ksi-tui").mkdir(parents=True)
        self._settings.write_text(story.settings(self._folder), encoding="utf-8")
        editor = self._folder / "editor.py"
        editor.write_text(f"import sys; f = sys.argv[1]; {_EDITOR}\n", encoding="utf-8")
        await self._begin()
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        pid = (await self._tmux("display-message", "-p", "#{pane_pid}", check=False)).strip()
        await self._tmux("kill-server", check=False)
        end = time.monotonic() + BOUND_S
        while pid and os.path.exists(f"/proc/{pid}") and time.monotonic() < end:  # noqa: ASYNC110, ASYNC240 - a process of ours, bounded
            await asyncio.sleep(_POLL_S)

    @property
    def _settings(self) -> Path:
        return self._folder / "config" / "ksi-tui" / "prod-eu.toml"

    async def _begin(self) -> None:
        environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(_ROOT),
            "HOME": str(self._folder),
            "XDG_STATE_HOME": str(self._folder / "state"),
            "XDG_CONFIG_HOME": str(self._folder / "config"),
            "TERM": "screen-256color",
            "LANG": "C.UTF-8",
            "EDITOR": f"{sys.executable} {self._folder / 'editor.py'}",
        }
        given = [f"{name}={value}" for name, value in environ.items()]
        run = ["env", "-i", *given, sys.executable, "-m", "ksi_tui", "--config", self._settings]
        command = shlex.join(map(str, run))
        columns, lines = map(str, self._size)
        await self._tmux(
            "-f", "/dev/null", "new-session", "-d", "-x", columns, "-y", lines, command
        )
        await self._tmux("set-option", "-s", "set-clipboard", "on")
        await self._tmux("set-option", "-g", "remain-on-exit", "on")

    async def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            before = await self._cursor()
            await self._tmux("send-keys", _KEYS.get(key, key.replace("ctrl+", "C-")))
            await asyncio.sleep(_ESCAPE_S if key == "escape" else _KEY_S)
            if key in ("tab", "shift+tab"):
                await self._leaves(before)

    async def _cursor(self) -> str:
        return await self._tmux("display-message", "-p", "#{cursor_x},#{cursor_y}")

    async def _leaves(self, place: str) -> None:
        """Wait until the cursor is elsewhere: the next field has it then; a button has none."""
        end = time.monotonic() + _STEP_S
        while await self._cursor() == place and time.monotonic() < end:  # noqa: ASYNC110 - a terminal tells nothing
            await asyncio.sleep(_POLL_S)

    async def type(self, text: str) -> None:
        """Type a text, not before what has the keys is seen to have them."""
        await asyncio.sleep(_ESCAPE_S)
        await self._tmux("send-keys", "-l", "--", text)
        await asyncio.sleep(_KEY_S)

    async def screen(self) -> str:
        """Return what the terminal shows."""
        return await self._tmux("capture-pane", "-p")

    async def sees(self, *texts: str) -> None:
        """Wait until all of the texts stand on the screen."""
        await self._until(lambda shown: all(text in shown for text in texts), texts)

    async def confirms(self) -> None:
        """Press the focused button, as somebody who has read what it says."""
        await asyncio.sleep(_MEANT_S)
        await self.press("enter")

    async def copied(self, *texts: str) -> None:
        """Wait until what the dashboard has handed to the terminal's clipboard has the texts."""
        end, held = time.monotonic() + BOUND_S, ""
        while not held or not all(text in held for text in texts):
            if time.monotonic() > end:
                raise AssertionError(f"{texts} not copied, but:\n{held}")
            await asyncio.sleep(_POLL_S)
            held = await self._tmux("show-buffer", check=False)

    async def restarts(self) -> None:
        """Leave with the work for the next time, and come back."""
        await self.press("q")
        await self.sees("Leave with work in flight?")
        await asyncio.sleep(_MEANT_S)
        await self.press("l")
        end = time.monotonic() + BOUND_S
        while await self._tmux("display-message", "-p", "#{pane_dead}") != "1\n":
            if time.monotonic() > end:
                raise AssertionError(f"still there:\n{await self.screen()}")
            await asyncio.sleep(_POLL_S)
        await self._tmux("kill-server")
        await self._begin()
        await self.sees("DEGRADED")

    async def _until(self, holds: Callable[[str], bool], texts: tuple[str, ...]) -> None:
        end, shown = time.monotonic() + BOUND_S, ""
        while not holds(shown):
            if time.monotonic() > end:
                missing = [text for text in texts if text not in shown]
                raise AssertionError(f"never {missing}\n{shown}")
            await asyncio.sleep(_POLL_S)
            shown = await self._tmux("capture-pane", "-p")

    async def _tmux(self, *arguments: str, check: bool = True) -> str:
        process = await asyncio.create_subprocess_exec(
            "tmux",
            "-S",
            self._socket,
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, error = await process.communicate()
        if check and process.returncode:
            raise RuntimeError(f"tmux {arguments[0]}: {error.decode().strip()}")
        return out.decode()
