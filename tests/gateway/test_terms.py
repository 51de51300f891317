"""How a request is to be treated: headers, `user`, `metadata`, and what holds by default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.engine.engine_fixtures import Rig
from tests.gateway.fixtures import Door, ask, scripted


async def _report(rig: Rig, door: Door, body: dict[str, Any], **headers: str) -> dict[str, Any]:
    status, answer, sent = await door.post(body, **headers)
    assert status == 200, answer
    return await rig.status(sent["X-Ksi-Request-Id"])


async def test_by_default_a_session_of_its_own_without_history(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (rig, door):
        report = await _report(rig, door, ask())
        assert report["session_id"] == report["request_id"]
        assert report["history"] == "none"
        assert (report["agent_id"], report["priority"]) == (None, "normal")
        assert report["metadata"] == {}
        assert report["messages"] == ask()["messages"]


async def test_every_header(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (rig, door):
        report = await _report(
            rig,
            door,
            ask(metadata={"a": "1", "b": "1"}, user="u1"),
            X_Ksi_Session="s1",
            X_Ksi_Agent="a1",
            X_Ksi_Priority="high",
            X_Ksi_Timeout="12.5",
            X_Ksi_Metadata='{"b": 2}',
        )
        assert (report["session_id"], report["agent_id"]) == ("s1", "a1")
        assert (report["priority"], report["timeout_s"]) == ("high", 12.5)
        assert report["metadata"] == {"a": "1", "b": 2}
        assert report["params"] == {"user": "u1"}


async def test_metadata_stands_in_for_headers(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (rig, door):
        named = {"ksi_session": "s1", "ksi_priority": "low", "ksi_timeout": "7", "team": "x"}
        report = await _report(rig, door, ask(metadata=named), X_Ksi_Priority="high")
        assert (report["session_id"], report["timeout_s"]) == ("s1", 7)
        assert report["priority"] == "high", "the header goes before"
        assert report["metadata"] == {"team": "x"}


async def test_the_user_is_the_agent_and_goes_along(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (rig, door):
        report = await _report(rig, door, ask(user="alice"))
        assert report["agent_id"] == "alice"
        assert rig.p.calls[0].spec.params["user"] == "alice"


async def test_with_history_a_session_remembers(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (rig, door):
        headers = {"X-Ksi-Session": "s1", "X-Ksi-History": "session"}
        await door.post(ask("first"), **headers)
        body = ask("second")
        body["messages"].insert(0, {"role": "system", "content": "be brief"})
        await door.post(body, **headers)
        spec = rig.p.calls[1].spec
        assert [m["content"] for m in spec.history] == ["first", "re: first"]
        assert [m["content"] for m in spec.messages] == ["be brief", "second"]


async def test_a_conversation_is_sent_as_it_is_also_with_history(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (rig, door):
        headers = {"X-Ksi-Session": "s1", "X-Ksi-History": "session"}
        await door.post(ask("first"), **headers)
        messages = [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": "c"},
        ]
        await door.post(ask(messages=messages), **headers)
        assert list(rig.p.calls[1].spec.messages) == messages
        assert not rig.p.calls[1].spec.history


async def test_without_history_nothing_goes_along(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (rig, door):
        await door.post(ask("first"), X_Ksi_Session="s1", X_Ksi_History="session")
        await door.post(ask("second"), X_Ksi_Session="s1")
        await door.post(ask("third"), X_Ksi_Session="s1", X_Ksi_History="none")
        assert [list(up.spec.history) for up in rig.p.calls] == [[], [], []]


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("X-Ksi-Timeout", "soon"),
        ("X-Ksi-Timeout", "0"),
        ("X-Ksi-Timeout", "nan"),
        ("X-Ksi-Priority", "inject"),
        ("X-Ksi-History", "all"),
        ("X-Ksi-Detached", "maybe"),
        ("X-Ksi-Metadata", "[1]"),
        ("X-Ksi-Metadata", "{"),
        ("X-Ksi-Session", ""),
        ("X-Ksi-Session", "s" * 201),
        ("X-Ksi-Agent", "a\u202e"),
    ],
)
async def test_a_wrong_header_is_refused(tmp_path: Path, header: str, value: str) -> None:
    async with scripted(tmp_path) as (rig, door):
        status, body, _ = await door.post(ask(), **{header: value})
        assert status == 400, body
        assert not rig.p.calls


async def test_messages_of_every_shape_go_out_as_they_came(tmp_path: Path) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages: list[dict[str, Any]] = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "name": "bob", "content": [{"type": "text", "text": "what is this?"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "42"}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "and this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
            ],
        },
        {"role": "user", "content": "end", "x_unknown": {"kept": True}},
    ]
    async with scripted(tmp_path) as (rig, door):
        status, _, _ = await door.post(ask(messages=messages))
        assert status == 200
        assert list(rig.p.calls[0].spec.messages) == messages


async def test_parameters_and_what_is_unknown_have_their_own_ways(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (rig, door):
        body = ask(temperature=0, top_p=0.5, stop="x", top_k=3, seed=None, min_p=None)
        await door.post(body)
        assert rig.p.calls[0].spec.params == {
            "temperature": 0,
            "top_p": 0.5,
            "stop": "x",
            "extra_body": {"top_k": 3, "min_p": None},
        }


async def test_no_number_is_too_long_to_be_refused(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (_, door):
        status, body, _ = await door.post(ask(metadata={"ksi_timeout": 10**400}))
        assert status == 400, body
        assert "X-Ksi-Timeout: seconds, as a number" in body["error"]["message"]
