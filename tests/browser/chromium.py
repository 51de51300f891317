"""Chromium without a window, driven by its DevTools protocol: pages, keys, pictures.

What a page shows is read from what its websocket heard, since a terminal on a canvas has no text.
"""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

WAIT_S = 30.0
_FLAGS = (
    "--headless=new",
    "--no-first-run",
    "--no-sandbox",  # as root there is none; nothing but our own page is opened
    "--disable-background-networking",
    "--disable-component-update",
    "--enable-unsafe-swiftshader",
    "--remote-debugging-port=0",
)
_KEYS: Mapping[str, tuple[str, int]] = {
    "Enter": ("\r", 13),
    "Escape": ("", 27),
    "Tab": ("", 9),
    "ArrowDown": ("", 40),
    "ArrowUp": ("", 38),
}


def found() -> str | None:
    """Return where Chromium is, None where it is not."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


class Page:
    """One tab: what was asked of it, and all that its websocket heard so far."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self.heard = b""
        self.asked_for: list[str] = []
        self.complaints: list[str] = []

    async def do(self, method: str, **given: Any) -> dict[str, Any]:
        """Send a command of the protocol and return its answer."""
        return await self._browser.do(method, given, self._session)

    async def size(self, width: int, height: int) -> None:
        """Give the tab a size in pixels."""
        await self.do(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    async def go(self, url: str) -> None:
        """Open an address."""
        await self.do("Page.navigate", url=url)

    async def press(self, *keys: str) -> None:
        """Press keys, by their names or as the characters that they type."""
        for key in keys:
            text, code = _KEYS.get(key, (key, ord(key.upper()) if len(key) == 1 else 0))
            given = {"key": key, "windowsVirtualKeyCode": code, **({"text": text} if text else {})}
            await self.do("Input.dispatchKeyEvent", type="keyDown", **given)
            await self.do("Input.dispatchKeyEvent", type="keyUp", key=key)

    async def hears(self, *words: str, since: int = 0) -> int:
        """Wait until all words were painted; returns where what comes later begins."""
        async with asyncio.timeout(WAIT_S):
            while not all(word.encode() in self.heard[since:] for word in words):
                await self._browser.news()
        return len(self.heard)

    async def evaluate(self, expression: str) -> Any:
        """Return what an expression is in the page."""
        found = await self.do("Runtime.evaluate", expression=expression, awaitPromise=True)
        return found["result"].get("value")

    async def says(self, words: str) -> None:
        """Wait until the page itself shows words beside the terminal."""
        await self.evaluate(
            "new Promise(done => { const look = () => "
            f"document.body.innerText.includes({json.dumps(words)}) ? done() : "
            "setTimeout(look, 100); look(); })"
        )

    async def picture(self, file: Path) -> None:
        """Take a picture once what was heard is painted."""
        await self.evaluate("new Promise(done => setTimeout(done, 400))")
        await self.do("Page.bringToFront")  # a tab behind another paints no frame to take
        taken = await self.do("Page.captureScreenshot", format="png")
        await asyncio.to_thread(file.write_bytes, base64.b64decode(taken["data"]))

    def took(self, method: str, given: dict[str, Any]) -> None:
        """Take a notification of the protocol."""
        if method == "Network.webSocketFrameReceived":
            frame = given["response"]
            data = frame["payloadData"]
            self.heard += base64.b64decode(data) if frame["opcode"] == 2 else data.encode()
        elif method == "Network.requestWillBeSent":
            self.asked_for.append(given["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(given["exceptionDetails"]))
        elif method == "Log.entryAdded" and given["entry"]["level"] == "error":
            self.complaints.append(str(given["entry"]["text"]))


class Browser:
    """The browser's one line: commands out, answers and notifications in."""

    def __init__(self, line: aiohttp.ClientWebSocketResponse) -> None:
        self._line = line
        self._last = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._pages: dict[str, Page] = {}
        self._news = asyncio.Event()

    async def open(self, width: int, height: int) -> Page:
        """Open an empty tab."""
        made = await self.do("Target.createTarget", {"url": "about:blank"})
        target = {"targetId": made["targetId"], "flatten": True}
        session = (await self.do("Target.attachToTarget", target))["sessionId"]
        page = self._pages[session] = Page(self, session)
        for part in ("Page", "Network", "Runtime", "Log"):
            await page.do(f"{part}.enable")
        await page.do("Emulation.setFocusEmulationEnabled", enabled=True)
        await page.size(width, height)
        return page

    async def do(self, method: str, given: Any, session: str | None = None) -> dict[str, Any]:
        """Send a command and return its answer."""
        self._last += 1
        sent = {"id": self._last, "method": method, "params": given}
        if session is not None:
            sent["sessionId"] = session
        answer = self._waiting[self._last] = asyncio.get_running_loop().create_future()
        await self._line.send_json(sent)
        async with asyncio.timeout(WAIT_S):
            return dict(await answer)

    async def news(self) -> None:
        """Wait until something more was heard."""
        self._news.clear()
        await self._news.wait()

    async def listen(self) -> None:
        """Hand out what comes, until the browser ends."""
        async for message in self._line:
            came = json.loads(message.data)
            if "id" in came:
                self._answered(self._waiting.pop(came["id"]), came)
            elif came.get("sessionId") in self._pages:
                self._pages[came["sessionId"]].took(came["method"], came["params"])
            self._news.set()

    @staticmethod
    def _answered(answer: asyncio.Future[dict[str, Any]], came: dict[str, Any]) -> None:
        if answer.done():
            return
        if "error" in came:
            answer.set_exception(RuntimeError(str(came["error"])))
        else:
            answer.set_result(came["result"])


@asynccontextmanager
async def browsing(program: str, profile: Path) -> AsyncIterator[Browser]:
    """Start Chromium with nothing of anybody's, and end it."""
    nowhere = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        program,
        *_FLAGS,
        f"--user-data-dir={profile}",
        stdin=nowhere,
        stdout=nowhere,
        stderr=nowhere,
    )
    try:
        url = await asyncio.to_thread(_address, profile / "DevToolsActivePort")
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url, max_msg_size=0) as line,
        ):
            browser = Browser(line)
            listening = asyncio.create_task(browser.listen(), name="chromium")
            try:
                yield browser
            finally:
                listening.cancel()
                await asyncio.wait([listening])
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def _address(file: Path) -> str:
    give_up = time.monotonic() + WAIT_S
    while not (file.exists() and len(said := file.read_text().splitlines()) == 2):
        assert time.monotonic() < give_up, "Chromium does not say where it listens"
        time.sleep(0.1)
    return f"ws://127.0.0.1:{said[0]}{said[1]}"
