"""Rounds on a machine that fails the engine: its disk, its file, its clock.

What cannot be kept is refused in words; what was kept stays, and goes on when all is well.
"""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.crash import load
from tests.crash.home import Home, Life, must
from tests.crash.judge import Judge
from tests.crash.ledger import ledger
from tests.crash.load import Record
from tests.crash.serving import Crew, drained
from tests.crash.stage import Round, clean, killed_in

_LOAD_S: Final = 8.0
"""How long clients try to be served by an engine that may not be able to."""
_PAGE: Final = 4096
_HOUR_S: Final = 3600.0


def _judge(round_: Round, *, one_clock: bool = True, faultless: bool = False) -> Judge:
    round_.home.configure(load.SETTINGS)
    return Judge(home=round_.home, record=Record(), one_clock=one_clock, faultless=faultless)


async def _loaded(crew: Crew, life: Life, requests: int = 12) -> None:
    """Ask for so much of an engine, for a bounded time."""
    must(await life.serves(), f"it does not start: {life.err}")
    with suppress(TimeoutError):
        async with asyncio.timeout(_LOAD_S):
            await crew.life(life, requests)


async def _over(life: Life, *, kill: bool) -> None:
    """Let a life end: killed, or asked to."""
    if kill:
        life.kill()
    else:
        life.end()
    code = await life.ended()
    must(kill or code in (0, 130), f"ended with code {code}: {life.err}")
    clean(life)


async def _refused(home: Home, words: str) -> None:
    """An engine that cannot start says why in one line and ends with code 2."""
    life = await home.start("serve")
    try:
        code = await life.ended()
    finally:
        life.kill()
    lines = life.err.splitlines()
    must((code, len(lines)) == (2, 1), f"refused with code {code}: {life.err}")
    must(words in lines[0] and str(home.database) in lines[0], f"refused with {lines[0]!r}")


# --- the disk -------------------------------------------------------------------------------------


@contextmanager
def _disk(place: Path, kilobytes: int) -> Iterator[None]:
    """Put a small disk of its own where the state will be."""
    place.mkdir(parents=True)
    _mount("mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place))
    try:
        yield
    finally:
        _mount("umount", "-l", str(place))


def _mount(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


async def filled(round_: Round) -> None:
    """Let the disk be full under load, then kill or not, then make room."""
    home, dice = round_.home, round_.dice
    judge = _judge(round_)
    crew = Crew(round_, judge)
    state = home.state.parent
    with _disk(state, dice.randint(1_500, 4_000)):
        life = await home.start("serve")
        try:
            await _loaded(crew, life)
            told = set(judge.record.refused.values())
            full = [text for text in told if "the disk is full; free some space" in text]
            must(full, f"the disk was never full: {told}")
            if dice.random() < 0.3:  # room comes while it lives
                _mount("mount", "-o", "remount,size=200m", str(state))
            await _over(life, kill=dice.random() < 0.6)
        finally:
            life.kill()
        judge.after_a_kill()
        await _starts_or_says_why(home)
        _mount("mount", "-o", "remount,size=200m", str(state))
        judge.after_a_kill()
        await drained(round_, judge, crew)


async def _starts_or_says_why(home: Home) -> None:
    """An engine on a full disk works on what it has, or refuses to start in one line."""
    life = await home.start("serve")
    try:
        if await life.serves():
            await _over(life, kill=True)
        else:
            code, lines = await life.ended(), life.err.splitlines()
            must((code, len(lines)) == (2, 1), f"refused with code {code}: {life.err}")
            must("the disk is full; free some space" in lines[0], f"refused with {lines[0]!r}")
    finally:
        life.kill()


async def limited(round_: Round) -> None:
    """Let no file of the engine grow over a limit under load, then kill it."""
    judge = _judge(round_)
    crew = Crew(round_, judge)
    most = round_.dice.randint(600_000, 2_000_000)
    life = await round_.home.start("serve", limits={resource.RLIMIT_FSIZE: most})
    try:
        await _loaded(crew, life)
        must(judge.record.refused, "no file came to its limit")
        for text in judge.record.refused.values():
            must("nothing was accepted: cannot write the database" in text, f"refused with {text}")
        await _over(life, kill=True)
    finally:
        life.kill()
    judge.after_a_kill()
    await drained(round_, judge, crew)


async def read_only(round_: Round) -> None:
    """Start on a folder that cannot be written, with work in it, then on one that can."""
    judge = _judge(round_)
    crew = Crew(round_, judge)
    state = round_.home.state.parent
    with _disk(state, 200_000):
        life = await round_.home.start("serve")
        try:
            await _loaded(crew, life)
            await _over(life, kill=True)
        finally:
            life.kill()
        _mount("mount", "-o", "remount,ro", str(state))
        await _refused(round_.home, "Read-only file system")
        _mount("mount", "-o", "remount,rw", str(state))
        judge.after_a_kill()
        await drained(round_, judge, crew)


# --- the file -------------------------------------------------------------------------------------


async def locked(round_: Round) -> None:
    """Let another program hold the database for a while under load, and while one starts."""
    home, dice = round_.home, round_.dice
    judge = _judge(round_)
    crew = Crew(round_, judge)
    life = await home.start("serve")
    try:
        must(await life.serves(), f"it does not start: {life.err}")
        loading = asyncio.create_task(_loaded(crew, life), name="load")
        await asyncio.sleep(dice.random() * 0.3)
        with closing(_other(home)) as other:
            await asyncio.to_thread(other.execute, "BEGIN IMMEDIATE")
            await asyncio.sleep(dice.random() * 4)
            other.execute("ROLLBACK")
        await loading
        await _over(life, kill=True)
    finally:
        life.kill()
    for text in judge.record.refused.values():
        must("another program holds it locked; end that one" in text, f"refused with {text}")
    judge.after_a_kill()
    with closing(_other(home)) as other:
        other.execute("BEGIN EXCLUSIVE")
        await _refused(home, "another program holds it locked; end that one")
    await drained(round_, judge, crew)


def _other(home: Home) -> sqlite3.Connection:
    """Return another program's connection, which waits for its turn."""
    return sqlite3.connect(home.database, timeout=10, isolation_level=None, check_same_thread=False)


async def broken(round_: Round) -> None:
    """Break a page of the database; then put a good copy back, as the message says."""
    home, dice = round_.home, round_.dice
    judge = _judge(round_)
    crew = Crew(round_, judge)
    life = await home.start("serve")
    try:
        await _loaded(crew, life)
        await _over(life, kill=True)
    finally:
        life.kill()
    judge.after_a_kill()
    good = home.copied()
    ledger(good)  # and with it the log goes into the file
    kept = home.folder / "kept"
    kept.mkdir()
    if (filed := home.state / "responses").exists():
        shutil.copytree(filed, kept / "responses")
    shutil.copyfile(good, kept / "ksi.db")
    pages = good.stat().st_size // _PAGE
    for _ in range(3):
        _put(kept, home)
        with home.database.open("r+b") as file:
            file.seek(dice.randrange(1, pages) * _PAGE)
            file.write(dice.randbytes(_PAGE))
        await _lives_with_it(round_, home)
    _put(kept, home)
    judge.after_a_kill()
    await drained(round_, judge, crew)


def _put(kept: Path, home: Home) -> None:
    for ending in ("-wal", "-shm"):
        home.database.with_name(f"ksi.db{ending}").unlink(missing_ok=True)
    shutil.rmtree(home.state / "responses", ignore_errors=True)
    shutil.copytree(kept, home.state, dirs_exist_ok=True)


async def _lives_with_it(round_: Round, home: Home) -> None:
    """An engine on a broken database refuses to start in one line, or serves what it can."""
    life = await home.start("serve")
    try:
        if await life.serves():
            crew = Crew(round_, Judge(home=home, record=Record()))
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await crew.life(life, 2)
            for text in crew.record.refused.values():
                must(str(home.database) in text or "is known" in text, f"refused with {text}")
            must(not life.over, f"it ended by itself: {life.err}")
            await _over(life, kill=True)
        else:
            lines = life.err.splitlines()
            code = await life.ended()
            must((code, len(lines)) == (2, 1), f"refused with code {code}: {life.err}")
            must("it is damaged" in lines[0], f"refused with {lines[0]!r}")
    finally:
        life.kill()


# --- the clock ------------------------------------------------------------------------------------


async def jumped(round_: Round) -> None:
    """Let the wall clock jump by hours, between lives and within them."""
    judge = _judge(round_, one_clock=False, faultless=True)
    crew = Crew(round_, judge)
    dice = round_.dice
    for _ in range(3):
        by_s = dice.choice((-1, 1)) * dice.uniform(1, 12) * _HOUR_S
        after_s = dice.choice((0.0, 1.0))
        trap = {"on": "clock", "by_s": by_s, "after_s": after_s}
        life = await round_.home.start("serve", traps=[trap])
        try:
            must(await life.serves(), f"it does not start: {life.err}")
            killing = asyncio.create_task(killed_in(life, dice.uniform(0.2, 2)), name="killer")
            await crew.life(life, 8)
            await killing
        finally:
            life.kill()
        clean(life)
        judge.after_a_kill()
    await drained(round_, judge, crew)
    found = ledger(round_.home.copied())
    late = [n for n, each in found.requests.items() if each["error_kind"] == "deadline_exceeded"]
    must(not late, f"a jump of the clock has ended {late}")


_PLAYS: Final[dict[str, Callable[[Round], Awaitable[None]]]] = {
    "a file's limit under load": limited,
    "the database locked by another": locked,
    "a broken page": broken,
    "the clock jumps": jumped,
}
_OF_ROOT: Final[dict[str, Callable[[Round], Awaitable[None]]]] = {
    "the disk full under load": filled,
    "a read-only folder": read_only,
}
KINDS: Final = _PLAYS | (_OF_ROOT if os.geteuid() == 0 else {})
"""Disks of one's own are root's only."""
