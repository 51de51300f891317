"""An event through the door: its reply, its refusal, who sent it, and what is no event."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.client import EngineClient
from ksi_tui.door import server, wire
from ksi_tui.door.server import Door
from ksi_tui.engine.event_payloads import PAYLOADS
from ksi_tui.read_only import READING
from tests.door.visiting import Visitor, fake_door, visiting
from tests.engine.engine_fixtures import config, running, until

ME = {"X-Ksi-Operator": "op1", "X-Ksi-Kind": "command"}


async def test_the_reply_comes_back_as_it_is(tmp_path: Path) -> None:
    async with fake_door(tmp_path) as (engine, _, visitor):
        engine.reply = {"error": {"kind": "x"}, "code": 7, "text": "ä\udc80"}
        status, reply = await visitor.emit("completion:request_status", {"request_id": "r-1"})
        assert (status, reply) == (200, engine.reply)
        assert engine.asked == [("completion:request_status", {"request_id": "r-1"})]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("invalid_request", 400),
        ("not_found", 404),
        ("conflict", 409),
        ("lock_denied", 409),
        ("queue_full", 429),
        ("not_ready", 503),
        ("no_provider", 422),
        ("of_a_later_version", 400),
    ],
)
async def test_a_refusal_has_the_status_of_its_code(code: str, status: int, tmp_path: Path) -> None:
    async with fake_door(tmp_path) as (engine, _, visitor):
        engine.reply = {"error": "no", "code": code}
        assert await visitor.emit("queue:pause", {}) == (status, engine.reply)


async def test_no_body_is_an_empty_object(tmp_path: Path) -> None:
    async with fake_door(tmp_path) as (engine, _, visitor):
        assert (await visitor.emit("completion:status"))[0] == 200
        assert engine.asked == [("completion:status", {})]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b"3",
        b"{'a': 1}",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b"\xff\xfe{",
        b"\x80abc",
        b'{"a": 1} {"b": 2}',
        b'{"a":' * 100_000,
    ],
    ids=lambda body: body[:12],
)
async def test_a_body_that_is_no_object_is_refused(body: bytes, tmp_path: Path) -> None:
    async with fake_door(tmp_path) as (engine, _, visitor):
        status, reply = await visitor.emit("completion:async", body)
        assert (status, reply["code"], engine.asked) == (400, "invalid_request", [])
        assert len(reply["error"]) < 300


@pytest.mark.parametrize(("levels", "status"), [(100, 200), (101, 400), (900, 400)])
async def test_a_body_is_nested_only_so_deep(levels: int, status: int, tmp_path: Path) -> None:
    """One that just parses would be kept, and no reply that holds it could be written."""
    body = b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"
    async with fake_door(tmp_path) as (engine, _, visitor):
        assert (await visitor.emit("completion:async", body))[0] == status
        engine.reply = {"again": [data for _, data in engine.asked]}
        assert (await visitor.emit("completion:requests"))[0] == 200


async def test_a_body_that_is_too_large_is_refused_packed_or_not(tmp_path: Path) -> None:
    large = b'{"prompt": "' + b"x" * wire.MOST_BODY + b'"}'
    packed = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    async with fake_door(tmp_path) as (engine, _, visitor):
        for body, headers in ((large, {}), (gzip.compress(large), packed)):
            status, reply = await visitor.emit("completion:async", body, headers=headers)
            assert (status, reply["code"]) == (413, "invalid_request")
        assert engine.asked == []
        just = b'{"prompt": "' + b"x" * (wire.MOST_BODY - 20) + b'"}'
        assert (await visitor.emit("completion:async", just))[0] == 200


async def test_a_body_that_is_broken_is_refused(tmp_path: Path) -> None:
    headers = {"Content-Encoding": "gzip"}
    async with fake_door(tmp_path) as (engine, _, visitor):
        status, reply = await visitor.emit("completion:async", b"not packed", headers=headers)
        assert (status, reply["code"], engine.asked) == (400, "invalid_request", [])


async def test_what_the_engine_refuses_is_told_with_what_would_be_right(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig, _door_of(rig.engine, tmp_path) as visitor:
        status, reply = await visitor.emit("completion:asynk", {})
        assert (status, reply["code"]) == (400, "invalid_request")
        assert "completion:async" in reply["error"]
        status, reply = await visitor.emit("completion:async", {"prompt": 5})
        assert status == 400
        assert "prompt" in reply["error"]
        status, reply = await visitor.emit("completion:async", {"prompt": "x", "model": "none"})
        assert (status, reply["code"]) == (422, "no_provider")
        status, reply = await visitor.emit("completion:cancel", {"request_id": "none"})
        assert (status, reply["code"]) == (404, "not_found")
        status, reply = await visitor.emit("completion:async", {"prompt": "x"})
        assert (status, reply["status"]) == (200, "queued")


# --- who sent it ---------------------------------------------------------------------------


async def test_an_action_that_names_nobody_is_signed_with_who_sent_it(tmp_path: Path) -> None:
    async with fake_door(tmp_path) as (engine, door, _), visiting(door.socket, ME) as visitor:
        await visitor.emit("completion:cancel", {"request_id": "r-1"})
        await visitor.emit("completion:cancel", {"request_id": "r-1", "by": "other"})
        await visitor.emit("completion:cancel", {"request_id": "r-1", "by": None})
    assert [data["by"] for _, data in engine.asked] == ["op1", "other", "op1"]


@pytest.mark.parametrize("name", ["completion:token_usage", "completion:async", "of:nobody"])
async def test_what_takes_no_name_gets_none(name: str, tmp_path: Path) -> None:
    async with fake_door(tmp_path) as (engine, door, _), visiting(door.socket, ME) as visitor:
        await visitor.emit(name, {})
    assert engine.asked == [(name, {})]


async def test_who_says_nothing_signs_nothing(tmp_path: Path) -> None:
    async with fake_door(tmp_path) as (engine, _, visitor):
        await visitor.emit("queue:pause", {"scope": "engine"})
    assert engine.asked == [("queue:pause", {"scope": "engine"})]


async def test_the_engine_takes_every_signature(tmp_path: Path) -> None:
    """A name with signs that act, or one without end, must not turn into a refusal."""
    headers = {"X-Ksi-Operator": "\u202eöp" + "x" * 500}
    async with (
        running(config(tmp_path)) as rig,
        _door_of(rig.engine, tmp_path, headers) as visitor,
    ):
        status, _ = await visitor.emit("queue:pause", {"scope": "engine"})
        assert status == 200
        (pause,) = rig.engine.snapshot().pauses
        assert pause.by == "öp" + "x" * 198


async def test_actions_are_recorded_with_who_did_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ksi_tui.door")
    async with fake_door(tmp_path) as (engine, door, _), visiting(door.socket, ME) as visitor:
        for name in ("queue:pause", "completion:async", *READING, "un:known"):
            await visitor.emit(name, {})
        engine.reply = {"error": "no", "code": "conflict"}
        await visitor.emit("provider:open", {})
    told = [vars(r) for r in caplog.records if r.message == "acted"]
    assert [(r["event_name"], r["operator"], r["kind"], r["code"]) for r in told] == [
        ("queue:pause", "op1", "command", None),
        ("provider:open", "op1", "command", "conflict"),
    ]


# --- who goes ------------------------------------------------------------------------------


async def test_a_client_that_goes_stops_nothing_it_has_begun(tmp_path: Path) -> None:
    async with fake_door(tmp_path) as (engine, door, _):
        engine.go.clear()
        async with visiting(door.socket) as hasty:
            sending = asyncio.create_task(hasty.emit("completion:cancel", {"request_id": "r"}))
            await until(lambda: engine.asked)
            sending.cancel()
            await asyncio.wait([sending])
        engine.go.set()
        await until(lambda: engine.finished == ["completion:cancel"])


async def test_the_door_waits_for_what_is_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LEAVE_WITHIN_S", 0.0)
    async with fake_door(tmp_path) as (engine, _, visitor):
        engine.go.clear()
        sending = asyncio.create_task(visitor.emit("queue:pause", {}))
        await until(lambda: engine.asked)
        asyncio.get_running_loop().call_later(0.05, engine.go.set)
        sending.cancel()
        await asyncio.wait([sending])
    assert engine.finished == ["queue:pause"]


# --- what is no event ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/nowhere", 404, "not_found"),
        ("POST", "/events/a/b", 404, "not_found"),
        ("GET", "/events/completion:async", 405, "invalid_request"),
        ("POST", "/hello", 405, "invalid_request"),
        ("DELETE", "/snapshot", 405, "invalid_request"),
    ],
)
async def test_what_is_not_served_is_refused_in_the_same_shape(
    method: str, path: str, status: int, code: str, tmp_path: Path
) -> None:
    async with (
        fake_door(tmp_path) as (_, _door, visitor),
        visitor.session.request(method, path) as response,
    ):
        found = await response.json()
        assert (response.status, found["code"]) == (status, code)
        assert set(found) == {"error", "code"}
        assert ("Allow" in response.headers) is (status == 405)


async def test_a_fault_of_our_own_tells_nothing_of_our_insides(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with fake_door(tmp_path) as (engine, _, visitor):

        async def broken(*_: Any) -> dict[str, Any]:
            raise RuntimeError("the secret of /home/me")

        engine.emit = broken  # type: ignore[method-assign, assignment]
        status, reply = await visitor.emit("queue:pause", {})
        assert (status, reply["code"]) == (500, "not_ready")
        assert "secret" not in json.dumps(reply)
        assert any("the secret" in str(record.exc_info) for record in caplog.records)


async def test_nothing_says_what_it_is_made_of(tmp_path: Path) -> None:
    async with (
        fake_door(tmp_path) as (_, _door, visitor),
        visitor.session.get("/nowhere") as response,
    ):
        assert response.headers["Server"] == "ksi-tui"


def test_every_event_that_reads_is_known() -> None:
    assert set(PAYLOADS) >= READING


@asynccontextmanager
async def _door_of(
    engine: EngineClient, folder: Path, headers: dict[str, str] | None = None
) -> AsyncIterator[Visitor]:
    async with (
        Door(engine, database=folder / "ksi.db") as door,
        visiting(door.socket, headers) as visitor,
    ):
        yield visitor
