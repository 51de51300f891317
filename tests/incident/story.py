"""An incident over the real engine, told in texts that nobody else may read."""

from __future__ import annotations

import asyncio
import zipfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ksi_tui.commands.config import shown
from ksi_tui.config import Config
from ksi_tui.engine import CompletionEngine
from ksi_tui.engine.providers.factory import build_provider
from ksi_tui.engine.providers.pool import WorkerPool
from ksi_tui.incident.recorder import QUERY, Recorder
from ksi_tui.incident.save import Saved, Wanted, save_bundle
from ksi_tui.screens.event_log import EventLog

TEXTS = {
    "prompt": "PromptCanary has wandered into the garden at night",
    "system": "SystemCanary sits upon the highest branch of all",
    "messages": "MessageCanary came along with two of her friends",
    "tools": "ToolCanary",
    "injection": "InjectedCanary was put in by somebody else entirely",
    "hang": "HangingCanary waits forever for a word that never",
    "short": "ShortCanary",
}
"""What was written, by where; the simulated provider repeats it in its replies."""
CANARIES = tuple(text.split()[0] for text in TEXTS.values())
ECHO = f"upstream said: 400 for {{'content': \"{TEXTS['hang']} came\"}} (bad_request_xyz)"
KEYS = {
    "OPENAI_API_KEY": "sk-KeyCanary-0123456789",
    "PLAIN_NAMED": "NamedCanary-abcdefgh",
    "UPSTREAM_PASSWORD": "PasswordCanary-xyz",
}
ADDRESS = "http://user:UserInfoCanary@127.0.0.1:9/v1?api_key=QueryCanary"


_SLOW = {"tokens_per_s": 2}


def config(folder: Path) -> Config:
    simulated = {"kind": "simulated", "model": "{model}"}
    named = {"name": "elsewhere", "models": ["far/*"], "model": "openai/{model}"}
    return Config.model_validate(
        {
            "engine": {"database": str(folder / "ksi.db"), "shutdown_grace_s": 0},
            "providers": [
                {**simulated, "name": "simulated", "models": ["sim/echo", "sim/hang"]},
                {**simulated, "name": "slowly", "models": ["sim/slow"], "params": _SLOW},
                {**named, "api_base": ADDRESS, "api_key_env": "PLAIN_NAMED"},
            ],
            "retry": {"initial_delay_s": 0.01},
        }
    )


async def until(condition: Callable[[], Any]) -> None:
    """Wait for something that happens for sure."""
    while not await condition():  # noqa: ASYNC110 - the engine is asked, it sets no event
        await asyncio.sleep(0.01)


async def _state(engine: CompletionEngine, request_id: str) -> str:
    reply = await engine.emit("completion:request_status", {"request_id": request_id})
    return str(reply["status"])


async def ended(engine: CompletionEngine, *request_ids: str) -> None:
    final = ("completed", "failed", "cancelled")
    for request_id in request_ids:

        async def over(request_id: str = request_id) -> bool:
            return await _state(engine, request_id) in final

        await until(over)


async def told(engine: CompletionEngine) -> None:
    """What happened: answers with history, tools and injections, a failure, a wait, a cancel."""
    tool = {
        "type": "function",
        "function": {"name": "ToolCanary_find", "description": TEXTS["tools"], "parameters": {}},
    }

    async def send(event: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
        if event == "completion:async":
            await asyncio.sleep(0.002)  # lists are ordered by the millisecond
        return await engine.emit(event, data)

    common = {"model": "sim/echo", "session_id": "acme-42", "agent_id": "a1"}
    about = {"metadata": {"customer": "globex"}}
    first = {**common, **about, "request_id": "r-1", "system": TEXTS["system"], "tools": [tool]}
    await send("completion:async", {**first, "prompt": TEXTS["prompt"]})
    message = {"role": "user", "content": TEXTS["messages"]}
    await send("completion:async", {**common, "request_id": "r-2", "messages": [message]})
    await send("completion:async", {**common, "request_id": "r-3", "prompt": TEXTS["short"]})
    await ended(engine, "r-1", "r-2", "r-3")
    await send(
        "injection:inject",
        {"session_id": "acme-42", "content": TEXTS["injection"], "mode": "next"},
    )
    await send("completion:async", {**common, "request_id": "r-4", "prompt": "and now"})
    await ended(engine, "r-4")
    hang = {"model": "sim/hang", "session_id": "globex-7", "prompt": TEXTS["hang"]}
    await send("completion:async", {**hang, "request_id": "r-5", "max_attempts": 1})
    await send("completion:async", {**hang, "request_id": "r-6"})
    slow = {"model": "sim/slow", "session_id": "stark-1", "prompt": TEXTS["prompt"]}
    await send("completion:async", {**slow, "request_id": "r-7"})

    async def running() -> bool:
        return await _state(engine, "r-5") == await _state(engine, "r-7") == "processing"

    await until(running)
    failed = {"request_id": "r-5", "reason": "invalid_request", "message": ECHO}
    await send("completion:failed", failed)
    await ended(engine, "r-5")

    async def partial() -> bool:
        reply = await send("completion:request_status", {"request_id": "r-7"})
        return bool(reply["text"])

    await until(partial)
    await send("completion:cancel", {"request_id": "r-7", "by": "op1", "reason": "too slow"})
    await send("provider:open", {"provider": "elsewhere", "by": "op1", "reason": "vendor is down"})
    await send(
        "conversation:acquire_lock", {"session_id": "lock-1", "agent_id": "a9", "timeout_s": 60}
    )
    waits = {"model": "sim/echo", "session_id": "lock-1", "agent_id": "a1"}
    await send("completion:async", {**waits, "request_id": "r-8", "prompt": TEXTS["hang"]})


@asynccontextmanager
async def incident(folder: Path) -> AsyncIterator[tuple[CompletionEngine, EventLog, Config]]:
    """The engine after all that, and what the dashboard has noted of it."""
    settings, log = config(folder), EventLog()
    nobody = WorkerPool(0, on_event=lambda *_: None)  # no call is made that would need one
    async with CompletionEngine(settings, build=lambda p: build_provider(p, nobody)) as engine:
        log.drain(engine)
        await told(engine)
        log.drain(engine)
        yield engine, log, settings


async def saved(folder: Path, *, texts: bool = False, frames: int = 3) -> Saved:
    """A bundle of the incident, from a recorder that took a few frames."""
    async with incident(folder) as (engine, log, settings):
        recorder = Recorder(every_s=1.0)
        for second in range(frames - 1):
            recorder.record(engine.snapshot(QUERY), float(second))
        wanted = Wanted(minutes=15, texts=texts, by="op1", name="prod-eu")
        return await save_bundle(
            engine, recorder, log.events(), shown(settings), wanted, lambda _: None
        )


def parts_of(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as packed:
        return {name: packed.read(name).decode() for name in packed.namelist()}
