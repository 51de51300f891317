"""The real command, as a process of its own in a home of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest

from tests.servers.forked import Template

BOUND_S = 100
"""No wait of these tests is longer; a healthy one takes a fraction of it."""

_AT_IMPORT = ("PYTHONPROFILE", "COVERAGE", "TEXTUAL_")
"""Variables that begin so are read before a forked command could have any of its own."""
_KEPT = ("PATH", "LANG", "LC_ALL", "SYSTEMROOT", "COVERAGE_PROCESS_START")
SETTINGS = """
[engine]
shutdown_grace_s = {grace_s}
{engine}
[retry]
initial_delay_s = 0
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        """The JSON lines of stdout."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(slots=True, kw_only=True)
class Machine:
    """A home with nothing in it, and the command.

    It is a fork of `template` unless that is None: then, and with the interpreter's own settings in
    `environ`, it starts from nothing.
    """

    home: Path
    environ: dict[str, str]
    template: Template | None
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def database(self) -> Path:
        """The database that commands use unless told otherwise."""
        return self.home / "state" / "ksi-tui" / "ksi.db"

    def configure(self, *, grace_s: float = 10, engine: str = "", more: str = "") -> Path:
        """Write the user's settings file and return it."""
        file = self.home / "config" / "ksi-tui" / "ksi-tui.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(SETTINGS.format(grace_s=grace_s, engine=engine) + more, encoding="utf-8")
        return file

    def file(self, name: str, requests: Sequence[Mapping[str, Any] | str]) -> Path:
        """Write an input file, one request a line."""
        path = self.home / name
        lines = [r if isinstance(r, str) else json.dumps(r) for r in requests]
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return path

    def start(self, *arguments: object, **options: Any) -> subprocess.Popen[str]:
        """Start the command and return its process; it is killed when the test ends."""
        words = [str(each) for each in arguments]
        options = {
            "env": self.environ,
            "cwd": self.home,
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            **options,
        }
        if self.template is None or any(each.startswith(_AT_IMPORT) for each in options["env"]):
            process = subprocess.Popen([sys.executable, "-m", "ksi_tui", *words], **options)
        else:
            process = self.template.start(words, **options)
        self.started.append(process)
        return process

    def kill_all(self) -> None:
        """End what still runs, so that a test that waits for it fails instead of hanging."""
        for process in self.started:
            process.kill()

    def run(self, *arguments: object, given: str | None = None, **options: Any) -> Ended:
        """Run the command to its end."""
        if given is not None:
            options["stdin"] = subprocess.PIPE
        process = self.start(*arguments, **options)
        out, err = process.communicate(given, timeout=BOUND_S)
        return Ended(code=process.returncode, out=out or "", err=err or "")


def lines_of(stream: IO[str], count: int) -> list[str]:
    """Return the next `count` lines, or fewer when the stream ends."""
    lines: list[str] = []
    while len(lines) < count and (line := stream.readline()):
        lines.append(line)
    return lines


@pytest.fixture
def warm_workers(template: Template | None, warm_worker: Sequence[str] | None) -> Iterator[None]:
    """Have the commands of a test fork their provider workers."""
    with pytest.MonkeyPatch.context() as patch:
        if template is not None:
            patch.setattr(template, "worker", warm_worker)
        yield


@pytest.fixture
def machine(
    tmp_path_factory: pytest.TempPathFactory, template: Template | None
) -> Iterator[Machine]:
    # Short, or doors would be in a folder of the system's, where killed engines leave sockets.
    home = tmp_path_factory.mktemp("m")
    environ = {name: value for name, value in os.environ.items() if name in _KEPT}
    environ |= {
        "HOME": str(home),
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "TERM": "xterm-256color",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    machine = Machine(home=home, environ=environ, template=template)
    watchdog = threading.Timer(BOUND_S, machine.kill_all)
    watchdog.start()
    yield machine
    watchdog.cancel()
    for process in machine.started:
        if process.poll() is None:
            process.kill()
            process.wait(BOUND_S)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()
