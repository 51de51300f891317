"""`ksi-tui web` as a process: real dashboards on a real engine, and how it begins and ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ksi_tui.browser import DRIVER
from ksi_tui.cli import main
from ksi_tui.commands import web as web_command
from ksi_tui.screens.dialog import GUARD_S
from tests.acceptance.conftest import BOUND_S, Machine, machine
from tests.engine.engine_fixtures import held, until
from tests.remote.stage import served
from tests.web.stage import Browser, Tab, runs

__all__ = ["machine"]  # the fixture

PASTE = "\x1b[200~a\x1b\rqqq\x1b[201~"
"""Taken as keys, this leaves the dashboard."""


_TRIES = 20


async def serving(machine: Machine, socket: Path) -> tuple[subprocess.Popen[str], str, str]:
    """Start the web server; returns it, its URL and its key."""
    process = machine.start("web", "--listen", "127.0.0.1:0", socket, stdout=subprocess.DEVNULL)
    assert process.stderr is not None
    said = await asyncio.to_thread(process.stderr.readline)
    key = (machine.database.parent / "web.key").read_text().strip()
    assert key not in said
    assert str(machine.database.parent / "web.key") in said
    return process, said.split()[2].removesuffix("/KEY/"), key


def children(pid: int) -> list[int]:
    """Return the processes that one has started."""
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def press(tab: Tab, keys: str) -> None:
    """Type into a page."""
    await tab.line.send_json(["stdin", keys])


async def test_visitors_act_on_one_engine_and_nothing_of_them_is_left(machine: Machine) -> None:
    machine.configure(more='[ui]\noperator = "op1"\nalert = "touch alerted"\n')
    async with served(machine.home, scripts={"p": held}) as (rig, door):
        request_id = await rig.submit(request_id="r-seen")
        web, url, key = await serving(machine, door.socket)
        async with aiohttp.ClientSession() as session:
            browser = Browser(session, url, key)
            async with browser.visiting("?width=140&height=45") as one:
                async with browser.visiting() as two:
                    await one.hears("r-seen")
                    await two.hears("r-seen")
                    names = [each["operator"] for each in door.attached.listed()]
                    assert sorted(map(str, names)) == ["op1 (web 1)", "op1 (web 2)"]
                    await _cancelled(one, two)
                    for each in children(web.pid):
                        assert os.getsid(each) == each  # ctrl+c on our terminal is not theirs
                        os.kill(each, signal.SIGCONT)  # and to be woken does them no harm
                    await rig.ended(request_id)
                    one.heard = ""
                    await rig.engine.emit("provider:open", {"provider": "p"})
                    await one.hears("\x1b]0;")  # the verdict has changed: that would alert
                    await _left(two)
                visitors = children(web.pid)
                web.send_signal(signal.SIGTERM)
                assert (await one.closed())[0] == aiohttp.WSCloseCode.GOING_AWAY
        assert await asyncio.to_thread(web.wait, BOUND_S) == 0
        assert visitors
        assert not any(map(runs, visitors))
        await until(lambda: not door.attached.listed())
        cancelled = await rig.emit("completion:request_status", request_id=request_id)
        assert "op1 (web 1)" in str(cancelled)
    assert not (machine.home / "alerted").exists()
    kept = [file for file in machine.home.rglob("*") if file.is_file()]
    assert [file.name for file in kept if key.encode() in file.read_bytes()] == ["web.key"]


async def _cancelled(one: Tab, two: Tab) -> None:
    """Cancel by keys in one; the other sees it."""
    two.heard = ""
    await press(one, "c")
    await one.hears("Keep running")
    await press(one, "\t")
    for _ in range(_TRIES):
        await press(one, "\r")
        with suppress(TimeoutError):  # by design an enter so soon after anything changed is none
            await two.hears("cancelled", 2 * GUARD_S)
            return
    pytest.fail("no enter was taken")


async def _left(tab: Tab) -> None:
    """Paste what would leave if it were keys; resize; leave by a key."""
    await press(tab, PASTE)
    await tab.line.send_json(["resize", {"width": 140, "height": 45}])
    await tab.hears("today")  # stands where there is room
    await press(tab, "q")
    assert await tab.closed() == (1000, "detached; the engine goes on")


async def test_a_dashboard_whose_server_died_leaves(machine: Machine) -> None:
    async with served(machine.home) as (_, door):
        process = machine.start(
            "attach",
            "--operator",
            "anna",
            door.socket,
            stdin=subprocess.PIPE,
            env={**machine.environ, "TEXTUAL_DRIVER": DRIVER},
        )
        await until(lambda: [each["operator"] for each in door.attached.listed()] == ["anna"])
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        process.stdin.close()
        process.stdin = None
        assert await asyncio.to_thread(process.wait, BOUND_S) == 0
        await until(lambda: not door.attached.listed())


# --- what is refused before anything starts -------------------------------------------------------


def test_without_an_engine_it_says_how_to_start_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["web", str(tmp_path / "my ksi.db")]) == 2
    said = capsys.readouterr().err
    assert f"no engine answers at {tmp_path}/my ksi.db.sock" in said
    assert f"ksi-tui --db '{tmp_path}/my ksi.db' serve" in said


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.7:0"])
def test_nothing_but_loopback_is_listened_on(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(web_command, "answers", lambda _: True)
    assert main(["web", "--listen", address]) == 2
    said = capsys.readouterr().err
    assert "loopback only" in said
    assert "ssh -L" in said
    assert "--tokens" not in said


def test_where_textual_serve_is_missing_it_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(name: str, *_: Any) -> None:
        assert name == "textual_serve"

    monkeypatch.setattr(web_command, "find_spec", none)
    assert main(["web"]) == 2
    assert "-m pip install textual-serve" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--tokens", "t.json", "web"], "--tokens does not go with 'web'"),
        (["--demo", "web"], "--demo is the dashboard's"),
        (["attach", "--operator", ""], "1 to 64 printable"),
        (["attach", "--operator", "a\x1b[2J"], "1 to 64 printable"),
        (["attach", "--operator", "a" * 65], "1 to 64 printable"),
    ],
)
def test_what_does_not_go_together(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_a_visitors_command_is_words_and_never_a_shells(tmp_path: Path) -> None:
    from ksi_tui.cli import parser

    options = parser().parse_args(
        ["--config", "my $(config).toml", "--ascii", "--read-only", "web", "x"]
    )
    place = tmp_path / "a b;$(touch x).sock"
    words = web_command._command(options, place, "o" * 64, 8)
    assert words[1:4] == ["-P", "-m", "ksi_tui"]
    assert words[-2:] == [f"{'o' * 56} (web 8)", str(place)]
    seen = parser().parse_args(words[4:])
    assert (seen.command, seen.place, seen.ascii, seen.read_only) == ("attach", place, True, True)
    assert seen.config == Path.cwd() / "my $(config).toml"
