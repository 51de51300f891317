"""Any event with any data: refused in words, or done; and then the engine is still whole."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.codec import plain as as_plain
from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.event_payloads import PAYLOADS
from tests.engine.engine_fixtures import HandClock, Upstream, config, provider, running
from tests.fuzz.values import EXAMPLES, TEXTS, anything, bounded, texts

pytestmark = pytest.mark.timeout(0 if EXAMPLES else 120)

CODES = {
    "invalid_request",
    "not_found",
    "not_ready",
    "queue_full",
    "no_provider",
    "lock_denied",
    "conflict",
}
ENDING = {"system:shutdown"}
IDS = ("r1", "r2", *TEXTS[:12])
KNOWN: dict[str, Sequence[Any]] = {
    "request_id": IDS,
    "request_ids": (["r1"], list(IDS)),
    "session_id": TEXTS,
    "agent_id": ("a1", "a2", *TEXTS[:3]),
    "provider": ("p", "q", "nobody"),
    "avoid": (["p"], ["q"], list(TEXTS)),
    "model": ("m1", "m1", "m2", "none"),
    "prompt": TEXTS,
    "system": (None, *TEXTS[:3]),
    "messages": ([{"role": "user", "content": "x"}], [{"role": text} for text in TEXTS]),
    "scope": ("engine", "session", "provider"),
    "id": (None, "p", *TEXTS[:5]),
    "priority": ("critical", "high", "normal", "low", "background"),
    "history": ("none", "session", True, False),
    "conversation_lock": ({}, {"timeout_s": 5}, {"on_conflict": "fail"}),
    "injection_config": (
        {},
        {"mode": "direct"},
        {"target_sessions": list(TEXTS[:5]), "follow_up_guidance": "{0} %s"},
    ),
    "circuit_breaker_config": ({}, {"max_depth": 1}),
    "reason": (*ErrorKind, *TEXTS),
    "message": TEXTS,
    "filter": ("", "status:queued", *(f"session:{text}" for text in TEXTS), *TEXTS),
    "field": ("session", "model", "agent", *(f"meta.{text}" for text in TEXTS)),
    "hours": (1, 24, 168),
    "by": (None, "model", "agent", "provider", "session", "day", "hour", "minute", *TEXTS[:3]),
    "bucket_minutes": (1, 60),
    "content": TEXTS,
    "mode": ("next", "direct"),
    "name": ("added", "p"),
    "kind": ("simulated",),
    "models": (["m2"], ["*"], ["[a-"], ["m*", "!"]),
    "completion_data": ({"prompt": "x"}, {"prompt": "x", "request_id": "r1"}),
    "requests": ([{"prompt": "a", "request_id": "b1"}, {"prompt": ""}],),
    "metadata": ({"run": "x"}, {text: text for text in TEXTS}),
    "injections": ([{"session_id": "s", "content": "x"}],),
    "result": TEXTS,
    "max_attempts": (1, 2),
    "timeout_s": (1, 100, 31_536_000),
}


def _fields(name: str) -> list[str]:
    model = PAYLOADS[name]
    return list(model.model_fields) if model is not None else []


@st.composite
def emitted(draw: st.DrawFn) -> tuple[str, Any]:
    """Draw an event: mostly of a known name with known fields, one or two of them odd."""
    name = draw(st.sampled_from(sorted(set(PAYLOADS) - ENDING)))
    fields = _fields(name)
    required = [
        key
        for key in fields
        if key in KNOWN and PAYLOADS[name].model_fields[key].is_required()  # type: ignore[union-attr]
    ]
    if name in ("completion:async", "completion:inject"):
        required = ["prompt"]
    more = draw(st.lists(st.sampled_from(fields), max_size=4)) if fields else []
    data: dict[Any, Any] = {}
    for key in dict.fromkeys([*required, *more]):
        usual = st.sampled_from(KNOWN[key]) if key in KNOWN else anything
        data[key] = draw(st.one_of(usual, usual, usual, anything))
    if draw(st.integers(0, 15)) == 0:
        data[draw(texts)] = draw(anything)
    return name, data if draw(st.integers(0, 20)) else draw(anything)


class Faults(logging.Handler):
    """Gathers what the engine takes for a fault of its own."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def whole(reply: Mapping[str, Any]) -> str:
    """Return a reply as the strictest JSON; one that is a refusal has a known code."""
    text = json.dumps(reply, allow_nan=False)
    text.encode()
    if "error" in reply and "code" in reply:
        assert reply["code"] in CODES, reply
        assert len(str(reply["error"])) < 5_000
    return text


async def play(folder: Path, steps: Sequence[tuple[str, Any]]) -> None:
    """Emit one after the other, and see that nothing of the engine broke."""

    async def script(up: Upstream) -> str:
        await asyncio.sleep(0)
        return f"re: {up.prompt}"

    settings = config(folder, providers=[provider("p"), provider("q", priority=2)])
    scripts = dict.fromkeys(("p", "q"), script)
    async with running(settings, clock=HandClock(), scripts=scripts) as rig:
        known: set[str] = set()
        for name, data in steps:
            reply = await rig.engine.emit(name, data)
            whole(reply)
            if name in ("completion:async", "completion:inject") and "code" not in reply:
                known.add(reply["request_id"])
            json.dumps(as_plain(rig.engine.snapshot()), allow_nan=False)
        for request_id in known:
            whole(await rig.emit("completion:request_status", request_id=request_id))
        for name in ("completion:status", "completion:token_usage", "completion:provider_status"):
            found = await rig.emit(name)
            assert "code" not in found, found
            whole(found)
        status = await rig.emit("completion:status")
        assert status["database"]["fault"] is None
        total = sum(status["status_counts"].values())
        assert total >= len(known)
        for event in rig.seen:
            json.dumps(event.data, allow_nan=False)
        checkpoint = await rig.emit("checkpoint:collect")
        whole(checkpoint)
    async with running(config(folder / "other")) as other:
        restored = await other.emit("checkpoint:restore", **checkpoint)
        assert "code" not in restored, restored


@given(st.lists(emitted(), min_size=1, max_size=12))
@bounded(20)
def test_no_event_breaks_the_engine(steps: list[tuple[str, Any]]) -> None:
    faults = Faults()
    logging.getLogger("ksi_tui").addHandler(faults)
    folder = Path(tempfile.mkdtemp())
    try:
        asyncio.run(play(folder, steps))
    finally:
        logging.getLogger("ksi_tui").removeHandler(faults)
        shutil.rmtree(folder)
    told = [(record.getMessage(), record.exc_info) for record in faults.records]
    assert not told
