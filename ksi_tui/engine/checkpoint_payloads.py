"""The form of a checkpoint: what `checkpoint:collect` answers and `checkpoint:restore` takes.

Values become plain JSON here and come back validated; nothing is decided. An item without
`state`, as the older service wrote it, is a request that has just come.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, AwareDatetime, Field, model_validator

from ksi_tui.engine.call_params import CALL_PARAMS
from ksi_tui.engine.clock import iso
from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.injection.policy import InjectionTerms
from ksi_tui.engine.models import Lock, Pause, PauseScope, Priority, RequestSpec
from ksi_tui.engine.payloads import Completion, Id, Note, Payload, Seconds, plain_json
from ksi_tui.engine.store.records import Unfinished

NotNegative = Annotated[int, Field(ge=0, lt=2**53)]
NotNegativeSeconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Progress(Payload):
    """How far a request had come; `place` is its position in the order of arrival.

    `ahead`: it came by `completion:inject`; `injected`: an injection became this request.
    """

    status: Literal["queued", "processing", "retrying"] = "queued"
    ahead: bool = False
    injected: bool = False
    place: NotNegative = 0
    queued_at: AwareDatetime
    started_at: AwareDatetime | None = None
    retry_at: AwareDatetime | None = None
    attempts: NotNegative = 0
    walks: NotNegative = 0
    interruptions: NotNegative = 0
    spent_s: NotNegativeSeconds = 0.0
    model: str | None = None
    avoid: tuple[Id, ...] = ()
    error_kind: ErrorKind | None = None
    error_message: str | None = None


class Item(Payload):
    """One unfinished request: its `completion:async` data, and how far it had come."""

    request_id: Id
    data: Completion
    state: Progress | None = None


class SessionQueue(Payload):
    """A session's unfinished requests in their order; `is_active`: the first one ran."""

    items: tuple[Item, ...] = ()
    is_active: bool = False


class SavedSession(Payload):
    """A session with the transcript that continuity uses: messages, oldest first, in pairs."""

    created_at: AwareDatetime
    last_activity: AwareDatetime
    agents: tuple[Id, ...] = ()
    transcript: Annotated[tuple[dict[str, Any], ...], AfterValidator(plain_json)] = ()


class SavedLock(Payload):
    """A conversation lock; `request_id` is that of the request that took it itself."""

    holder: Id
    granted_at: AwareDatetime
    expires_at: AwareDatetime
    hold_s: Seconds
    extended: NotNegative = 0
    request_id: Id | None = None

    def lock(self, session_id: str) -> Lock:
        """Return it as the engine's value."""
        return Lock(
            session_id=session_id,
            holder=self.holder,
            granted_at=self.granted_at.timestamp(),
            expires_at=self.expires_at.timestamp(),
            hold_s=self.hold_s,
            extended=self.extended,
            request_id=self.request_id,
        )


class SavedPause(Payload):
    """A pause, as `queue:pause` answers it."""

    scope: PauseScope
    id: Id | None = None
    by: Id | None = None
    reason: Note | None = None
    since: AwareDatetime

    @model_validator(mode="after")
    def _what(self) -> Self:
        if (self.id is None) != (self.scope is PauseScope.ENGINE):
            raise ValueError("id names the session or provider that is paused; the engine has none")
        return self

    def pause(self) -> Pause:
        """Return it as the engine's value."""
        return Pause(
            scope=self.scope,
            id=self.id,
            by=self.by,
            reason=self.reason,
            since=self.since.timestamp(),
        )


class Checkpoint(Payload):
    """Data of `checkpoint:restore`. `components` tells how much each part holds, for a check."""

    session_queues: dict[Id, SessionQueue]
    active_completions: dict[str, Any] = Field(default_factory=dict)
    sessions: dict[Id, SavedSession] = Field(default_factory=dict)
    locks: dict[Id, SavedLock] = Field(default_factory=dict)
    pauses: tuple[SavedPause, ...] = ()
    injections: dict[str, Any] = Field(default_factory=dict)
    circuits: dict[str, dict[str, Any]] = Field(default_factory=dict)
    components: dict[str, Any] = Field(default_factory=dict)


def item_of(found: Unfinished, spec: RequestSpec) -> dict[str, Any]:
    """Return an unfinished request as an item."""
    return {
        "request_id": found.request_id,
        "data": data_of(spec),
        "state": {
            "status": str(found.state),
            "ahead": spec.priority is Priority.INJECT,
            "injected": spec.injected,
            "place": found.place,
            "queued_at": iso(found.queued_at),
            "started_at": iso(found.started_at),
            "retry_at": iso(found.retry_at),
            "attempts": found.attempts,
            "walks": found.walks,
            "interruptions": found.interruptions,
            "spent_s": round(found.spent_s, 3),
            "model": found.model,
            "avoid": list(found.avoid),
            "error_kind": str(found.error_kind) if found.error_kind else None,
            "error_message": found.error_message,
        },
    }


def data_of(spec: RequestSpec) -> dict[str, Any]:
    """Return the `completion:async` data that stands for the same request."""
    lock = spec.lock
    known = {
        "prompt": spec.prompt,
        "system": spec.system,
        "messages": [dict(m) for m in spec.messages] if spec.messages is not None else None,
        "agent_id": spec.agent_id,
        "client_id": spec.client_id,
        "stream": spec.stream,
        "conversation_lock": None
        if lock is None
        else {"timeout_s": lock.timeout_s, "on_conflict": str(lock.on_conflict)},
        "injection_config": None if spec.injection is None else _injection_config(spec.injection),
        "circuit_breaker_config": None if spec.chain is None else asdict(spec.chain),
        "metadata": dict(spec.metadata) or None,
        "params": {n: v for n, v in spec.params.items() if n in CALL_PARAMS} or None,
        **{n: v for n, v in spec.params.items() if n not in CALL_PARAMS},
    }
    return {
        "request_id": spec.request_id,
        "session_id": spec.session_id,
        "model": spec.model,
        "priority": str(Priority.NORMAL if spec.priority is Priority.INJECT else spec.priority),
        "timeout_s": spec.timeout_s,
        "max_attempts": spec.max_attempts,
        "history": "session" if spec.history else "none",
        **{name: value for name, value in known.items() if value is not None},
    }


def _injection_config(terms: InjectionTerms) -> dict[str, Any]:
    return {
        "mode": str(terms.mode),
        "position": str(terms.position),
        "target_sessions": list(terms.targets),
        "trigger_type": terms.trigger_type,
        "follow_up_guidance": terms.follow_up_guidance,
        "ttl_s": terms.ttl_s,
    }


def lock_json(lock: Lock) -> dict[str, Any]:
    """Return a lock as `SavedLock` takes it."""
    return {
        "holder": lock.holder,
        "granted_at": iso(lock.granted_at),
        "expires_at": iso(lock.expires_at),
        "hold_s": lock.hold_s,
        "extended": lock.extended,
        "request_id": lock.request_id,
    }
