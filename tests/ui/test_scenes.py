"""The three scenes over the real engine: what is on the screen, and what the engine then holds."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import pytest
from textual import events
from textual.keys import _character_to_key

from ksi_tui import clipboard
from ksi_tui.app import KsiApp
from ksi_tui.client import EngineClient
from ksi_tui.engine import CompletionEngine
from tests.scenes import developer, operator, story, support
from tests.scenes.user import Scene
from tests.ui.harness import BOUND_S, SMALL, WIDE, Hand, unhurried

BOTH = pytest.mark.parametrize("size", [SMALL, WIDE], ids=["80x24", "140x45"])
_KEY_S = 0.05
"""Between two keys, as a quick typist has it."""
_CHARACTERS = {"exclamation_mark": "!", "slash": "/", "question_mark": "?"}
Check = Callable[[EngineClient], Awaitable[None]]


class Player:
    """A user of the dashboard over the database of the story."""

    def __init__(self, folder: Path, size: tuple[int, int]) -> None:
        self._folder = folder
        self._size = size
        self._open = AsyncExitStack()
        self._hand: Hand | None = None

    async def begins(self) -> None:
        """Start the dashboard."""
        settings = story.config(self._folder)
        app = KsiApp(
            lambda: CompletionEngine(settings),
            ui=settings.ui,
            name="ksi-tui prod-eu",
            prompts_file=self._folder / "prompts.jsonl",
        )
        self._open.enter_context(unhurried())
        pilot = await self._open.enter_async_context(app.run_test(size=self._size))
        self._open.push_async_callback(app.close_engine)
        self._hand = Hand(pilot, None, app.clock)  # type: ignore[arg-type]
        await self._hand.until(lambda: app.client is not None, "the engine is up")

    async def ends(self) -> None:
        """Leave, with what is unfinished left for the next time."""
        await self._open.aclose()

    @property
    def hand(self) -> Hand:
        assert self._hand is not None
        return self._hand

    @property
    def client(self) -> EngineClient:
        assert self.hand.app.client is not None
        return self.hand.app.client

    @property
    def wide(self) -> bool:
        return self._size == WIDE

    async def press(self, *keys: str) -> None:
        # Not the pilot's way: it waits after each key for an engine that is never idle here.
        for key in keys:
            self._send(key, _CHARACTERS.get(key) or (key if len(key) == 1 else None))
            await self._handled()

    async def type(self, text: str) -> None:
        for char in text:
            self._send(_character_to_key(char), char)
        await self._handled()

    async def _handled(self) -> None:
        """Wait until what was pressed has gone its way, up from the widget that had the keys."""
        for _ in range(2):
            await self.hand.pilot.pause(_KEY_S)
            await self.hand.pilot._wait_for_screen()

    def _send(self, key: str, character: str | None) -> None:
        driver = self.hand.app._driver
        assert driver is not None
        event = events.Key(key, character)
        event.set_sender(self.hand.app)
        driver.send_message(event)

    async def sees(self, *texts: str) -> None:
        await self._until(lambda: all(text in self.hand.screen for text in texts), texts)

    async def _until(self, holds: Callable[[], bool], texts: tuple[str, ...]) -> None:
        end = time.monotonic() + BOUND_S
        while not holds():
            if time.monotonic() > end:
                missing = [text for text in texts if text not in self.hand.screen]
                raise AssertionError(f"never {missing}\n{self.hand.screen}")
            await self.hand.pilot.pause(_KEY_S)

    async def confirms(self) -> None:
        guard = self.hand.app.screen._guard  # type: ignore[attr-defined]
        await self.hand.until(lambda: self.hand.app.clock() - guard._quiet_since > 0.45)
        await self.press("enter")

    async def copied(self, *texts: str) -> None:
        await self._until(lambda: all(t in self.hand.app.clipboard for t in texts), texts)

    async def restarts(self) -> None:
        await self.ends()
        await self.begins()


async def plays(
    scene: Scene, folder: Path, size: tuple[int, int], checks: Mapping[str, Check]
) -> None:
    """Play a scene; after a step the engine holds what its check says."""
    await story.prepare(folder)
    player, done = Player(folder, size), set()
    await player.begins()
    try:
        async for step in scene(player):
            done.add(step)
            if step in checks:
                await checks[step](player.client)
    finally:
        await player.ends()
    assert done >= set(checks)


@contextmanager
def at_hand(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Copies stay in the app; `$EDITOR` is a program that changes one word."""
    monkeypatch.setattr(clipboard, "tools", lambda *_, **__: [])
    change = "import sys; p = sys.argv[1]; t = open(p).read()"
    change += "; open(p, 'w').write(t.replace('vanished', 'stayed'))"
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", f'{sys.executable} -c "{change}"')

    @contextmanager
    def suspend(_app: KsiApp) -> Iterator[None]:
        yield

    monkeypatch.setattr(KsiApp, "suspend", suspend)
    yield


# --- what the engine holds -------------------------------------------------------------------


async def _forced(client: EngineClient) -> None:
    told = await client.emit("completion:provider_status", {"provider": "openai"})
    breaker = told["circuit_breaker"]
    held = breaker["state"], breaker["forced"], breaker["forced_by"], breaker["reason"]
    assert held == ("open", "open", "op1", "status page: 2 h")


async def _paused(client: EngineClient) -> None:
    pauses = client.snapshot().pauses
    held = {(p.id, p.by, p.reason) for p in pauses}
    assert ("acme-42", "op1", "until openai is back") in held


async def _kept(client: EngineClient) -> None:
    entries = (await client.emit("system:journal", {"pattern": "action:*"}))["entries"]
    told = [(each["name"], each["data"]["by"], each["data"]["reason"]) for each in entries]
    assert told[:2] == [
        ("action:pause", "op1", "until openai is back"),
        ("action:force open", "op1", "status page: 2 h"),
    ]


async def _sent_elsewhere(client: EngineClient) -> None:
    told = await client.emit("completion:request_status", {"request_id": "r-77"})
    assert (told["status"], told["provider"]) == ("completed", "anthropic")


async def _stopped(client: EngineClient) -> None:
    told = await client.emit("completion:request_status", {"request_id": "r-1042"})
    assert (told["status"], told["by"], told["reason"]) == (
        "cancelled",
        "op1",
        "ticket 8841, customer asked",
    )
    assert len(told["text"].split()) == 41


async def _was_sent(client: EngineClient) -> None:
    found = await client.emit("completion:requests", {"filter": "session:invoices-dev", "limit": 1})
    row = found["requests"][0]
    asked = {"request_id": row["request_id"], "sent": True}
    told = await client.emit("completion:request_status", asked)
    assert (told["priority"], told["provider"]) == ("high", "anthropic")
    sent = [each["content"] for each in told["sent"]["messages"]]
    assert sent == [
        "You are the billing assistant.",
        "Why did invoice 2231 double?\nShow the lines that changed.",
    ]


async def _compared(client: EngineClient) -> None:
    for model in ("gpt-4o", "claude-haiku-4-5"):
        asked = f"stayed model:{model} status:completed"
        assert (await client.emit("completion:requests", {"filter": asked}))["total"] >= 3


SCENES: Mapping[str, tuple[Scene, Mapping[str, Check]]] = {
    "operator": (
        operator.play,
        {operator.FORCES: _forced, operator.PAUSES: _paused, operator.SCROLLS: _kept},
    ),
    "support": (support.play, {support.STOPS: _stopped, support.TICKET: _sent_elsewhere}),
    "developer": (developer.play, {developer.ROUTING: _was_sent}),
}


@BOTH
@pytest.mark.parametrize("name", SCENES)
async def test_a_scene(
    name: str, size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, checks = SCENES[name]
    with at_hand(tmp_path, monkeypatch):
        await plays(scene, tmp_path, size, checks)
