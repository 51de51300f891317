"""Plays `ksi-tui web` in Chromium and takes pictures: `make browser`. Needs Chromium.

Two visitors on one engine, at two sizes: the overview, a dialog, a cancel by one that both see,
the engine killed and started again, the web server killed and started again. Each step waits for
what it is to show and fails where that does not come; the pictures are to be looked at.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from ksi_tui.screens.dialog import GUARD_S
from tests.browser.chromium import Browser, Page, browsing, found

PICTURES = Path("shots") / "browser"
SMALL, LARGE = (800, 480), (1400, 900)
_BOUND_S = 60


class Stage:
    """An engine and a web server of their own, in a home of their own."""

    def __init__(self, home: Path) -> None:
        self.environ = {
            **os.environ,
            "HOME": str(home),
            "XDG_STATE_HOME": str(home / "state"),
            "XDG_CONFIG_HOME": str(home / "config"),
        }
        self.home = home
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command and wait for its first line."""
        process = subprocess.Popen(
            [sys.executable, "-m", "ksi_tui", *arguments],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        assert process.stderr is not None
        said = process.stderr.readline()
        assert "serving" in said, said
        process.said = said  # type: ignore[attr-defined]
        return process

    def run(self, *arguments: str) -> str:
        """Run a command to its end and return what it printed."""
        return subprocess.run(
            [sys.executable, "-m", "ksi_tui", *arguments],
            env=self.environ,
            check=True,
            capture_output=True,
            text=True,
            timeout=_BOUND_S,
        ).stdout

    def submit(self, request: str, **more: str) -> None:
        """Put a request in."""
        self.run("emit", "completion:async", json.dumps({"request_id": request, **more}))

    def load(self) -> None:
        """Give the engine something to show."""
        for n in range(1, 4):
            self.submit(f"r-hang-{n}", prompt="x", model="sim/hang", session_id=f"acme-{n}")
            self.submit(f"r-behind-{n}", prompt="x", model="sim/echo", session_id=f"acme-{n}")
        self.submit("r-echo", prompt="hello", model="sim/echo")

    def web(self, port: int = 0) -> tuple[subprocess.Popen[str], str]:
        """Start the web server; returns it and its whole address."""
        process = self.start("web", "--listen", f"127.0.0.1:{port}")
        key = (self.home / "state" / "ksi-tui" / "web.key").read_text().strip()
        url = process.said.split()[2].replace("KEY", key)  # type: ignore[attr-defined]
        return process, url

    def end(self) -> None:
        """End what still runs."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.wait(_BOUND_S)


async def main() -> int:
    """Play it; returns the exit code."""
    program = found()
    if program is None:
        print("skipped: no Chromium is here (apt-get install chromium)")
        return 0
    PICTURES.mkdir(parents=True, exist_ok=True)
    # Chromium's own children may write into its profile for a moment after it has ended.
    with tempfile.TemporaryDirectory(
        prefix="ksi-tui-browser-", ignore_cleanup_errors=True
    ) as folder:
        stage = Stage(Path(folder))
        try:
            async with browsing(program, Path(folder) / "profile") as browser:
                await _play(stage, browser)
        finally:
            stage.end()
    print(f"played; the pictures are in {PICTURES}")
    return 0


async def _play(stage: Stage, browser: Browser) -> None:
    engine = stage.start("serve")
    web, url = stage.web()
    stage.load()
    one, two = await browser.open(*LARGE), await browser.open(*SMALL)
    for page, name in ((one, "large"), (two, "small")):
        await page.go(url)
        await page.hears("r-hang-1", "detach")
        await page.picture(PICTURES / f"overview-{name}.png")
    await _cancel(one, two)
    engine = await _killed(stage, engine, one, two)
    web = await _web_killed(stage, web, url, one)
    await _left(one)
    _asked_nobody_else([one, two], url)
    for process in (web, engine):
        process.send_signal(signal.SIGTERM)
        assert process.wait(_BOUND_S) in {0, 130}


async def _cancel(one: Page, two: Page) -> None:
    """Cancel by keys in one tab; both see it."""
    mark, other = len(one.heard), len(two.heard)
    await one.press("c")
    await one.hears("Keep running", since=mark)
    await one.picture(PICTURES / "dialog-large.png")
    await two.press("c")
    await two.hears("Keep running", since=other)
    await two.picture(PICTURES / "dialog-small.png")
    await two.press("Escape")
    other = len(two.heard)
    await asyncio.sleep(GUARD_S)  # a key that comes sooner is none, by design
    await one.press("Tab", "Enter")
    await one.hears("cancelled", since=mark)
    await two.hears("cancelled", since=other)
    await one.picture(PICTURES / "cancelled-by-one.png")
    await one.press("Escape")
    await two.picture(PICTURES / "cancelled-seen-by-the-other.png")


async def _killed(
    stage: Stage, engine: subprocess.Popen[str], one: Page, two: Page
) -> subprocess.Popen[str]:
    """Kill the engine and start it again; both tabs say so, and come back by themselves."""
    marks = [len(page.heard) for page in (one, two)]
    engine.kill()
    engine.wait(_BOUND_S)
    for page, mark, name in ((one, marks[0], "large"), (two, marks[1], "small")):
        await page.hears("no connection for", "STALE", since=mark)
        assert (await page.evaluate("document.title")).startswith("▲ ksi-tui")
        await page.picture(PICTURES / f"engine-gone-{name}.png")
    marks = [len(page.heard) for page in (one, two)]
    engine = stage.start("serve")
    stage.submit("r-after", prompt="x", model="sim/hang")
    for page, mark, name in ((one, marks[0], "large"), (two, marks[1], "small")):
        await page.hears("r-after", since=mark)
        await page.picture(PICTURES / f"engine-back-{name}.png")
    return engine


async def _web_killed(
    stage: Stage, web: subprocess.Popen[str], url: str, page: Page
) -> subprocess.Popen[str]:
    """Kill the web server; its page says so, and comes back by itself."""
    mark = len(page.heard)
    web.kill()
    web.wait(_BOUND_S)
    await page.says("the line broke; back as soon as ksi-tui web answers")
    await page.picture(PICTURES / "line-broken.png")
    port = urlsplit(url).port
    assert port is not None
    web, again = stage.web(port)
    assert again == url
    await page.hears("r-after", "detach", since=mark)
    return web


async def _left(page: Page) -> None:
    """Leave by q: the page says so, and its button attaches again."""
    await page.press("q")
    await page.says("detached; the engine goes on")
    await page.picture(PICTURES / "left.png")
    mark = len(page.heard)
    await page.press("Enter")
    await page.hears("detach", since=mark)


def _asked_nobody_else(pages: list[Page], url: str) -> None:
    """No page asked anybody but us for anything, and none complained."""
    here = urlsplit(url).netloc
    asked = [each for page in pages for each in page.asked_for]
    assert asked
    assert {urlsplit(each).netloc for each in asked if not each.startswith("data:")} == {here}
    wrong = [each for page in pages for each in page.complaints if "ERR_CONNECTION" not in each]
    assert not wrong, wrong


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
