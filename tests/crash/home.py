"""A home for the command, and its processes: started, watched, killed, by their ids only."""

from __future__ import annotations

import asyncio
import json
import os
import select
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ksi_tui.door.place import answers, socket_of
from tests.crash.points import Trap

ROOT: Final = Path(__file__).parents[2]
BOUND_S: Final = 60.0
"""No wait of the harness is longer; a healthy one takes a fraction of it."""
_KEPT: Final = ("PATH", "LANG", "LC_ALL")


class Broken(AssertionError):
    """A promise that does not hold."""


def must(holds: object, what: str) -> None:
    """Raise Broken where something does not hold."""
    if not holds:
        raise Broken(what)


@dataclass(slots=True, kw_only=True)
class Home:
    """The folder of one round: settings, state and what each life said."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)
    lives: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.environ = {name: os.environ[name] for name in _KEPT if name in os.environ} | {
            "HOME": str(self.folder),
            "XDG_STATE_HOME": str(self.folder / "state"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "PYTHONPATH": str(ROOT),
        }

    @property
    def state(self) -> Path:
        """The folder of database, response files and log."""
        return self.folder / "state" / "ksi-tui"

    @property
    def database(self) -> Path:
        """The database."""
        return self.state / "ksi.db"

    @property
    def socket(self) -> Path:
        """The door."""
        return socket_of(self.database)

    def configure(self, text: str) -> None:
        """Write the settings."""
        (self.folder / "ksi-tui.toml").write_text(text, encoding="utf-8")

    async def start(
        self, *arguments: str, traps: Sequence[Trap] = (), limits: Mapping[int, int] | None = None
    ) -> Life:
        """Start the command, with traps in it; `limits` are resources' as `setrlimit` has them."""
        self.lives += 1
        given = ("--config", str(self.folder / "ksi-tui.toml"), *arguments)
        command = (
            ["-m", "tests.crash.launcher", json.dumps([*traps])] if traps else ["-m", "ksi_tui"]
        )
        said = self.folder / f"life-{self.lives}"
        with said.with_suffix(".out").open("wb") as out, said.with_suffix(".err").open("wb") as err:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *command,
                *given,
                env=self.environ,
                cwd=self.folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                preexec_fn=_limiting(limits) if limits else None,
            )
        return Life(home=self, process=process, said=said)

    def copied(self) -> Path:
        """Return a copy of the database as a kill left it, so that looking changes nothing."""
        folder = self.folder / "copy"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name in ("ksi.db", "ksi.db-wal"):
            if (path := self.state / name).exists():
                shutil.copyfile(path, folder / name)
        return folder / "ksi.db"


def _limiting(limits: Mapping[int, int]) -> Any:
    import resource

    def limit() -> None:
        for which, most in limits.items():
            resource.setrlimit(which, (most, most))

    return limit


@dataclass(slots=True, kw_only=True)
class Life:
    """One process of the command."""

    home: Home
    process: asyncio.subprocess.Process
    said: Path
    _by_us: bool = False

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.process.returncode is not None

    @property
    def err(self) -> str:
        """What it has said on stderr so far."""
        return self.said.with_suffix(".err").read_text(encoding="utf-8")

    @property
    def out(self) -> str:
        """What it has said on stdout so far; the last line may be half a one."""
        return self.said.with_suffix(".out").read_text(encoding="utf-8")

    async def serves(self) -> bool:
        """Return whether the door answers, once it does; False when the life ends before that."""
        async with asyncio.timeout(BOUND_S):
            while not await asyncio.to_thread(answers, self.home.socket):
                if self.over:
                    return False
                await asyncio.sleep(0.01)
        return True

    def workers(self) -> list[int]:
        """Return the ids of the processes that it has started."""
        return children_of(self.process.pid)

    def kill(self) -> None:
        """Kill it, if it still lives."""
        self._by_us = self._by_us or not self.over
        with suppress(ProcessLookupError):
            self.process.kill()

    def end(self) -> None:
        """Ask it to end."""
        with suppress(ProcessLookupError):
            self.process.terminate()

    async def ended(self) -> int:
        """Return its exit code, once it has ended."""
        async with asyncio.timeout(BOUND_S):
            return await self.process.wait()

    async def trapped(self) -> bool:
        """Return whether it died by a trap of its own; waits for its end."""
        return await self.ended() == -signal.SIGKILL and not self._by_us


def children_of(pid: int) -> list[int]:
    """Return the ids of a process's children."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):
            if int(stat.read_text().rpartition(") ")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def gone(pid: int, within_s: float) -> bool:
    """Return whether a process ends within so many seconds."""
    try:
        watch = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([watch], [], [], within_s)[0])
    finally:
        os.close(watch)
