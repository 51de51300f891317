"""Whatever is sent to whatever is described: answered as described, and the engine unhurt.

`make fuzz-http` asks the same of a real `serve`, longer and by somebody else's rules.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from ksi_tui.access import described
from tests.access.bodies import sent
from tests.access.listener import Listener, running

DOCUMENT: Final = json.loads(json.dumps(described.document(tokens=False)))
COMPONENTS: Final = DOCUMENT["components"]
CHAT: Final = "/v1/chat/completions"
EVENTS: Final = sorted(
    path
    for path in DOCUMENT["paths"]
    if path.startswith("/events/") and path != "/events/system:shutdown"
)
NO_BODIES: Final = (
    *(b"5", b'"x"', b"[]", b"[[1]]", b"null", b"true", b"{", b'{"a"}', b"\xff\xfe", b"NaN"),
    *(b'{"a": Infinity}', b"[" * 2000, b'{"metadata": ' + b'{"a": ' * 150 + b"1" + b"}" * 151),
)
"""What no schema allows: the edge's own part, and the same for each."""
ASKED: Final = {"messages": [{"role": "user", "content": "still there?"}]}


def _body(path: str) -> st.SearchStrategy[tuple[str, bytes]]:
    schema = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    return st.tuples(st.just(path), sent(schema, COMPONENTS))


async def _answered_as_described(asked: Sequence[tuple[str, bytes]]) -> None:
    headers = {"Content-Type": "application/json"}
    with tempfile.TemporaryDirectory() as folder:
        async with running(Path(folder)) as listener:
            for path, body in asked:
                answer = await listener.ask("POST", path, data=body, headers=headers)
                kind = answer.headers["Content-Type"].partition(";")[0]
                _check(path, body, answer.status, kind, answer.text)
            await _unhurt(listener)


def _check(path: str, body: bytes, status: int, kind: str, text: str) -> None:
    responses = DOCUMENT["paths"][path]["post"]["responses"]
    asked = (path, body, status, text[:500])
    assert status < 500, asked
    assert str(status) in responses or status == 403, asked
    schemas = responses.get(str(status), responses["default"])["content"]
    assert kind in schemas, asked
    if kind == "application/json":
        whole = {**schemas[kind]["schema"], "components": COMPONENTS}
        Draft202012Validator(whole).validate(json.loads(text))


async def _unhurt(listener: Listener) -> None:
    """Have what was stopped go on, and a request completed."""
    for scope in ({"scope": "engine"}, {"scope": "provider", "id": "sim"}):
        await listener.engine.emit("queue:resume", scope)
    await listener.engine.emit("provider:reset", {"provider": "sim"})
    answer = await listener.ask("POST", CHAT, json={"model": "sim/echo", **ASKED})
    assert answer.status == 200, answer.text
    assert answer.json["choices"][0]["message"]["content"] == "still there?"


_BOUNDED = settings(
    max_examples=4,
    deadline=None,
    database=None,
    phases=[Phase.generate],  # a failure names its body: to shrink would start an engine each time
    suppress_health_check=list(HealthCheck),
)


def test_what_is_no_body_at_all() -> None:
    asked = [(path, body) for path in (CHAT, *EVENTS) for body in NO_BODIES]
    asyncio.run(_answered_as_described(asked))


@_BOUNDED
@given(st.tuples(*map(_body, EVENTS)))
def test_any_body_of_any_event(asked: Sequence[tuple[str, bytes]]) -> None:
    asyncio.run(_answered_as_described(asked))


@_BOUNDED
@given(st.lists(_body(CHAT), min_size=8, max_size=20))
def test_any_body_of_a_chat_completion(asked: Sequence[tuple[str, bytes]]) -> None:
    asyncio.run(_answered_as_described(asked))
