"""What a worker keeps of a call is no more than its end needs, however long or large it was."""

from __future__ import annotations

import asyncio
import gc
import weakref
from types import SimpleNamespace
from typing import Any

import pytest

from ksi_tui.engine.providers import connections, upstream
from ksi_tui.engine.providers.upstream import Upstream, _forget
from tests.servers.calling import BOUND_S

REQUEST: dict[str, Any] = {
    "model": "openai/m",
    "messages": [{"role": "user", "content": "hello"}],
    "history": [],
    "stream": False,
    "params": {},
    "api_base": None,
    "key_env": None,
}


class Body:
    """What was read of a reply."""


class Failing:
    """A litellm whose every call fails with a body in its frames."""

    def __init__(self, refuse: str | None = None) -> None:
        self.refs: list[weakref.ref[Body]] = []
        self._refuse = refuse

    async def acompletion(self, **_: Any) -> Any:
        kept = Body()
        self.refs.append(weakref.ref(kept))
        if self._refuse is not None:
            connections.refuse(self._refuse)
        own = ValueError("it broke")  # a frame that holds its error, as those of SDKs do
        raise own


async def ended(litellm: Failing) -> dict[str, Any]:
    sent: list[dict[str, Any]] = []
    await Upstream(litellm, None, sent.append, {}).call(7, REQUEST)  # type: ignore[arg-type]
    (end,) = sent
    return end


async def test_a_failed_call_lets_go_of_what_it_read() -> None:
    litellm = Failing()
    gc.disable()
    try:
        end = await ended(litellm)
        assert (end["kind"], end["id"], end["message"]) == ("fault", 7, "it broke")
        assert [ref() for ref in litellm.refs] == [None]
    finally:
        gc.enable()


async def test_why_a_reply_was_not_read_on_is_its_fault() -> None:
    end = await ended(Failing(refuse="the reply is larger than 32 MB"))
    assert (end["error"], end["message"]) == ("provider_error", "the reply is larger than 32 MB")


async def test_what_cancelled_calls_used_is_counted_after_the_last_close_or_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = Upstream(Failing(), None, lambda _: None, {})  # type: ignore[arg-type]
    monkeypatch.setattr(upstream, "_QUIET_S", 3600.0)
    monkeypatch.setattr(upstream, "_COUNT_AFTER_S", 0.01)
    await asyncio.wait_for(one._others_closed(), BOUND_S)  # others close for ever: the bound holds
    monkeypatch.setattr(upstream, "_QUIET_S", 0.01)
    monkeypatch.setattr(upstream, "_COUNT_AFTER_S", 3600.0)
    loop = asyncio.get_running_loop()
    first = asyncio.create_task(one._others_closed())
    await asyncio.sleep(0)
    one._last_close = last = loop.time() + 0.05  # another one closes meanwhile
    await asyncio.wait_for(first, BOUND_S)
    assert loop.time() >= last


def test_of_a_long_stream_few_chunks_are_kept_and_the_newest_usage() -> None:
    chunks: list[Any] = []
    for number in range(5000):
        chunks.append(SimpleNamespace(number=number, usage={"n": number} if number < 3 else None))
        _forget(chunks)
        assert len(chunks) <= 1001
    assert [c.number for c in chunks if c.usage] == [2]
    assert [c.number for c in chunks[-10:]] == list(range(4990, 5000))
