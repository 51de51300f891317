"""A provider that litellm reaches: this process's half, which speaks to a worker by messages.

The package litellm must not be imported here: only a worker's process pays for it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ksi_tui.config import ProviderSettings
from ksi_tui.engine.errors import ErrorKind, ProviderFault
from ksi_tui.engine.models import Message, Usage
from ksi_tui.engine.providers import usage as usages
from ksi_tui.engine.providers.base import CallObserver, CallResult, CallSpec, Closed, OnDeltas
from ksi_tui.engine.providers.framing import Kind
from ksi_tui.engine.providers.pool import WorkerPool, WorkerView
from ksi_tui.provider_params import ENV_REFERENCE, references
from ksi_tui.redaction import looks_secret

CONFIRM_S = 5.0
"""How long a cancelled call's close may stay unconfirmed before it is reported as that."""


def missing_keys(settings: ProviderSettings, environ: Mapping[str, str]) -> list[str]:
    """Return the variables that the provider names, for its key or else, and that are not set."""
    return [name for name in settings.variables if not environ.get(name)]


def resolved(value: Any, environ: Mapping[str, str]) -> Any:
    """Return plain data with the values of the variables that `os.environ/NAME` in it names."""
    if isinstance(value, Mapping):
        return {key: resolved(item, environ) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [resolved(item, environ) for item in value]
    if isinstance(value, str) and value.startswith(ENV_REFERENCE):
        return environ.get(value.removeprefix(ENV_REFERENCE), "")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What a call would send: messages kept of its history, tokens in all, the model's window."""

    history: int
    tokens: int
    window: int | None


class LitellmProvider:
    """Sends each call to a worker of the pool, which outlives this provider."""

    def __init__(
        self,
        settings: ProviderSettings,
        pool: WorkerPool,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.name = settings.name
        self._settings = settings
        self._pool = pool
        self._environ = environ
        self._open: dict[CallObserver, _Call] = {}
        self._refers = bool(references(settings.params))
        self._hidden = _secret_references(settings.params)

    async def call(self, spec: CallSpec, observer: CallObserver) -> CallResult:
        """Perform one call in a worker; waits for the first worker when none is ready yet."""
        if missing := missing_keys(self._settings, self._environ):
            key = missing[0] == self._settings.api_key_env
            role = "which holds the key of" if key else "which is needed by"
            raise ProviderFault(
                ErrorKind.AUTH_ERROR,
                f"the environment variable {missing[0]}, {role} provider {self.name}, is not set",
            )
        call = _Call(observer, self._open, spec.on_deltas)
        call.call_id = self._pool.open(self._body(spec), call)
        self._open[observer] = call
        try:
            return await call.result
        except asyncio.CancelledError:
            call.cancel(self._pool)
            raise

    async def aclose(self) -> None:
        """Interrupt what still runs; wait until every close is confirmed, or known not to be."""
        calls = list(self._open.values())
        closing = [call.closed for call in calls if call.cancelled]
        for call in [call for call in calls if not call.cancelled]:
            self._pool.cancel(call.call_id)
            call.end(ProviderFault(ErrorKind.DAEMON_RESTART, "the provider was closed"))
        if closing:
            await asyncio.wait(closing)

    def close_ahead(self, observer: CallObserver) -> None:
        """Have an open call's upstream closed, whose task is cancelled next."""
        if (call := self._open.get(observer)) is not None:
            call.cancel(self._pool)

    def worker_of(self, observer: CallObserver) -> WorkerView | None:
        """Return the worker of the open call that this observer listens to."""
        found = self._open.get(observer)
        return None if found is None else self._pool.holder(found.call_id)

    async def count_tokens(self, model: str, messages: Sequence[Message]) -> int:
        """Return how many tokens the messages hold for a model, asked of a worker."""
        body = {"kind": Kind.COUNT, "model": model, "messages": [dict(m) for m in messages]}
        return int(await self._pool.ask(body))

    async def window(self, model: str) -> int | None:
        """Return how many tokens may be sent to a model, None when nobody knows."""
        found = await self._pool.ask({"kind": Kind.WINDOW, "model": model})
        return None if found is None else int(found)

    async def fit(
        self,
        model: str,
        history: Sequence[Message],
        messages: Sequence[Message],
        params: Mapping[str, Any],
    ) -> Fit:
        """Return what a call would send of a history, counted by a worker; sends nothing."""
        own = self._params(params)
        found = await self._pool.ask(
            {
                "kind": Kind.FIT,
                "model": str(own.get("base_model") or model),
                "history": list(history),
                "messages": list(messages),
                "reply_tokens": own.get("max_completion_tokens") or own.get("max_tokens") or 0,
                "tools": own.get("tools"),
            }
        )
        return Fit(**found)

    async def known_models(self) -> Sequence[Mapping[str, Any]]:
        """Return what a worker knows of this provider's models, as `KnownModels.matching`."""
        settings = self._settings
        template = str(settings.params.get("base_model") or settings.model)
        body = {"kind": Kind.MODELS, "model": template, "patterns": list(settings.models)}
        found: list[Mapping[str, Any]] = await self._pool.ask(body)
        return found

    def _body(self, spec: CallSpec) -> dict[str, Any]:
        return {
            "kind": Kind.CALL,
            "model": spec.model,
            "messages": list(spec.messages),
            "history": list(spec.history),
            "stream": spec.stream,
            "params": self._params(spec.params),
            "api_base": resolved(self._settings.api_base, self._environ),
            "key_env": self._settings.api_key_env,
            "hidden_envs": self._hidden,
            "deltas": spec.on_deltas is not None,
        }

    def _params(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return the provider's parameters under the call's own.

        What `extra_body` holds for other providers (the simulated one, one with MCP) is
        not sent to a server that would refuse it.
        """
        own: Mapping[str, Any] = self._settings.params
        if self._refers:  # never in what was asked: a caller has no say over the environment
            own = resolved(own, self._environ)
        params = {**own, **asked}
        ours, theirs = own.get("extra_body"), asked.get("extra_body")
        if ours is None and theirs is None:
            return params
        body = {**(ours or {}), **(theirs or {})}
        body.pop("sim", None)
        if not self._settings.supports_mcp:
            body.pop("ksi", None)
        params["extra_body"] = body
        if not body:
            del params["extra_body"]
        return params


def _secret_references(value: Any, name: str = "") -> list[str]:
    """Return the variables that are named for parameters which hold secrets."""
    if isinstance(value, Mapping):
        return [n for key, item in value.items() for n in _secret_references(item, str(key))]
    return references(value) if looks_secret(name) else []


class _Call:
    """One call's sink: turns what the worker says into a result, a fault, or a confirmed close."""

    def __init__(
        self,
        observer: CallObserver,
        registry: dict[CallObserver, _Call],
        on_deltas: OnDeltas | None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.result: asyncio.Future[CallResult] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.call_id = 0
        self._loop = loop
        self.observer = observer
        self._on_deltas = on_deltas
        self._registry = registry
        self._cancelled_at: float | None = None
        self._last: Mapping[str, Any] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self._cancelled_at is not None

    def cancel(self, pool: WorkerPool) -> None:
        """Take note that the caller has gone, and have the upstream closed; once is enough."""
        if self._cancelled_at is not None:
            return
        self._cancelled_at = time.monotonic()
        if self._last is not None or not pool.cancel(self.call_id):
            # It had ended in this very moment, or no worker had heard of it.
            self._close(self._cancelled_at, confirmed=True, spent=self._last or {})
        else:
            self._timer = self._loop.call_later(CONFIRM_S, self._unconfirmed)

    def on_message(self, message: Mapping[str, Any]) -> None:
        """Take what the worker says."""
        kind = message["kind"]
        if self._cancelled_at is not None:
            # Also a call that ended just before the cancel reached it is closed now.
            if kind != Kind.TEXT:
                at = message.get("closed_at") or time.monotonic()
                self._close(at, confirmed=True, spent=message)
        elif kind == Kind.TEXT:
            self._text(message)
        else:
            self._last = message
            self.end(_result(message) if kind == Kind.ANSWER else _fault(message))

    def _text(self, message: Mapping[str, Any]) -> None:
        deltas = message.get("deltas")
        if deltas is None or self._on_deltas is None:
            self.observer.on_text(message["text"], message["tokens"])
        else:
            self._on_deltas(message["text"], message["tokens"], deltas)

    def on_lost(self, reason: str) -> None:
        """Take note that the worker is gone, and with it its connections."""
        if self._cancelled_at is not None:
            self._close(time.monotonic(), confirmed=True, spent={})
        else:
            self._last = {}
            said = f"the provider worker was lost: {reason}"
            self.end(ProviderFault(ErrorKind.WORKER_LOST, said))

    def end(self, end: CallResult | ProviderFault) -> None:
        """Let the caller have the end; a later one changes nothing."""
        self._leave()
        if self.result.done():
            return
        if isinstance(end, ProviderFault):
            self.result.set_exception(end)
        else:
            self.result.set_result(end)

    def _leave(self) -> None:
        if self._registry.get(self.observer) is self:
            del self._registry[self.observer]

    def _unconfirmed(self) -> None:
        self._close(time.monotonic(), confirmed=False, spent={})

    def _close(self, at: float, *, confirmed: bool, spent: Mapping[str, Any]) -> None:
        """Tell the observer, once: the worker's word, its end or the time, what comes first."""
        if self.closed.done():
            return
        if self._timer is not None:
            self._timer.cancel()
        self._leave()
        self.closed.set_result(None)
        self.observer.on_closed(
            Closed(
                after_ms=max(0.0, (at - (self._cancelled_at or at)) * 1000),
                confirmed=confirmed,
                usage=usages.from_json(spent.get("usage")),
                cost=spent.get("cost"),
                price_version=spent.get("price_version"),
                tool_schema_tokens=spent.get("tool_schema_tokens"),
            )
        )


def _result(message: Mapping[str, Any]) -> CallResult:
    return CallResult(
        response=message["response"],
        text=message["text"],
        usage=Usage(**message["usage"]),
        raw_usage=message["raw_usage"],
        cost=message["cost"],
        price_version=message["price_version"],
        tool_schema_tokens=message["tool_schema_tokens"],
        cache_savings=message["cache_savings"],
    )


def _fault(message: Mapping[str, Any]) -> ProviderFault:
    return ProviderFault(
        ErrorKind(message["error"]),
        message["message"],
        status=message.get("status"),
        retry_after_s=message.get("retry_after_s"),
        usage=usages.from_json(message.get("usage")),
        cost=message.get("cost"),
        price_version=message.get("price_version"),
        tool_schema_tokens=message.get("tool_schema_tokens"),
    )
