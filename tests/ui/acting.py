"""A scripted engine to act on: the story of the target pictures, answering by what it was told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ksi_tui.engine.views import Live, Phase
from tests.ui.harness import Hand
from tests.ui.scripted import ScriptedClient, busy

UNFINISHED = ("queued", "processing", "retrying")
NOT_THERE = {"error": "no such request", "code": "not_found"}


def live(request_id: str = "r-1042", **changes: Any) -> Live:
    """A request that runs and has said nothing for a while."""
    fields: dict[str, Any] = {
        "phase": Phase.NO_TOKEN,
        "why": "no token for 34 s",
        "provider": "anthropic",
        "model": "claude-sonnet-4-5",
        "attempt": 2,
        "max_attempts": 3,
        "tokens": 412,
        "ttft_s": 0.7,
        "tokens_per_s": 0.0,
        "text": "Invoice 2231 doubled",
        "text_length": 20,
        "if_nobody_acts": "the idle clock fires in 0:26, attempt 3 of 3 starts",
    }
    return Live(request_id=request_id, **(fields | changes))


def provider(priority: int, models: list[str], **changes: Any) -> dict[str, Any]:
    """A provider as `completion:provider_status` tells of it; healthy unless told otherwise."""
    breaker = {"state": "closed", "forced": None, "forced_by": None, "forced_until": None}
    return {
        "config": {
            "models": models,
            "priority": priority,
            "max_concurrency": changes.pop("of", 24),
        },
        "circuit_breaker": {**breaker, "reason": None, **changes.pop("breaker", {})},
        "paused": None,
        "cooldown_until": None,
        "stats": {"in_flight": changes.pop("flight", 0)},
        **changes,
    }


class World(ScriptedClient):
    """Requests with states that the events of the engine change."""

    def __init__(self) -> None:
        super().__init__(busy())
        self.states = {
            "r-1": "completed",
            "r-1042": "processing",
            "r-1047": "queued",
            "r-1051": "queued",
        }
        self.session = dict.fromkeys(self.states, "globex-7")
        self.more: dict[str, dict[str, Any]] = {}
        self.holder: str | None = "a12"
        self.refused: dict[str, str] = {}
        self.providers = {
            "openai": provider(1, ["gpt-*", "o4-mini"], breaker={"state": "open"}, of=16),
            "azure-eu": provider(2, ["gpt-*"], cooldown_until="2026-11-22T03:12:53Z", of=16),
            "anthropic": provider(3, ["claude-*", "gpt-4o"], flight=21),
        }
        self.lives["r-1042"] = live()
        self.replies = {
            "completion:session_status": self._session_status,
            "completion:request_status": self._request_status,
            "completion:provider_status": lambda _: {"providers": self.providers},
            "completion:cancel": lambda data: self._move(data, "cancelled", UNFINISHED),
            "completion:retry": lambda data: self._move(data, "retried", ("failed", "cancelled")),
            "completion:models": {
                "models": [
                    {"model": "claude-sonnet-4-5", "input_price": 3.0, "output_price": 15.0},
                    {"model": "gpt-4o", "input_price": 2.5, "output_price": 10.0},
                ]
            },
            "completion:token_usage": self._usage,
            "completion:requests": self._requests,
        }

    def add(self, request_id: str, state: str, session_id: str = "globex-7", **more: Any) -> None:
        """Put a request into the world; `more` goes into its report."""
        self.states[request_id] = state
        self.session[request_id] = session_id
        self.more[request_id] = more

    def _usage(self, data: Mapping[str, Any]) -> dict[str, Any]:
        usage = {"request_count": 10, "cost": 0.15, "unpriced": 0, "avg_tokens_per_request": 900}
        return {"model": data["model"], "usage": usage}

    def _session_status(self, data: Mapping[str, Any]) -> dict[str, Any]:
        session_id = data["session_id"]
        own = [each for each in self.states if self.session[each] == session_id]
        running = [each for each in own if self.states[each] == "processing"]
        queued = [each for each in own if self.states[each] == "queued"]
        return {
            "session_id": session_id,
            "exists": bool(own),
            "completions": [{"request_id": i, "status": self.states[i]} for i in own],
            "queue": {"queue_size": len(queued)},
            "session": {
                "active_request": running[0] if running else None,
                "lock_holder": self.holder,
                "lock_expiry": "2026-11-22T03:13:25Z",
                "lock_request": running[0] if running else None,
                "paused": None,
            },
        }

    def _request_status(self, data: Mapping[str, Any]) -> dict[str, Any]:
        request_id = str(data["request_id"])
        if request_id not in self.states:
            return NOT_THERE
        return {
            "request_id": request_id,
            "session_id": self.session[request_id],
            "status": self.states[request_id],
            "requested_model": "gpt-4o",
            "model": "claude-sonnet-4-5",
            "prompt": "x" * 8000,
            "attempts": [],
            "avoid": [],
            "cost": None,
            "text": "",
            **self.more.get(request_id, {}),
        }

    def _named(self, data: Mapping[str, Any]) -> list[str]:
        if "session_id" in data:
            return [i for i in self.states if self.session[i] == data["session_id"]]
        return [data["request_id"]] if "request_id" in data else list(data["request_ids"])

    def _move(self, data: Mapping[str, Any], word: str, states: tuple[str, ...]) -> dict[str, Any]:
        entries = []
        for request_id in self._named(data):
            was = self.states.get(request_id, "")
            if request_id in self.refused:
                refused = {"error": self.refused[request_id], "code": "conflict"}
                entries.append({"request_id": request_id, "changed": False, **refused})
                continue
            if "session_id" in data and was not in states:
                continue
            changed = was in states or "avoid" in data or "model" in data
            if changed:
                self.states[request_id] = "cancelled" if word == "cancelled" else "queued"
            entries.append({"request_id": request_id, "was": was, "changed": changed})
        return {word: entries}

    def _requests(self, data: Mapping[str, Any]) -> dict[str, Any]:
        _, _, states = str(data["filter"]).rpartition("status:")
        ids = [i for i, state in self.states.items() if state in states.split(",")]
        return {"ids": ids, "total": len(ids)}


async def opened(hand: Hand, key: str, *texts: str) -> None:
    """Press a key and wait for what its dialog says."""
    await hand.press(key)
    await hand.sees(*texts)


async def confirm(hand: Hand) -> None:
    """Go from the safe button to the other one and press it, as someone who means it."""
    hand.clock.advance(1)
    await hand.until(lambda: hand.app.focused is not None and hand.app.focused.id == "keep")
    await hand.press("tab")
    await hand.press("enter")
