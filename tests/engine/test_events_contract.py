"""Every event in its normal, wrong-input, unknown-id and not-ready case, and its reply's shape."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ksi_tui.engine import CompletionEngine
from ksi_tui.engine.errors import InvalidRequest, NotFound
from tests.engine.engine_fixtures import config
from tests.engine.event_cases import (
    ACCEPTED,
    CHANGED,
    CIRCUIT,
    FOUND,
    MAYBE_NUMBER,
    MAYBE_TEXT,
    PROVIDER,
    PROVIDERS,
    REQUEST,
    RESULT,
    RETRY_STATS,
    SERIES,
    SESSION,
    STATUS,
    TOTAL_USAGE,
    USAGE,
    Case,
    maybe_utc,
    misfit,
    scene,
    utc,
)

_UNKNOWN_KEY = ({"odd": 1}, "odd")
NOT_FOUND, INVALID = NotFound.code, InvalidRequest.code

CASES = (
    Case(name="system:startup", shape={"status": "completion_service_ready", "version": str}),
    Case(name="system:context", shape={"status": str}, data={"emit_event": None}),
    Case(
        name="system:ready",
        shape={"service": "completion_service", "tasks": [{"name": str}]},
    ),
    Case(
        name="system:shutdown",
        shape={"status": str, "interrupted": int, "status_counts": {...: int}},
        data={"grace_s": 0},
        wrong=(({"grace_s": -1}, "grace_s"), ({"grace_s": "soon"}, "grace_s")),
    ),
    Case(
        name="completion:async",
        shape=ACCEPTED,
        data={"prompt": "hi", "session_id": "s-new", "agent_id": "a2", "metadata": {"any": 1}},
        wrong=(
            ({}, "prompt"),
            ({"prompt": "p", "messages": [{"role": "user", "content": "x"}]}, "exactly one"),
            ({"prompt": 1}, "prompt"),
            ({"messages": []}, "messages"),
            ({"messages": [{"content": "x"}]}, "role"),
            ({"prompt": "p", "priority": "inject"}, "priority"),
            ({"prompt": "p", "temperature": 3}, "temperature"),
            ({"prompt": "p", "max_attempts": 0}, "max_attempts"),
            ({"prompt": "p", "timeout_s": 0}, "timeout_s"),
            ({"prompt": "p", "history": "some"}, "history"),
            ({"prompt": "p", "conversation_lock": {"timeout_s": 5}}, "agent_id"),
            ({"prompt": "p", "odd": 1}, "odd"),
            ({"prompt": "p", "request_id": ""}, "request_id"),
            ({"prompt": "p", "system": ""}, "system"),
            ({"messages": [{"role": "user", "content": "x"}], "system": "s"}, "system"),
        ),
        unknown=({"prompt": "p", "model": "nobody-serves-this"}, "no_provider"),
    ),
    Case(
        name="completion:models",
        shape={
            "models": [
                {
                    "model": str,
                    "providers": [str],
                    "window": (int, type(None)),
                    "input_price": MAYBE_NUMBER,
                    "output_price": MAYBE_NUMBER,
                    "default": bool,
                    "pattern": bool,
                }
            ]
        },
        wrong=(_UNKNOWN_KEY,),
    ),
    Case(
        name="completion:preview",
        shape={
            "messages": [{"role": str, "content": str}],
            "turns": int,
            "trimmed_turns": int,
            "tokens": int,
            "estimated": bool,
            "why_estimated": MAYBE_TEXT,
            "window": (int, type(None)),
            "injections": int,
            "model": str,
            "candidates": [{"provider": str, "verdict": str, "detail": str}],
        },
        data={"prompt": "hi", "session_id": "s-run"},
        wrong=(({}, "exactly one"), ({"prompt": "p", "odd": 1}, "odd")),
        unknown=({"prompt": "p", "model": "nobody-serves-this"}, "no_provider"),
    ),
    Case(
        name="completion:inject",
        shape=ACCEPTED,
        data={"prompt": "hi", "session_id": "s-run"},
        wrong=(({}, "prompt"), ({"prompt": "p", "odd": 1}, "odd")),
        unknown=({"prompt": "p", "model": "nobody-serves-this"}, "no_provider"),
    ),
    Case(name="completion:reserve", shape={"request_id": str}),
    Case(
        name="completion:batch",
        shape={"accepted": [ACCEPTED], "cursor": int},
        data={"requests": [{"prompt": "a"}, {"prompt": "b"}]},
        wrong=(({}, "requests"), ({"requests": []}, "requests"), ({"requests": 1}, "a list")),
    ),
    Case(
        name="completion:cancel",
        shape={"request_id": "wait", "status": "cancelled", "cancelled": CHANGED},
        data={"request_id": "wait", "reason": "not needed", "by": "op1"},
        wrong=(
            ({}, "exactly one"),
            ({"request_id": "wait", "session_id": "s-run"}, "exactly one"),
            ({"request_id": "wait", "odd": 1}, "odd"),
        ),
        unknown=({"request_id": "nobody"}, NOT_FOUND),
    ),
    Case(
        name="completion:retry",
        shape={"retried": CHANGED},
        data={"request_id": "failed", "by": "op1"},
        wrong=(
            ({}, "exactly one"),
            ({"request_id": "failed", "avoid": "p"}, "avoid"),
            ({"request_id": "failed", "in_place": "yes please"}, "in_place"),
        ),
        unknown=({"request_id": "nobody"}, NOT_FOUND),
    ),
    Case(
        name="completion:request_status",
        shape=REQUEST,
        data={"request_id": "wait"},
        wrong=(({}, "request_id"), ({"request_id": 1}, "request_id")),
        unknown=({"request_id": "nobody"}, NOT_FOUND),
    ),
    Case(name="completion:status", shape=STATUS, wrong=(_UNKNOWN_KEY,)),
    Case(
        name="completion:session_status",
        shape=SESSION,
        data={"session_id": "s-run"},
        wrong=(({}, "session_id"), ({"session_id": []}, "session_id")),
        unknown=({"session_id": "nobody"}, None),
    ),
    Case(
        name="completion:provider_status",
        shape=PROVIDERS,
        wrong=(({"provider": 7}, "provider"), _UNKNOWN_KEY),
        unknown=({"provider": "nobody"}, NOT_FOUND),
    ),
    Case(
        name="completion:retry_status",
        shape={
            "retry_manager": "active",
            "stats": RETRY_STATS,
            "retrying_requests": [dict],
        },
        wrong=(_UNKNOWN_KEY,),
    ),
    Case(
        name="completion:series",
        shape=SERIES,
        data={"hours": 1, "by": "provider"},
        wrong=(
            ({}, "hours"),
            ({"hours": 0.1}, "hours"),
            ({"hours": 169}, "hours"),
            ({"hours": 1, "by": "agent"}, "by"),
            ({"hours": 1, "points": 301}, "points"),
            ({"hours": 1, **_UNKNOWN_KEY[0]}, _UNKNOWN_KEY[1]),
        ),
    ),
    Case(
        name="system:journal",
        shape={"entries": [{"seq": int, "at": utc, "name": str, "data": dict}], "more": bool},
        data={"pattern": "*", "limit": 2},
        wrong=(
            ({"limit": 1001}, "limit"),
            ({"before": 0}, "before"),
            ({"pattern": ""}, "pattern"),
            _UNKNOWN_KEY,
        ),
        unknown=({"request_id": "nobody"}, None),
    ),
    Case(
        name="completion:token_usage",
        shape=TOTAL_USAGE,
        wrong=(({"hours": -1}, "hours"), ({"bucket_minutes": 0}, "bucket_minutes"), _UNKNOWN_KEY),
        unknown=({"agent_id": "nobody"}, None),
    ),
    Case(
        name="completion:results",
        shape={"results": [RESULT], "next": int},
        wrong=(({"after": -1}, "after"), ({"status": "odd"}, "status"), _UNKNOWN_KEY),
        unknown=({"session_id": "nobody"}, None),
    ),
    Case(
        name="completion:requests",
        shape={
            "requests": [FOUND],
            "total": int,
            "offset": int,
            "sort": "queued",
            "descending": bool,
        },
        data={"filter": "-id:nobody", "limit": 10},
        wrong=(
            ({"filter": "colour:red"}, "colour"),
            ({"filter": 5}, "filter"),
            ({"sort": "colour"}, "sort"),
            ({"limit": 0}, "limit"),
            ({"limit": 1001}, "ids_only"),
            ({"offset": -1}, "offset"),
            _UNKNOWN_KEY,
        ),
        unknown=({"filter": "session=nobody"}, None),
    ),
    Case(
        name="completion:names",
        shape={"names": [str]},
        data={"field": "session"},
        wrong=(
            ({}, "field"),
            ({"field": "colour"}, "meta.KEY"),
            ({"field": "session", "limit": 0}, "limit"),
            _UNKNOWN_KEY,
        ),
        unknown=({"field": "meta.nobody"}, None),
    ),
    Case(
        name="completion:failed",
        shape={"status": "retry_scheduled"},
        data={"request_id": "failed", "reason": "timeout", "message": "seen from outside"},
        wrong=(
            ({}, "request_id"),
            ({"request_id": "failed", "reason": "because", "message": "m"}, "because"),
        ),
        unknown=({"request_id": "nobody", "reason": "timeout", "message": "m"}, None),
    ),
    Case(
        name="completion:reset_conversation",
        shape={"session_id": "s-done"},
        data={"session_id": "s-done"},
        wrong=(({}, "session_id"), ({"session_id": "s", "odd": 1}, "odd")),
        unknown=({"session_id": "nobody"}, None),
    ),
    Case(
        name="conversation:acquire_lock",
        shape={"locked": bool, "lock_holder": str, "expires_at": utc, "extended": bool},
        data={"session_id": "s-done", "agent_id": "a1", "timeout_s": 5},
        wrong=(({"session_id": "s"}, "agent_id"), ({"agent_id": "a"}, "session_id")),
        unknown=({"session_id": "nobody", "agent_id": "a1"}, None),
    ),
    Case(
        name="conversation:release_lock",
        shape={"released": bool},
        data={"session_id": "locked", "agent_id": "a7"},
        wrong=(({"session_id": "s"}, "agent_id"), ({"agent_id": "a"}, "session_id")),
        unknown=({"session_id": "nobody", "agent_id": "a1"}, None),
    ),
    Case(
        name="provider:open",
        shape={"provider": "p", "circuit_breaker": CIRCUIT},
        data={"provider": "p", "reason": "deploy", "by": "op1", "for_s": 60},
        wrong=(({}, "provider"), ({"provider": "p", "for_s": 0}, "for_s")),
        unknown=({"provider": "nobody"}, NOT_FOUND),
    ),
    Case(
        name="provider:close",
        shape={"provider": "sick", "circuit_breaker": CIRCUIT},
        data={"provider": "sick", "by": "op1"},
        wrong=(({}, "provider"), ({"provider": "p", "odd": 1}, "odd")),
        unknown=({"provider": "nobody"}, NOT_FOUND),
    ),
    Case(
        name="provider:reset",
        shape={"provider": "sick", "circuit_breaker": CIRCUIT},
        data={"provider": "sick", "by": "op1"},
        wrong=(({}, "provider"), ({"provider": "p", "odd": 1}, "odd")),
        unknown=({"provider": "nobody"}, NOT_FOUND),
    ),
    Case(
        name="provider:probe",
        shape={"provider": "sick"},
        data={"provider": "sick", "by": "op1"},
        wrong=(({}, "provider"), ({"provider": "p", "odd": 1}, "odd")),
        unknown=({"provider": "nobody"}, NOT_FOUND),
    ),
    Case(
        name="provider:add",
        shape={"provider": "new"},
        data={"name": "new", "kind": "simulated", "models": ["n*"], "model": "{model}"},
        wrong=(
            ({}, "name"),
            ({"name": "new", "kind": "magic"}, "kind"),
            ({"name": "new", "params": {"api_key": "sk-123"}}, "api_key"),
        ),
    ),
    Case(
        name="queue:pause",
        shape={
            "paused": [{"scope": str, "id": MAYBE_TEXT, "by": MAYBE_TEXT, "reason": MAYBE_TEXT}]
        },
        data={"scope": "session", "id": "s-run", "by": "op1", "reason": "deploy"},
        wrong=(({}, "scope"), ({"scope": "world"}, "scope"), ({"scope": "session"}, "id")),
        unknown=({"scope": "provider", "id": "nobody"}, NOT_FOUND),
    ),
    Case(
        name="queue:resume",
        shape={"paused": list},
        data={"scope": "engine"},
        wrong=(({}, "scope"), ({"scope": "world"}, "scope"), ({"scope": "session"}, "id")),
        unknown=({"scope": "provider", "id": "nobody"}, NOT_FOUND),
    ),
    Case(
        name="checkpoint:collect",
        shape={
            "session_queues": {
                ...: {"items": [{"request_id": str, "data": dict}], "is_active": bool}
            },
            "active_completions": dict,
            "sessions": dict,
            "locks": (dict, list),
            "pauses": list,
            "injections": {"pending": list, "queued": list},
            "circuits": dict,
            "components": (dict, list),
        },
        wrong=(_UNKNOWN_KEY,),
    ),
    Case(
        name="checkpoint:restore",
        shape={
            "restored": int,
            "skipped": [str],
            "details": {"restored": {...: int}, "skipped": [dict]},
        },
        data={"session_queues": {}},
        wrong=(({"session_queues": 1}, "session_queues"), _UNKNOWN_KEY),
    ),
    Case(
        name="injection:inject",
        shape={"status": str},
        data={"session_id": "s-done", "content": "news", "mode": "next"},
        wrong=(
            ({"content": "c"}, "session_id"),
            ({"session_id": "s"}, "content"),
            ({"session_id": "s", "content": "c", "mode": "later"}, "mode"),
            ({"session_id": "s", "content": "c", "position": "above"}, "position"),
        ),
    ),
    Case(name="injection:status", shape={"status": str}, wrong=(_UNKNOWN_KEY,)),
    Case(
        name="injection:list",
        shape={"status": str, "injections": list},
        wrong=(_UNKNOWN_KEY,),
        unknown=({"session_id": "nobody"}, None),
    ),
    Case(
        name="injection:clear",
        shape={"status": str},
        data={"session_id": "s-done"},
        wrong=(({}, "session_id"), ({"session_id": "s", "mode": "later"}, "mode")),
        unknown=({"session_id": "nobody"}, None),
    ),
    Case(
        name="injection:batch",
        shape={"status": str},
        data={"injections": [{"session_id": "s-done", "content": "news"}]},
        wrong=(({}, "injections"), ({"injections": 1}, "a list")),
    ),
    Case(
        name="injection:queue",
        shape={"status": str},
        data={"request_id": "wait", "injection_config": {"target_sessions": ["s-done"]}},
        wrong=(
            ({"injection_config": {}}, "request_id"),
            ({"request_id": "r"}, "injection_config"),
            ({"request_id": "r", "injection_config": {"mode": "later"}}, "mode"),
        ),
    ),
    Case(
        name="injection:execute",
        shape={"status": str},
        data={"request_id": "done"},
        before=("injection:queue", {"request_id": "done", "injection_config": {}}),
        wrong=(({}, "exactly one"), ({"request_id": "r", "odd": 1}, "odd")),
        unknown=({"injection_id": "nobody"}, NOT_FOUND),
    ),
    Case(
        name="injection:process_result",
        shape={"status": str},
        data={
            "request_id": "done",
            "result": "the text",
            "injection_config": {"target_sessions": ["s-failed"]},
        },
        wrong=(({"result": "x"}, "request_id"), ({"request_id": "r"}, "result")),
    ),
)

_NAMED = {case.name: case for case in CASES}
_IDS = [case.name for case in CASES]


@pytest.mark.parametrize("case", CASES, ids=_IDS)
async def test_the_normal_case_has_the_contracts_shape(case: Case, tmp_path: Path) -> None:
    async with scene(tmp_path) as rig:
        if case.before is not None:
            assert "code" not in await rig.engine.emit(*case.before)
        reply = await rig.engine.emit(case.name, case.data)
        assert "code" not in reply, reply
        assert misfit(reply, case.shape) is None
        assert json.loads(json.dumps(reply)) == reply


@pytest.mark.parametrize("case", [c for c in CASES if c.wrong], ids=lambda case: case.name)
async def test_wrong_input_is_refused_by_name_and_changes_nothing(
    case: Case, tmp_path: Path
) -> None:
    async with scene(tmp_path) as rig:
        counts = dict(rig.core.counts)
        for data, word in case.wrong:
            reply = await rig.engine.emit(case.name, data)
            assert reply.get("code") == INVALID, (data, reply)
            assert word in reply["error"], (data, reply)
        assert rig.core.counts == counts


@pytest.mark.parametrize("case", [c for c in CASES if c.unknown], ids=lambda case: case.name)
async def test_what_nobody_knows_is_said(case: Case, tmp_path: Path) -> None:
    assert case.unknown is not None
    data, code = case.unknown
    async with scene(tmp_path) as rig:
        reply = await rig.engine.emit(case.name, data)
        assert reply.get("code") == code, reply
        if code is not None:
            assert "nobody" in reply["error"]


@pytest.mark.parametrize("name", _IDS)
async def test_before_and_after_its_life_every_event_is_not_ready(
    name: str, tmp_path: Path
) -> None:
    engine = CompletionEngine(config(tmp_path))
    data = _NAMED[name].data
    if name not in ("system:startup", "system:shutdown"):
        assert (await engine.emit(name, data))["code"] == "not_ready"
    async with engine:
        pass
    if name != "system:shutdown":
        assert (await engine.emit(name, data))["code"] == "not_ready"


async def test_no_event_is_left_out(tmp_path: Path) -> None:
    async with scene(tmp_path) as rig:
        assert sorted(_IDS) == rig.engine._router.names


@pytest.mark.parametrize(
    ("name", "data", "shape"),
    [
        ("completion:provider_status", {"provider": "sick"}, PROVIDER),
        ("completion:token_usage", {"agent_id": "a1"}, {"agent_id": "a1", "usage": USAGE}),
        (
            "completion:token_usage",
            {"model": "m1", "hours": 1, "bucket_minutes": 15},
            {"model": "m1", "usage": USAGE, "trend": [{"at": utc, **USAGE}]},
        ),
        ("completion:cancel", {"session_id": "s-run"}, {"cancelled": CHANGED}),
        ("completion:retry", {"session_id": "s-failed"}, {"retried": CHANGED}),
        (
            "completion:async",
            {"prompt": "hi", "request_id": "done"},
            {"request_id": "done", "status": "completed", "duplicate": bool},
        ),
        (
            "conversation:acquire_lock",
            {"session_id": "locked", "agent_id": "a1"},
            {"locked": bool, "lock_holder": "a7", "expires_at": maybe_utc},
        ),
    ],
)
async def test_the_other_forms_of_an_event_have_theirs(
    name: str, data: dict[str, object], shape: object, tmp_path: Path
) -> None:
    async with scene(tmp_path) as rig:
        reply = await rig.engine.emit(name, data)
        assert misfit(reply, shape) is None


def _epochs(value: object, path: str = "") -> list[str]:
    """Return where a number stands that is a moment in epoch seconds."""
    if isinstance(value, dict):
        return [found for k, v in value.items() for found in _epochs(v, f"{path}.{k}")]
    if isinstance(value, list):
        return [found for i, v in enumerate(value) for found in _epochs(v, f"{path}[{i}]")]
    return [path] if isinstance(value, int | float) and 1e9 < value < 1e11 else []


@pytest.mark.parametrize("case", CASES, ids=_IDS)
async def test_times_are_never_epoch_seconds(case: Case, tmp_path: Path) -> None:
    async with scene(tmp_path) as rig:
        if case.before is not None:
            assert "code" not in await rig.engine.emit(*case.before)
        reply = await rig.engine.emit(case.name, case.data)
        reply.pop("circuits", None)  # a checkpoint's own memory, for its restore only
        assert _epochs(reply) == []
        for event in list(rig.seen):
            assert _epochs(dict(event.data)) == [], event.name
