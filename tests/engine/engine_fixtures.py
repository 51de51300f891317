"""A whole engine on a real database, with providers that a test scripts and holds.

Nothing in here waits for time to pass: a call answers when the test lets it, the clock
stands still where a test gives a `HandClock`, and every wait is for a condition, bounded.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ksi_tui.config import Config, ProviderSettings
from ksi_tui.engine import CompletionEngine
from ksi_tui.engine.assembly import Parts
from ksi_tui.engine.clock import Clock
from ksi_tui.engine.core import Core
from ksi_tui.engine.errors import ErrorKind, ProviderFault
from ksi_tui.engine.events import Event
from ksi_tui.engine.models import State, Usage
from ksi_tui.engine.providers.base import CallObserver, CallResult, CallSpec, Closed
from ksi_tui.engine.ticket import Ticket

BOUND_S = 20.0
"""How long any wait of a test may take before it is a failure."""
T0 = 1_800_000_000.0
FINAL = ("completion:result", "completion:error", "completion:cancelled")
USED = Usage(input=7, output=3)


async def until(holds: Callable[[], object], what: str = "") -> None:
    """Wait until a condition holds; AssertionError when it does not within the bound."""
    try:
        async with asyncio.timeout(BOUND_S):
            while not holds():  # noqa: ASYNC110 - any condition, not an event of ours
                await asyncio.sleep(0.001)
    except TimeoutError:
        raise AssertionError(f"never came true: {what or holds}") from None


async def until_turn(holds: Callable[[], object], what: str = "") -> None:
    """As `until`, but look in each turn of the loop: what is awaited is soon over."""
    try:
        async with asyncio.timeout(BOUND_S):
            while not holds():  # noqa: ASYNC110 - any condition, not an event of ours
                await asyncio.sleep(0)
    except TimeoutError:
        raise AssertionError(f"never came true: {what or holds}") from None


class HandClock:
    """A clock that stands still until it is moved by hand."""

    def __init__(self, now: float = T0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Upstream:
    """One call as a script sees it."""

    def __init__(self, spec: CallSpec, observer: CallObserver) -> None:
        self.spec = spec
        self.observer = observer
        self.go = asyncio.Event()
        self.cancelled = False
        self.over = False
        self.fault: ProviderFault | None = None
        self.answer: str | None = None

    @property
    def prompt(self) -> str:
        """The last message's text."""
        return str(self.spec.messages[-1]["content"])

    def say(self, text: str, tokens: int = 1) -> None:
        """Let a piece of the answer arrive."""
        self.observer.on_text(text, tokens)

    def close(self, *, after_ms: float = 1.0, confirmed: bool = True) -> None:
        """Tell that the upstream of this cancelled call is closed."""
        self.observer.on_closed(Closed(after_ms=after_ms, confirmed=confirmed))

    def fail(self, kind: ErrorKind, message: str = "scripted", **details: Any) -> None:
        """Let a held call fail."""
        self.fault = ProviderFault(kind, message, **details)
        self.go.set()


Script = Callable[[Upstream], Awaitable[str]]


async def answers(up: Upstream) -> str:
    """Answer at once."""
    return f"re: {up.prompt}"


async def held(up: Upstream) -> str:
    """Answer when the test sets `up.go`, with `up.answer` or as it failed it."""
    await up.go.wait()
    if up.fault is not None:
        raise up.fault
    return up.answer or f"re: {up.prompt}"


def fails(kind: ErrorKind, message: str = "scripted", **details: Any) -> Script:
    """Return a script that always fails."""

    async def script(_: Upstream) -> str:
        raise ProviderFault(kind, message, **details)

    return script


def in_turn(*scripts: Script) -> Script:
    """Return a script that plays one script a call; the last goes on for ever."""
    rest = list(scripts)

    async def script(up: Upstream) -> str:
        play = rest.pop(0) if len(rest) > 1 else rest[0]
        return await play(up)

    return script


class ScriptedProvider:
    """A provider whose every call is played by `script`.

    `closes_at_once` False: the close of a cancelled call is told by the test (`Upstream.close`).
    """

    def __init__(self, name: str, script: Script) -> None:
        self.name = name
        self.script = script
        self.calls: list[Upstream] = []
        self.open = 0
        self.most_open = 0
        self.closes_at_once = True
        self.closed = False

    async def call(self, spec: CallSpec, observer: CallObserver) -> CallResult:
        up = Upstream(spec, observer)
        self.calls.append(up)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            text = await self.script(up)
        except asyncio.CancelledError:
            up.cancelled = True
            if self.closes_at_once:
                up.close()
            raise
        finally:
            self.open -= 1
            up.over = True
        choice = {"index": 0, "message": {"role": "assistant", "content": text}}
        response = {"object": "chat.completion", "model": spec.model, "choices": [choice]}
        return CallResult(response=response, text=text, usage=USED, raw_usage={"t": 10})

    async def aclose(self) -> None:
        self.closed = True

    @property
    def prompts(self) -> list[str]:
        """The prompts of its calls in their order."""
        return [up.prompt for up in self.calls]

    def of(self, prompt: str) -> Upstream:
        """Return the newest call with this prompt."""
        return next(up for up in reversed(self.calls) if up.prompt == prompt)


def provider(name: str, *models: str, **settings: Any) -> dict[str, Any]:
    """Return a provider's settings as the file would hold them."""
    return {
        "name": name,
        "kind": "simulated",
        "models": models or ("m*",),
        "model": "{model}",
        **settings,
    }


def config(
    folder: Path,
    *,
    providers: Sequence[Mapping[str, Any]] = (),
    engine: Mapping[str, Any] | None = None,
    retry: Mapping[str, Any] | None = None,
    **sections: Any,
) -> Config:
    """Return settings for a database in `folder`; one provider `p` that serves m* by default."""
    return Config.model_validate(
        {
            "engine": {
                "database": str(folder / "ksi.db"),
                "responses_dir": str(folder / "responses"),
                "default_model": "m1",
                "shutdown_grace_s": 0,
                **(engine or {}),
            },
            "retry": {"initial_delay_s": 0, "jitter": 0, **(retry or {})},
            "providers": list(providers) or [provider("p")],
            **sections,
        }
    )


def left_over(parts: Parts) -> dict[str, int]:
    """Return what an engine still holds of requests, by kind; {} when nothing leaked."""
    core = parts.core
    held = {
        "tickets": len(core.tickets),
        "finishing": len(core.finishing),
        "sessions with requests": core.queue.session_count,
        "waiting": core.queue.waiting_count,
        "running": core.queue.running_count,
        "begun": len(core.queue.begun_heads(100)),
        "slots": sum(abs(entry.in_flight) for entry in core.providers.entries()),
        "closing": len(parts.walker.books.closing),
        "tasks": len(parts.dispatcher._tasks),
        "entering": len(core.entering),
        "unfinished": sum(n for state, n in core.counts.items() if not state.final),
        **{kind: core.alarms.count(kind) for kind in ("backoff", "deadline")},
    }
    return {kind: count for kind, count in held.items() if count}


class Rig:
    """An engine under test, its scripted providers, and everything it has emitted."""

    def __init__(self, settings: Config, clock: Clock | None, *, resume: bool = True) -> None:
        self.clock = clock
        self.providers = {
            each.name: ScriptedProvider(each.name, answers) for each in settings.providers
        }
        self.seen: list[Event] = []
        self.engine = CompletionEngine(
            settings,
            resume=resume,
            clock=clock,
            rng=random.Random(1),
            build=self._build,
        )

    def _build(self, settings: ProviderSettings) -> ScriptedProvider:
        new = ScriptedProvider(settings.name, answers)
        return self.providers.setdefault(settings.name, new)

    @property
    def core(self) -> Core:
        """The engine's state, for what no event tells."""
        parts = self.engine._parts
        assert parts is not None
        return parts.core

    @property
    def p(self) -> ScriptedProvider:
        """The provider `p`."""
        return self.providers["p"]

    async def emit(self, name: str, **data: Any) -> dict[str, Any]:
        """Emit and return the reply."""
        return await self.engine.emit(name, data)

    async def submit(self, prompt: str = "hello", **data: Any) -> str:
        """Submit a request that must be accepted; returns its id."""
        reply = await self.emit("completion:async", prompt=prompt, **data)
        assert "code" not in reply, reply
        return str(reply["request_id"])

    async def status(self, request_id: str) -> dict[str, Any]:
        """Return everything about a request, once all that was handed over is on disk."""
        await self.core.store.write()
        reply = await self.emit("completion:request_status", request_id=request_id)
        assert "code" not in reply, reply
        return reply

    async def why(self, request_id: str) -> str:
        """Return a request's why."""
        return str((await self.status(request_id))["why"])

    def ticket(self, request_id: str) -> Ticket:
        """Return an unfinished request's ticket."""
        return self.core.tickets[request_id]

    async def calls(self, count: int, name: str = "p") -> list[Upstream]:
        """Wait until a provider was called so many times."""
        called = self.providers[name].calls
        await until(lambda: len(called) >= count, f"{count} calls of {name}, had {len(called)}")
        return called

    async def state(self, request_id: str, state: State) -> None:
        """Wait until an unfinished request is in this state."""
        await until(
            lambda: (t := self.core.tickets.get(request_id)) is not None and t.state is state,
            f"{request_id} is {state}",
        )

    def events(self, name: str, request_id: str | None = None) -> list[dict[str, Any]]:
        """Return the data of what was emitted so far under a name."""
        return [
            dict(event.data)
            for event in self.seen
            if event.name == name and request_id in (None, event.data.get("request_id"))
        ]

    async def event(self, name: str, request_id: str | None = None) -> dict[str, Any]:
        """Wait for an event and return its data."""
        await until(lambda: self.events(name, request_id), f"{name} of {request_id}")
        return self.events(name, request_id)[-1]

    async def ended(self, *request_ids: str) -> None:
        """Wait until these requests have told that they ended."""
        left = set(request_ids)

        def all_told() -> bool:
            told = {e.data["request_id"] for e in self.seen if e.name in FINAL}
            return left <= told

        await until(all_told, f"all of {sorted(left)} end")

    def advance(self, seconds: float) -> None:
        """Move the hand clock and let the engine look at it."""
        assert isinstance(self.clock, HandClock)
        self.clock.now += seconds
        self.core.poke()

    async def just_dispatched(self, **data: Any) -> str:
        """Return a request whose run has been made but has not taken its first step."""
        core, parts = self.core, self.engine._parts
        assert parts is not None
        await self.emit("conversation:acquire_lock", session_id="held", agent_id="nobody")
        request_id = await self.submit(session_id="held", **data)
        core.locks.release("held")
        core.queue.refresh("held", core.clock())
        parts.dispatcher._pump()
        assert self.ticket(request_id).run is not None
        return request_id

    def left_over(self) -> dict[str, int]:
        """Return what the engine still holds of requests, by kind; {} when nothing leaked."""
        assert self.engine._parts is not None
        return left_over(self.engine._parts)

    async def settled(self) -> None:
        """Wait until nothing of any request is left, and all of it is on disk."""
        try:
            await until(lambda: not self.left_over())
        except AssertionError:
            raise AssertionError(f"left over: {self.left_over()}") from None
        await self.core.store.write()


@asynccontextmanager
async def running(
    settings: Config,
    *,
    clock: Clock | None = None,
    resume: bool = True,
    scripts: Mapping[str, Script] | None = None,
) -> AsyncIterator[Rig]:
    """Run an engine with scripted providers; what it emits is gathered on the rig."""
    rig = Rig(settings, clock, resume=resume)
    for name, script in (scripts or {}).items():
        rig.providers[name].script = script
    async with gathering(rig):
        yield rig


@asynccontextmanager
async def gathering(rig: Rig) -> AsyncIterator[None]:
    """Run the engine of a rig; what it emits is gathered there."""
    subscription = rig.engine.subscribe("*")

    async def gather() -> None:
        async for event in subscription:
            rig.seen.append(event)

    task = asyncio.create_task(gather(), name="gather events")
    try:
        async with rig.engine:
            yield
    finally:
        subscription.end()
        await task
