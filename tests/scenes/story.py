"""One story for every scene: 03:12 at a provider half dead, as a database to be opened.

`settings()` is what a user would have in the TOML; all providers are simulated, so nothing
leaves the machine. `prepare()` lives the minutes before on a clock that runs behind, through
the engine's own events, and leaves the work for the dashboard that opens the database next.
"""

from __future__ import annotations

import asyncio
import time
import tomllib
from pathlib import Path
from typing import Any

from ksi_tui.client import EngineClient
from ksi_tui.config import Config
from ksi_tui.engine import CompletionEngine

AGO_S = 252.0
"""How long before the dashboard opens the provider broke, in seconds."""
_BOUND_S = 30.0

SETTINGS = """
[engine]
database = "{folder}/ksi.db"
responses_dir = "{folder}/responses"
max_concurrency = {concurrency}
default_model = "gpt-4o"
shutdown_grace_s = 0
idle_timeout_s = 600
first_token_timeout_s = 600

[retry]
max_attempts = 3
initial_delay_s = 1

[circuit]
fail_max = 5
reset_timeout_s = 600
max_reset_timeout_s = 900

[[providers]]
name = "openai"
kind = "simulated"
models = ["gpt-4o", "gpt-4o-mini", "o4-mini"]
model = "{{model}}"
params = {{ behaves_like = "sim/down" }}
priority = 1

[[providers]]
name = "anthropic"
kind = "simulated"
models = ["claude-sonnet-4-5", "claude-haiku-4-5"]
model = "{{model}}"
priority = 2
max_concurrency = 24
params = {{ behaves_like = "sim/slow", delay_ms = 300, tokens_per_s = 40, words = 60 }}

[[providers]]
name = "azure-eu"
kind = "simulated"
models = ["gpt-4o-mini"]
model = "{{model}}"
priority = 2
max_concurrency = 2
params = {{ behaves_like = "sim/slow", delay_ms = 200, tokens_per_s = 30, words = 80 }}

[[providers]]
name = "local-vllm"
kind = "simulated"
models = ["llama-3.3-70b"]
model = "{{model}}"
priority = 3
max_concurrency = 2
params = {{ behaves_like = "sim/slow", delay_ms = 100, tokens_per_s = 60, words = 120 }}

[routing.fallbacks]
"gpt-4o" = ["claude-sonnet-4-5"]

[prices."gpt-4o"]
input = 2.5
output = 10

[prices."gpt-4o-mini"]
input = 0.15
output = 0.6

[prices."claude-sonnet-4-5"]
input = 3
output = 15

[prices."claude-haiku-4-5"]
input = 1
output = 5

[ui]
operator = "op1"
bell = false
"""

_QUICK = {"sim": {"delay_ms": 5, "tokens_per_s": 2000, "words": 12}}
_SILENT = {"sim": {"tokens_per_s": 200, "words": 400, "silent_after": 41}}
_NEVER = {"sim": {"delay_ms": 3_600_000}}


def settings(folder: Path, concurrency: int = 32) -> str:
    """Return the settings as TOML, with the database in `folder`."""
    return SETTINGS.format(folder=folder, concurrency=concurrency)


def config(folder: Path, concurrency: int = 32) -> Config:
    """Return the settings validated."""
    return Config.model_validate(tomllib.loads(settings(folder, concurrency)))


def _request(session: str, model: str, agent: str, **more: Any) -> dict[str, Any]:
    prompt = "Summarise the thread for the customer in three sentences."
    asked = {"prompt": prompt, "session_id": session, "model": model, "agent_id": agent}
    return asked | more


def _globex(prompt: str, **more: Any) -> dict[str, Any]:
    metadata = {"customer": "globex", "ticket": "8841"}
    asked = {"prompt": prompt, "metadata": metadata, **more}
    return _request("globex-7", "claude-sonnet-4-5", "a12", **asked)


def _answered() -> list[dict[str, Any]]:
    """What was answered before the dashboard opens; `gpt-4o` fails at openai first."""
    turns = ("Show me invoice 2231.", "And the contract behind it?")
    steady = [_request(f"acme-{n}", "claude-haiku-4-5", "a3") for n in range(8)]
    moved = [_request(f"hooli-{n}", "gpt-4o", "a9") for n in range(5)]
    drafts = [_request("invoices-dev", "claude-sonnet-4-5", "op1", prompt=turn) for turn in turns]
    asked = [*steady, *(_globex(turn) for turn in turns), *drafts, *moved]
    return [{**request, "extra_body": _QUICK} for request in asked]


def _waiting() -> list[dict[str, Any]]:
    """What stands in the queues when the dashboard opens, first what it is about."""
    return [
        _globex(
            "Why did invoice 2231 double between May and June?",
            request_id="r-1042",
            priority="high",
            extra_body=_SILENT,
        ),
        _globex("Show the lines that changed.", request_id="r-1047"),
        _globex("And what do we owe them?", request_id="r-1051"),
        _request("a7-main", "o4-mini", "a7", request_id="r-77"),
        *(_request("acme-42", "claude-haiku-4-5", "a3", request_id=f"r-{n}") for n in (81, 93, 95)),
        *(_request("nightly-eval", "gpt-4o-mini", "eval") for _ in range(8)),
        *(_request(f"stark-{n}", "o4-mini", "a5") for n in range(6)),
        *(_request(f"umbrella-{n % 14}", "gpt-4o", f"a{n % 5}") for n in range(160)),
        *(_request(f"bench-{n % 5}", "llama-3.3-70b", "bench") for n in range(10)),
    ]


async def prepare(folder: Path) -> None:
    """Write the database that the dashboard opens: what happened, and what waits."""

    def behind() -> float:
        return time.time() - AGO_S

    async with CompletionEngine(config(folder), clock=behind) as engine:
        await _all_answered(engine, _answered())
        for _ in range(4):
            held = {"session_id": "acme-42", "agent_id": "a7", "timeout_s": AGO_S + 300}
            await engine.emit("conversation:acquire_lock", held)
        budget = {"by": "op2", "reason": "budget until 06:00"}
        await engine.emit("queue:pause", {"scope": "session", "id": "nightly-eval", **budget})
    # One that never answers takes the only slot: all else waits, and no call of it is cut.
    async with CompletionEngine(config(folder, concurrency=1), clock=behind) as engine:
        first = _request("bench-eu", "llama-3.3-70b", "bench", extra_body=_NEVER)
        await _accepted(engine, [first])
        await _accepted(engine, _waiting())


async def _accepted(engine: EngineClient, requests: list[dict[str, Any]]) -> None:
    reply = await engine.emit("completion:batch", {"requests": requests})
    refused = [each for each in reply["accepted"] if "error" in each]
    assert not refused, refused


async def _all_answered(engine: EngineClient, requests: list[dict[str, Any]]) -> None:
    left = len(requests)
    results = engine.subscribe("completion:result")
    await _accepted(engine, requests)
    async with asyncio.timeout(_BOUND_S):
        async for event in results:
            left -= event.name == "completion:result"
            if not left:
                return
