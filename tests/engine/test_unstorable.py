"""Answers that no database can hold, and what a call tells of its progress."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ksi_tui.config import ProviderSettings
from ksi_tui.engine import CompletionEngine
from ksi_tui.engine.models import Usage
from ksi_tui.engine.providers.base import CallObserver, CallResult, CallSpec, Provider
from tests.engine.engine_fixtures import FINAL, config, until


class Answering:
    """A provider that answers with the given response."""

    def __init__(self, name: str, response: Mapping[str, Any]) -> None:
        self.name = name
        self._response = response

    async def call(self, spec: CallSpec, observer: CallObserver) -> CallResult:
        observer.on_text("a", 1)
        observer.on_text("b", 1)
        observer.on_text("c", 1)
        return CallResult(response=self._response, text="abc", usage=Usage(output=3))

    async def aclose(self) -> None:
        """Hold nothing."""


def _nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"x": value}
    return value


async def test_an_answer_nested_too_deep_fails_the_request_and_not_the_engine(
    tmp_path: Path,
) -> None:
    def build(settings: ProviderSettings) -> Provider:
        return Answering(settings.name, _nested(100_000))

    async with CompletionEngine(config(tmp_path), build=build) as engine:
        async with engine.subscribe("completion:*") as events:
            reply = await engine.emit("completion:async", {"prompt": "x"})
            async for event in events:
                if event.name in FINAL:
                    break
        assert event.name == "completion:error"
        assert "cannot be stored" in event.data["error"]
        status = await engine.emit("completion:status")
        assert status["status_counts"]["failed"] == 1
        assert status["status_counts"]["processing"] == 0
        assert status["database"]["fault"] is None
        stored = await engine.emit("completion:request_status", {"request_id": reply["request_id"]})
        assert (stored["status"], stored["error"]["kind"]) == ("failed", "provider_error")
        again = await engine.emit("completion:async", {"prompt": "y"})
        assert again["status"] == "queued"
        await until(lambda: engine.snapshot().totals.active == 0)


async def test_progress_tells_first_token_and_then_streaming_once(tmp_path: Path) -> None:
    def build(settings: ProviderSettings) -> Provider:
        return Answering(settings.name, {"choices": []})

    seen: list[str] = []
    async with (
        CompletionEngine(config(tmp_path), build=build) as engine,
        engine.subscribe("completion:*") as events,
    ):
        await engine.emit("completion:async", {"prompt": "x"})
        async for event in events:
            if event.name == "completion:progress":
                seen.append(event.data["status"])
            if event.name in FINAL:
                break
    assert seen == ["calling_provider", "first_token", "streaming"]
