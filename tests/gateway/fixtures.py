"""A gateway on loopback over a whole engine, and what its clients see.

Nothing in here waits for time to pass: every wait is for a condition, bounded.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from openai import AsyncOpenAI

from ksi_tui.client import EngineClient
from ksi_tui.config import Config
from ksi_tui.engine import CompletionEngine
from ksi_tui.gateway.routing import routes
from tests.engine.engine_fixtures import Rig, Script, config, provider, running

CHAT = "/v1/chat/completions"


class Door:
    """The gateway as a client reaches it."""

    def __init__(self, server: TestServer, http: aiohttp.ClientSession) -> None:
        self.server = server
        self.http = http
        self._streams: list[Streaming] = []
        self.openai = AsyncOpenAI(
            base_url=str(server.make_url("/v1")), api_key="none", max_retries=0
        )

    @property
    def port(self) -> int:
        """The port on loopback."""
        assert self.server.port is not None
        return self.server.port

    async def post(
        self, body: Mapping[str, Any], **headers: str
    ) -> tuple[int, dict[str, Any], Mapping[str, str]]:
        """Post a chat completion; returns status, JSON and headers."""
        async with self.http.post(CHAT, json=body, headers=_named(headers)) as response:
            return response.status, await response.json(), dict(response.headers)

    async def stream(self, body: Mapping[str, Any], **headers: str) -> list[Any]:
        """Post a streamed one that must begin; returns its events, `"[DONE]"` as it is."""
        body = {"stream": True, **body}
        async with self.http.post(CHAT, json=body, headers=_named(headers)) as response:
            assert response.status == 200, await response.text()
            return events_of(await response.text())

    async def begun(self, body: Mapping[str, Any], **headers: str) -> Streaming:
        """Post a streamed one and read on by hand."""
        body = {"stream": True, **body}
        response = await self.http.post(CHAT, json=body, headers=_named(headers))
        assert response.status == 200, await response.text()
        self._streams.append(Streaming(response))
        return self._streams[-1]

    def close(self) -> None:
        """Leave what is still open."""
        for stream in self._streams:
            stream.leave()


class Streaming:
    """A streamed answer that is read event by event."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.request_id = response.headers["X-Ksi-Request-Id"]

    async def next(self) -> Any:
        """Return the next event; None at the end."""
        async with asyncio.timeout(20):
            async for line in self.response.content:
                if line.startswith(b"data: "):
                    return _event(line.decode())
        return None

    async def text(self, count: int) -> str:
        """Return the texts of the next so many deltas with any."""
        texts: list[str] = []
        while len(texts) < count:
            event = await self.next()
            assert event is not None, "the stream ended"
            texts += [t for c in event["choices"] if (t := c["delta"].get("content"))]
        return "".join(texts)

    def leave(self) -> None:
        """Close the connection."""
        self.response.close()


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers whose names were written as arguments."""
    return {name.replace("_", "-"): value for name, value in headers.items()}


def _event(line: str) -> Any:
    data = line.removeprefix("data: ").strip()
    return data if data == "[DONE]" else json.loads(data)


def events_of(text: str) -> list[Any]:
    """Return the events of a stream's text."""
    return [_event(line) for line in text.splitlines() if line.startswith("data: ")]


def content_of(events: list[Any], index: int = 0) -> str:
    """Return the text of one choice of a stream."""
    chunks = [event for event in events if event != "[DONE]" and "choices" in event]
    choices = [c for chunk in chunks for c in chunk["choices"] if c["index"] == index]
    return "".join(c["delta"].get("content") or "" for c in choices)


def ask(content: str = "hello", **more: Any) -> dict[str, Any]:
    """Return a body."""
    return {"model": "m1", "messages": [{"role": "user", "content": content}], **more}


@asynccontextmanager
async def door_to(client: EngineClient, *, largest: int = 1024**2) -> AsyncIterator[Door]:
    """Serve the gateway over a client on loopback."""
    app = web.Application(client_max_size=largest)
    app.add_routes(routes(client))
    server = TestServer(app, host="127.0.0.1")
    async with server, aiohttp.ClientSession(server.make_url("/")) as http:
        door = Door(server, http)
        async with door.openai:
            yield door
            door.close()


@asynccontextmanager
async def scripted(
    folder: Path, scripts: Mapping[str, Script] | None = None, **settings: Any
) -> AsyncIterator[tuple[Rig, Door]]:
    """Run an engine with scripted providers and a gateway over it."""
    async with (
        running(config(folder, **settings), scripts=scripts) as rig,
        door_to(rig.engine) as door,
    ):
        yield rig, door


@asynccontextmanager
async def simulated(folder: Path, **engine: Any) -> AsyncIterator[Door]:
    """Run an engine with the simulated provider and a gateway over it."""
    settings = Config.model_validate(
        {
            "engine": {
                "database": str(folder / "ksi.db"),
                "responses_dir": str(folder / "responses"),
                "shutdown_grace_s": 0,
                **engine,
            },
            "retry": {"initial_delay_s": 0, "jitter": 0, "max_attempts": 1},
            "providers": [provider("sim", "sim/*")],
        }
    )
    async with CompletionEngine(settings) as running, door_to(running) as door:
        yield door
