"""What a call has used is told whenever it is cancelled, also while its fault is being counted."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

from ksi_tui.engine.models import Usage
from ksi_tui.engine.providers.upstream import Upstream
from tests.engine.engine_fixtures import until

REQUEST: dict[str, Any] = {
    "model": "openai/m",
    "messages": [{"role": "user", "content": "hello"}],
    "history": [],
    "stream": True,
    "params": {},
    "api_base": None,
    "key_env": None,
}


class Broken:
    """A litellm whose every stream breaks after its first word."""

    completion_stream = None

    def __init__(self) -> None:
        self.chunks: list[Any] = []

    async def acompletion(self, **_: Any) -> Any:
        return self

    async def __aiter__(self) -> AsyncIterator[Any]:
        yield {"choices": [{"delta": {"content": "word"}}]}
        raise ConnectionResetError("it broke")

    async def aclose(self) -> None: ...


class Counting:
    """Tokens whose first count lasts until it may end."""

    def __init__(self) -> None:
        self.begun = 0
        self.go = threading.Event()

    def estimate(self, *_: Any) -> Usage:
        self.begun += 1
        if self.begun == 1:
            self.go.wait(30)
        return Usage(input=1, output=1, estimated=True)

    def cost(self, *_: Any) -> float:
        return 0.5

    def price_version(self, _: Any) -> str:
        return "v1"


class Transport:
    """What a connection that can be cut has."""

    def __init__(self, one: socket.socket) -> None:
        self._socket = one

    def get_extra_info(self, _: str) -> socket.socket:
        return self._socket

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def test_a_cancel_while_a_fault_is_counted_tells_what_was_used() -> None:
    tokens = Counting()
    sent: list[dict[str, Any]] = []
    upstream = Upstream(Broken(), tokens, sent.append, {})  # type: ignore[arg-type]
    call = asyncio.create_task(upstream.call(7, REQUEST))
    await until(lambda: tokens.begun == 1, "the fault is counted")
    call.cancel()
    await call
    tokens.go.set()
    end = sent[-1]
    assert (end["kind"], end["id"]) == ("closed", 7)
    assert (end["usage"]["output"], end["cost"]) == (1, 0.5)


async def test_a_call_that_hears_of_its_cut_first_was_closed_by_it() -> None:
    tokens = Counting()
    sent: list[dict[str, Any]] = []
    upstream = Upstream(Broken(), tokens, sent.append, {})  # type: ignore[arg-type]
    call = asyncio.create_task(upstream.call(7, REQUEST))
    await until(lambda: tokens.begun == 1, "the fault is counted")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        upstream._connections[7].take(SimpleNamespace(transport=Transport(ours)))
        assert upstream.cut(7)
    at = upstream._cut_at[7]
    tokens.go.set()
    await call
    assert (sent[-1]["kind"], sent[-1]["closed_at"], sent[-1]["cost"]) == ("fault", at, 0.5)
