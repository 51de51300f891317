"""What a page in a browser sends is refused: another name of ours, or any page at all."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.access.hosts import Hosts
from ksi_tui.access.roles import Role
from tests.access.listener import running

LOOPBACK = Hosts.of("127.0.0.1", "127.0.0.1")
SIX = Hosts.of("::1", "::1")
ANY = Hosts.of("0.0.0.0", "0.0.0.0")
NAMED = Hosts.of("Gate.Example", "10.0.0.7")


@pytest.mark.parametrize(
    ("hosts", "header", "allowed"),
    [
        (LOOPBACK, "127.0.0.1:4000", True),
        (LOOPBACK, "127.0.0.1", True),
        (LOOPBACK, "localhost:4000", True),
        (LOOPBACK, "LOCALHOST.:9", True),
        (LOOPBACK, "[::1]:4000", True),
        (LOOPBACK, "127.8.8.8", True),
        (LOOPBACK, "evil.example:4000", False),
        (LOOPBACK, "localhost.evil.example", False),
        (LOOPBACK, "127.0.0.1.evil.example", False),
        (LOOPBACK, "10.0.0.7:4000", False),
        (LOOPBACK, "0.0.0.0:4000", False),
        (LOOPBACK, "", False),
        (LOOPBACK, "localhost@evil.example", False),
        (LOOPBACK, "evil.example/localhost", False),
        (LOOPBACK, "evil.example#localhost", False),
        (LOOPBACK, "localhost:port", False),
        (LOOPBACK, "[::1", False),
        (SIX, "[::1]:4000", True),
        (SIX, "[fe80::1]:4000", False),
        (ANY, "10.0.0.7:4000", True),
        (ANY, "[2001:db8::1]:4000", True),
        (ANY, f"{socket.gethostname()}:4000", True),
        (ANY, "evil.example", False),
        (NAMED, "gate.example:4000", True),
        (NAMED, "GATE.EXAMPLE", True),
        (NAMED, "10.0.0.7", True),
        (NAMED, "10.0.0.8", False),
        (NAMED, "gate.example.evil.example", False),
    ],
)
def test_only_our_own_names_are_answered(hosts: Hosts, header: str, allowed: bool) -> None:
    assert hosts.allow(header) is allowed


@given(st.text(max_size=40) | st.from_regex(r"[\w.:\[\]%@-]{1,30}"))
def test_whatever_a_header_holds_is_answered_with_yes_or_no(header: str) -> None:
    for hosts in (LOOPBACK, SIX, ANY, NAMED):
        allowed = hosts.allow(header)
        assert allowed in (True, False)
        if allowed:
            assert "evil" not in header.lower()


@given(st.from_regex(r"[a-z]{1,8}\.(example|invalid|test)", fullmatch=True))
def test_no_name_of_somebody_elses_is_ours(name: str) -> None:
    assert not LOOPBACK.allow(name)
    assert not LOOPBACK.allow(f"{name}:4000")
    assert not ANY.allow(f"{name}:4000")


@pytest.mark.parametrize("guarded", [False, True])
async def test_another_name_is_misdirected(tmp_path: Path, guarded: bool) -> None:
    async with running(tmp_path, guarded=guarded) as listener:
        token = listener.tokens.get(Role.OPERATE)
        for path in ("/hello", "/healthz", "/metrics"):
            rebound = {"Host": f"evil.example:{listener.port}"}
            answer = await listener.ask("GET", path, token=token, headers=rebound)
            assert answer.status == 421
            assert "evil" not in answer.text
            own = {"Host": f"localhost:{listener.port}"}
            assert (await listener.ask("GET", path, token=token, headers=own)).status == 200


async def test_two_hosts_or_none_are_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as listener:
        for head in (b"Host: localhost\r\nHost: evil.example\r\n", b""):
            told = await listener.raw(b"GET /hello HTTP/1.1\r\n" + head + b"\r\n")
            assert told.split(b" ", 2)[1] in (b"400", b"421")


async def test_an_older_http_without_a_host_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as listener:
        told = await listener.raw(b"GET /hello HTTP/1.0\r\n\r\n")
        assert told.split(b" ", 2)[1] == b"421"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "same-origin"},
    ],
)
async def test_no_page_is_served(tmp_path: Path, headers: dict[str, str]) -> None:
    async with running(tmp_path) as listener:
        for method, path in (("GET", "/hello"), ("POST", "/events/queue:pause")):
            answer = await listener.ask(method, path, headers=headers, json={"scope": "engine"})
            assert answer.status == 403
            assert not [name for name in answer.headers if name.lower().startswith("access-c")]
        assert listener.engine.snapshot().pauses_total == 0


async def test_a_preflight_is_refused_without_a_word_of_cors(tmp_path: Path) -> None:
    async with running(tmp_path) as listener:
        asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
        answer = await listener.ask("OPTIONS", "/events/queue:pause", headers=asked)
        assert answer.status == 403
        assert not [name for name in answer.headers if name.lower().startswith("access-c")]


async def test_an_address_bar_may_ask(tmp_path: Path) -> None:
    async with running(tmp_path) as listener:
        answer = await listener.ask("GET", "/healthz", headers={"Sec-Fetch-Site": "none"})
        assert answer.status == 200
