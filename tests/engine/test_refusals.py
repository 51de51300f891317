"""Refusals are one readable sentence each, and take nobody else with them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.engine.models import State
from tests.engine.engine_fixtures import answers, config, held, running


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("completion:async", {"prompt": "p", "conversation_lock": 1}, "this is an object; found 1"),
        ("completion:async", {"prompt": "p", "tools": {}}, "tools: this is a list; found {}"),
        ("completion:async", {"prompt": "p", "session_id": "a\x1bb"}, "control characters"),
        ("completion:async", {"prompt": "p", "session_id": "a\x9bb"}, "control characters"),
        ("completion:async", {"prompt": "p", "session_id": "a\u202eb"}, "marks of direction"),
        ("completion:async", {"prompt": "p", "session_id": b"bytes"}, "valid string"),
        ("completion:async", {"prompt": "p", "temperature": True}, "temperature"),
        (
            "completion:async",
            {"prompt": "p", "conversation_lock": {"foo": 1}},
            "unknown key 'conversation_lock.foo'; allowed: enabled, timeout_s, on_conflict",
        ),
        (
            "completion:async",
            {"prompt": "p", "session_id": "s", "conversation_id": "t"},
            "'conversation_id'; it means the same as session_id: give one of them",
        ),
        (
            "completion:async",
            {"prompt": "p", "metadata": 5},
            "metadata: this is an object; found 5",
        ),
        ("checkpoint:collect", {"x": 1}, "unknown key 'x'; this takes no data"),
        ("provider:add", {"name": "n", "models": "m"}, "models: this is a list; found 'm'"),
    ],
)
async def test_what_is_wrong_is_told_in_the_words_of_json(
    tmp_path: Path, name: str, data: dict[str, Any], told: str
) -> None:
    async with running(config(tmp_path)) as rig:
        reply = await rig.engine.emit(name, data)
        assert reply["code"] == "invalid_request"
        assert told in reply["error"]


AT = "2026-01-01T00:00:00Z"
TIMES = {"created_at": AT, "last_activity": AT}
LOCK = {"holder": "a", "granted_at": AT, "expires_at": AT}


def _nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


DEEP = _nested(150)


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("completion:async", {"prompt": _nested(100_000)}, "found something nested too deep"),
        ("injection:clear", {"session_id": "s", "mode": _nested(100_000)}, "nested too deep"),
        ("completion:async", {"prompt": "x", "metadata": {"a": _nested(100_000)}}, "not plain"),
        (
            "checkpoint:restore",
            {"session_queues": {}, "sessions": {"s": {**TIMES, "transcript": [_nested(2_000)]}}},
            "this is an object",
        ),
        (
            "checkpoint:restore",
            {"session_queues": {}, "sessions": {"s": {**TIMES, "transcript": [{"a": math.inf}]}}},
            "not plain JSON",
        ),
        (
            "checkpoint:restore",
            {
                "session_queues": {},
                "sessions": {"s": {**TIMES, "transcript": [{"a": _nested(150)}]}},
            },
            "nested too deep",
        ),
        (
            "checkpoint:restore",
            {"session_queues": {}, "locks": {"s": {**LOCK, "hold_s": 1e300}}},
            "hold_s",
        ),
        ("completion:async", {"prompt": 10**5_000}, "found a number too long to tell"),
        ("completion:async", {"prompt": "x", "metadata": {"a": _nested(100)}}, "nested too deep"),
        ("completion:failed", {"request_id": "r", "reason": _nested(100_000)}, "too deep is no"),
        (
            "completion:async",
            {"prompt": "x", "model": "sim/x", "extra_body": {"sim": _nested(90)}},
            "no provider",
        ),
    ],
)
async def test_however_deep_or_long_what_is_wrong_is_told(
    tmp_path: Path, name: str, data: Any, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(config(tmp_path)) as rig:
        reply = await rig.engine.emit(name, data)
        assert told in reply["error"]
        assert len(reply["error"]) < 2_000
    assert not caplog.records


async def test_what_was_found_never_makes_an_error_unreadable(tmp_path: Path) -> None:
    huge = "z" * 300_000
    async with running(config(tmp_path)) as rig:
        replies = [
            await rig.engine.emit(huge, {}),
            await rig.emit("completion:failed", request_id="r", reason=huge, message="m"),
            await rig.emit("completion:cancel", request_id="r", **{huge: 1}),
            await rig.emit("completion:async", prompt=[huge]),
        ]
        for reply in replies:
            assert reply["code"] == "invalid_request"
            assert len(reply["error"]) < 2_000


@pytest.mark.parametrize(
    "body", [{"api_key": "sk-1"}, {"headers": {"Authorization": "Bearer x"}}, {"a": [{"token": 1}]}]
)
async def test_a_key_in_a_request_is_refused_and_not_repeated(
    tmp_path: Path, body: dict[str, Any]
) -> None:
    async with running(config(tmp_path)) as rig:
        reply = await rig.emit("completion:async", prompt="p", extra_body=body)
        assert reply["code"] == "invalid_request"
        assert "keys come from the environment" in reply["error"]
        assert "sk-1" not in reply["error"]
        assert sum(rig.core.counts.values()) == 0


async def test_what_is_no_object_spoils_no_batch(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as rig:
        reply = await rig.emit("completion:batch", requests=[{"prompt": "good"}, "oops", None])
        good, *bad = reply["accepted"]
        assert "code" not in good
        assert [each["code"] for each in bad] == ["invalid_request"] * 2
        assert "found 'oops'" in bad[0]["error"]
        await rig.ended(good["request_id"])
        injected = await rig.emit(
            "injection:batch", injections=[{"session_id": "s", "content": "news"}, 5]
        )
        assert (injected["stored"], injected["refused"]) == (1, 1)


async def test_a_known_id_is_told_with_the_session_that_it_had(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": answers}) as rig:
        await rig.ended(await rig.submit("x", request_id="a1", session_id="s1"))
        await rig.settled()
        for asked in ({}, {"session_id": "other"}):
            reply = await rig.emit("completion:async", prompt="x", request_id="a1", **asked)
            assert (reply["session_id"], reply["status"]) == ("s1", "completed")


async def test_a_report_of_the_end_has_its_result(tmp_path: Path) -> None:
    async with running(config(tmp_path), scripts={"p": held}) as rig:
        ids = [await rig.submit(f"n{number}") for number in range(20)]
        await rig.calls(20)
        for up in rig.p.calls:
            up.go.set()
        left = set(ids)
        while left:
            for request_id in sorted(left):
                report = await rig.emit("completion:request_status", request_id=request_id)
                if report["status"] == "completed":
                    assert report["result"] is not None
                    assert report["finished_at"] is not None
                    left.discard(request_id)
        assert rig.core.counts[State.COMPLETED] == 20
