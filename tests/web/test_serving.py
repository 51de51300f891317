"""The web server: who is let in, what they get, how many, and that nothing of them is left."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

import aiohttp
import pytest

from ksi_tui.web import visitor
from tests.engine.engine_fixtures import until
from tests.web.stage import BRIM, KEY, STUBBORN, WAIT_S, Browser, runs, served

FILE = re.compile(r'(?:src|href)="([^"]+)"|url\("([^"]+)"\)')


async def test_the_page_needs_nothing_from_anywhere_else() -> None:
    async with served() as browser:
        status, page, headers = await browser.get(f"{KEY}/?fontsize=20")
        assert status == 200
        host = browser.url.removeprefix("http://")
        assert f'"ws://{host}/{KEY}/ws"' in page
        assert 'data-font-size="20"' in page
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert set(re.findall(r"\w+://[^ ;]+", policy)) == {f"ws://{host}"}
        assert headers["Referrer-Policy"] == "no-referrer"
        styles = (await browser.get(f"{KEY}/files/page.css"))[1]
        for name in ("".join(found) for found in FILE.findall(page + styles)):
            if name != "data:,":
                path = name if name.startswith("files/") else f"files/{name}"
                assert (await browser.get(f"{KEY}/{path}"))[0] == 200, name
        assert (await browser.get(f"{KEY}/files/server.py"))[0] == 404
        assert (await browser.get(f"{KEY}/files/..%2fpages.py"))[0] == 404


async def test_a_font_size_is_one_or_none() -> None:
    async with served() as browser:
        for size in ("5", "1e9", "%3Cb%3E", "%C2%B2", "-3", "9" * 5000):
            status, page, _ = await browser.get(f"{KEY}/?fontsize={size}")
            assert status == 200
            assert 'data-font-size="16"' in page


async def refused(browser: Browser, key: str = KEY, **headers: str) -> int:
    """Return the status with which a websocket is refused."""
    there = Browser(browser.session, browser.url, key)
    with pytest.raises(aiohttp.WSServerHandshakeError) as fault:
        async with there.visiting(**headers):
            pass
    return fault.value.status


async def test_no_other_page_and_no_other_name_gets_in() -> None:
    async with served() as browser:
        port = browser.url.rpartition(":")[2]
        for origin in (
            "https://evil.example",
            f"https://127.0.0.1:{port}",
            "http://127.0.0.1:1",
            f"http://localhost:{port}",
            "null",
            "",
        ):
            assert await refused(browser, Origin=origin) == 403, origin
            assert (await browser.get(f"{KEY}/", Origin=origin))[0] == 403
        for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", ""):
            assert (await browser.get(f"{KEY}/", Host=host))[0] == 421, host
            assert await refused(browser, Host=host, Origin=f"http://{host}") == 421
        async with browser.session.get(f"{browser.url}/{KEY}/ws") as answer:  # a program's: none
            assert answer.status == 403
        for name in (f"localhost:{port}", "localhost:9000", f"[::1]:{port}"):  # a tunnel's end
            assert (await browser.get(f"{KEY}/", Host=name))[0] == 200
            async with browser.visiting(Host=name, Origin=f"http://{name}") as tab:
                await tab.pid()


async def test_without_the_key_there_is_nothing() -> None:
    async with served() as browser:
        for path in ("", "x/", f"{KEY[:-1]}/", f"{KEY}k/files/page.js", "files/page.js", "nowhere"):
            status, page, _ = await browser.get(path)
            assert status == 403, path
            assert KEY not in page
        assert await refused(browser, key="x") == 403


async def test_a_visitor_has_a_process_that_hears_and_is_heard() -> None:
    async with served() as browser:
        async with browser.visiting("?width=140&height=45") as tab:
            await tab.hears(" n1 140x45;")
            for packet in (
                ["stdin", "é\x1b[A"],
                ["resize", {"width": 90, "height": 30}],
                ["resize", {"width": 10**9, "height": -5}],
                ["blur"],
                ["focus"],
            ):
                await tab.line.send_json(packet)
            heard = await tab.hears('M{"type": "focus"};')
            assert "Dé\x1b[A;" in heard
            assert 'M{"type": "resize", "width": 90, "height": 30};' in heard
            assert 'M{"type": "resize", "width": 500, "height": 5};' in heard
            await tab.line.send_json(["ping", "17"])
            await tab.hears('["pong", "17"]')
            pid = await tab.pid()
            await tab.line.send_json(["stdin", "q"])
            assert await tab.closed() == (1000, "last words")
        await gone(pid)


async def gone(*pids: int) -> None:
    """Wait until processes have ended and were taken note of."""
    await until(lambda: not any(map(runs, pids)))


async def test_what_is_no_packet_hurts_nobody() -> None:
    async with served() as browser, browser.visiting() as tab:
        await tab.hears("80x24;")
        for packet in (
            "no json",
            "[" * 100_000,
            "[]",
            "7",
            '["stdin"]',
            '["stdin", 5]',
            '["resize", {"width": "a", "height": 1}]',
            '["resize", {"width": 1e400, "height": 1}]',
            '["resize", {"width": true, "height": 30}]',
            '["quit"]',
            '["stdin", "\\udcff"]',
        ):
            await tab.line.send_str(packet)
        await tab.line.send_bytes(b"\xff\x00")
        await tab.line.send_json(["stdin", "still here"])
        heard = await tab.hears("Dstill here;")
        assert "quit" not in heard


async def test_a_message_that_is_too_long_ends_its_sender_only() -> None:
    async with served() as browser, browser.visiting() as other:
        await other.hears(";")
        async with browser.visiting() as tab:
            await tab.hears(";")
            await tab.line.send_str(json.dumps(["stdin", "x" * (1 << 20)]))
            assert (await tab.closed())[0] == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
        await other.line.send_json(["stdin", "still here"])
        await other.hears("Dstill here;")


async def test_so_many_and_no_more_and_a_place_is_given_anew() -> None:
    async with served(most=2) as browser, browser.visiting() as first:
        await first.hears(" n1 ")
        async with browser.visiting() as second:
            await second.hears(" n2 ")
            async with browser.visiting() as third:
                code, why = await third.closed()
                assert code == 4000
                assert why == "2 browsers are attached, which is the most; leave one with q"
            status, page, headers = await browser.get(f"{KEY}/")
            assert (status, headers["Refresh"]) == (503, "3")
            assert why in page
            pid = await second.pid()
        await gone(pid)
        async with asyncio.timeout(WAIT_S):
            while (await browser.get(f"{KEY}/"))[0] == 503:  # noqa: ASYNC110 - it asks each time
                await asyncio.sleep(0)
        async with browser.visiting() as again:
            await again.hears(" n2 ")


async def test_where_no_engine_answers_the_page_says_so_and_asks_again() -> None:
    async with served(absent=lambda: "no engine answers at /x/<db>; start one") as browser:
        status, page, headers = await browser.get(f"{KEY}/")
        assert (status, headers["Refresh"]) == (503, "3")
        assert "no engine answers at /x/&lt;db&gt;; start one" in page


async def test_a_dashboard_that_cannot_start_says_why() -> None:
    async with served("raise SystemExit('ksi-tui: \\x1b[31mno engine, ' + 'é' * 200)") as browser:
        async with browser.visiting() as tab:
            code, why = await tab.closed()
        assert code == 1000
        assert re.fullmatch("\\[31mno engine, é+…?", why)
    nowhere = served(command=lambda _: ["/nowhere/at/all"])
    async with nowhere as browser, browser.visiting() as tab:
        assert await tab.closed() == (1011, "a fault: FileNotFoundError")


async def test_the_end_closes_every_line_and_leaves_no_process() -> None:
    opened: asyncio.Future[Browser] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()

    async def live() -> None:
        async with served() as browser:
            opened.set_result(browser)
            await stop.wait()

    server = asyncio.create_task(live(), name="server")
    browser = await opened
    async with browser.visiting() as one, browser.visiting() as two:
        pids = [await one.pid(), await two.pid()]
        assert all(map(runs, pids))
        stop.set()
        assert {(await tab.closed())[0] for tab in (one, two)} == {1001}
    await server
    assert not any(map(runs, pids))


async def test_one_that_leaves_for_nobody_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitor, "LEAVE_WITHIN_S", 0.1)
    monkeypatch.setattr(visitor, "_TERMINATED_WITHIN_S", 0.1)
    async with served(STUBBORN) as browser:
        async with browser.visiting() as tab:
            pid = await tab.pid()
        await gone(pid)


async def test_one_whose_browser_went_is_read_until_it_has_left(tmp_path: Path) -> None:
    left = tmp_path / "left"
    words = (sys.executable, "-I", "-S", "-c", BRIM, str(left))
    async with served(command=lambda _: words) as browser:
        async with browser.visiting() as tab:
            await tab.hears(";")
        await until(left.exists)
