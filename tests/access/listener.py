"""A whole listener on loopback over a whole engine, and a client that sends what a test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from ksi_tui.access import tokens
from ksi_tui.access.limits import Limits
from ksi_tui.access.listening import Place, serving
from ksi_tui.access.roles import Role
from ksi_tui.config import Config
from ksi_tui.door.server import Door
from ksi_tui.engine import CompletionEngine

BOUND_S = 20.0
"""How long any wait of a test may take before it is a failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.text)


class Listener:
    """A listener that runs. `tokens` by role are there where it asks for them."""

    def __init__(
        self, engine: CompletionEngine, place: Place, file: Path | None, session: ClientSession
    ) -> None:
        self.engine = engine
        self.url = place.url
        self.port = place.sock.getsockname()[1]
        self.file = file
        self.tokens: dict[Role, str] = {}
        self._session = session

    async def ask(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> Answer:
        """Send a request and return what came back."""
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        async with (
            asyncio.timeout(BOUND_S),
            self._session.request(method, self.url + path, headers=sent, **more) as response,
        ):
            return Answer(
                status=response.status, headers=response.headers, text=await response.text()
            )

    async def stream(
        self, path: str, token: str | None = None, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[str]:
        """Yield the lines of an answer that does not end."""
        sent = dict(headers or {}) | ({"Authorization": f"Bearer {token}"} if token else {})
        async with self._session.get(self.url + path, headers=sent) as response:
            assert response.status == 200, await response.text()
            async for line in response.content:
                yield line.decode()

    async def raw(self, data: bytes) -> bytes:
        """Send bytes over a connection of their own and return all that comes until it closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            async with asyncio.timeout(BOUND_S):
                return await reader.read()
        finally:
            writer.close()


def engine_config(folder: Path, **more: Any) -> Config:
    """Return settings of an engine with simulated providers under a folder."""
    return Config.model_validate(
        {
            "engine": {
                "database": str(folder / "ksi.db"),
                "responses_dir": str(folder / "responses"),
                "shutdown_grace_s": 5,
                "max_session_depth": 10,
                **more,
            },
            "providers": [
                {"name": "sim", "kind": "simulated", "models": ["sim/*"], "model": "{model}"}
            ],
        }
    )


def token_file(folder: Path) -> tuple[Path, dict[Role, str]]:
    """Return a token file with a token of each role, and their texts."""
    file = folder / "tokens.json"
    made = {}
    for role in Role:
        made[role], record = tokens.make(role, f"{role.value} token")
        tokens.add(file, record)
    return file, made


@asynccontextmanager
async def running(
    folder: Path, *, guarded: bool = False, address: str = "127.0.0.1:0", **limits: Any
) -> AsyncIterator[Listener]:
    """Run a listener; `guarded` by tokens, and within `limits`."""
    file, made = token_file(folder) if guarded else (None, {})
    place = Place.take(address, file)
    config = engine_config(folder)
    async with (
        CompletionEngine(config) as engine,
        Door(engine, database=config.engine.database_path) as door,
        serving(engine, door, place, Limits(**limits)),
        ClientSession() as session,
    ):
        listener = Listener(engine, place, file, session)
        listener.tokens.update(made)
        yield listener
