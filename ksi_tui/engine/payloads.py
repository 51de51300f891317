"""The edge: what events may carry, validated and turned into the engine's own values.

Unknown keys are refused by name, spellings of the older service are understood.
Nothing here decides anything: defaults come from the settings, rules from the managers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ksi_tui.engine.call_params import check_names, check_no_keys
from ksi_tui.engine.errors import InvalidRequest
from ksi_tui.engine.injection.policy import (
    MAX_TARGETS,
    ORIGINATING,
    ChainBounds,
    InjectionTerms,
    InjectMode,
    Position,
)
from ksi_tui.engine.models import LockTerms, OnConflict, Priority, RequestSpec
from ksi_tui.engine.nesting import MOST_DEEP, too_deep
from ksi_tui.engine.payload_errors import explained, shown

MAX_ID_CHARS = 200

_ACTING = r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
"""Control characters and marks of direction: they act where an id is only shown."""
Id = Annotated[
    str,
    Field(min_length=1, max_length=MAX_ID_CHARS, pattern=rf"^[^{_ACTING}]+$", strict=True),
]
Seconds = Annotated[float, Field(gt=0, le=31_536_000, allow_inf_nan=False, strict=True)]
Flag = Annotated[bool, Field(strict=True)]
Note = Annotated[str, Field(max_length=2_000)]
CallerPriority = Literal["critical", "high", "normal", "low", "background"]


def plain_json(value: Any) -> Any:
    """Return a value that JSON can hold, and not too deep; raises ValueError for any other."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"not plain JSON: {error}") from None
    if too_deep(value):
        raise ValueError(f"nested too deep: {MOST_DEEP} levels at most")
    return value


_WRAPPED = {"injection_config", "circuit_breaker_config"}


class Payload(BaseModel):
    """Base of all event data: immutable, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Nothing(Payload):
    """Data of events that take none."""


class ConversationLock(Payload):
    """`conversation_lock` of a request. `timeout` is the older spelling of `timeout_s`."""

    enabled: Flag = True
    timeout_s: Seconds | None = Field(
        default=None, validation_alias=AliasChoices("timeout_s", "timeout")
    )
    on_conflict: OnConflict = OnConflict.WAIT


class InjectionConfig(Payload):
    """`injection_config` of a request, once `injection_metadata`: where its result goes."""

    enabled: Flag = True
    mode: InjectMode = InjectMode.NEXT
    position: Position = Position.BEFORE_PROMPT
    target_sessions: Annotated[list[Id], Field(min_length=1, max_length=MAX_TARGETS)] = [
        ORIGINATING
    ]
    trigger_type: Annotated[Id, Field(max_length=100)] | None = None
    follow_up_guidance: Annotated[str, Field(min_length=1, max_length=10_000)] | None = None
    ttl_s: Seconds | None = None

    @field_validator("target_sessions", mode="before")
    @classmethod
    def _own_alone(cls, value: Any) -> Any:
        return [ORIGINATING] if value == ORIGINATING else value

    def terms(self) -> InjectionTerms | None:
        """Return them as the engine keeps them; None when they are not enabled."""
        if not self.enabled:
            return None
        return InjectionTerms(
            mode=self.mode,
            position=self.position,
            targets=tuple(self.target_sessions),
            trigger_type=self.trigger_type,
            follow_up_guidance=self.follow_up_guidance,
            ttl_s=self.ttl_s,
        )


class BreakerConfig(Payload):
    """`circuit_breaker_config` of a request: how far a chain of injections may go."""

    max_depth: Annotated[int, Field(ge=1, le=1_000, strict=True)] = 5
    token_budget: Annotated[int, Field(ge=1, lt=2**53, strict=True)] = 50_000
    time_window_s: Seconds = 3600.0
    parent_request_id: Id | None = None

    def bounds(self) -> ChainBounds:
        """Return them as the engine keeps them."""
        return ChainBounds(**self.model_dump())


class Injecting(Payload):
    """Base of data with `injection_config`; the older service wrapped it as a result's metadata."""

    @model_validator(mode="before")
    @classmethod
    def _unwrapped(cls, data: Any) -> Any:
        wrapped = data.get("injection_metadata") if isinstance(data, Mapping) else None
        if isinstance(wrapped, Mapping) and not wrapped.keys().isdisjoint(_WRAPPED):
            if twice := _WRAPPED & wrapped.keys() & data.keys():
                raise ValueError(f"{min(twice)} is given twice: once in injection_metadata")
            rest = {name: value for name, value in data.items() if name != "injection_metadata"}
            return {**rest, **wrapped}
        return data


class Completion(Injecting):
    """Data of `completion:async` and `completion:inject`.

    Beside `agent_id` the older `originator_id` is the client's, alone it is both.
    """

    prompt: Annotated[str, Field(min_length=1)] | None = None
    system: Annotated[str, Field(min_length=1)] | None = None
    messages: Annotated[list[dict[str, Any]], Field(min_length=1)] | None = None
    model: Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)] | None = None
    session_id: Id | None = Field(
        default=None, validation_alias=AliasChoices("session_id", "conversation_id")
    )
    agent_id: Id | None = Field(
        default=None, validation_alias=AliasChoices("agent_id", "originator_id")
    )
    request_id: Id | None = None
    client_id: Id | None = None
    priority: CallerPriority = "normal"
    stream: Flag | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False, strict=True)] | None = None
    max_tokens: Annotated[int, Field(ge=1, strict=True)] | None = None
    timeout_s: Seconds | None = None
    max_attempts: Annotated[int, Field(ge=1, le=100, strict=True)] | None = None
    history: Literal["session", "none"] = "session"
    conversation_lock: ConversationLock | None = None
    injection_config: InjectionConfig | None = Field(
        default=None, validation_alias=AliasChoices("injection_config", "injection_metadata")
    )
    circuit_breaker_config: BreakerConfig | None = None
    tools: list[dict[str, Any]] | None = None
    params: dict[str, Any] | None = None
    extra_body: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _older_names(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        if "originator_id" in data:
            data = {"client_id": data["originator_id"], **data}
            if data.get("agent_id") is not None:
                del data["originator_id"]
        session = data.get("conversation_id")
        if session is not None and session == data.get("session_id"):
            data = {name: value for name, value in data.items() if name != "conversation_id"}
        return data

    @field_validator("priority", "history", mode="before")
    @classmethod
    def _unset(cls, value: Any, info: ValidationInfo) -> Any:
        return cls.model_fields[str(info.field_name)].default if value is None else value

    @field_validator("messages")
    @classmethod
    def _messages_have_roles(
        cls, messages: list[dict[str, Any]] | None
    ) -> list[dict[str, Any]] | None:
        for index, message in enumerate(messages or ()):
            if not isinstance(message.get("role"), str):
                raise ValueError(  # noqa: TRY004 - pydantic reports ValueError only
                    f"message {index} has no role; allowed: system, user, assistant, tool …"
                )
        return messages

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give exactly one of prompt and messages")
        if self.system is not None and self.messages is not None:
            raise ValueError("system goes with a prompt; in messages it is the first of them")
        lock = self.conversation_lock
        if lock is not None and lock.enabled and self.agent_id is None:
            raise ValueError("conversation_lock needs agent_id: the agent that will hold the lock")
        return self

    @field_validator("extra_body")
    @classmethod
    def _no_keys(cls, body: dict[str, Any] | None) -> dict[str, Any] | None:
        check_no_keys(body)
        return body

    @field_validator("params")
    @classmethod
    def _known_names(cls, params: dict[str, Any] | None) -> dict[str, Any] | None:
        check_names(params)
        return params

    @field_validator("messages", "tools", "params", "extra_body", "metadata")
    @classmethod
    def _plain_json(cls, value: Any) -> Any:
        return plain_json(value)

    def parameters(self) -> dict[str, Any]:
        """Return the call parameters under their OpenAI names, without those that are unset."""
        given = {
            **(self.params or {}),
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "tools": self.tools,
            "extra_body": self.extra_body,
        }
        return {name: value for name, value in given.items() if value is not None}

    def spec(
        self,
        *,
        request_id: str,
        session_id: str,
        model: str,
        timeout_s: float,
        max_attempts: int,
        lock_timeout_s: float,
        inject: bool,
    ) -> RequestSpec:
        """Return the request as the engine keeps it, defaults filled in."""
        lock = self.conversation_lock
        terms = None
        if lock is not None and lock.enabled:
            terms = LockTerms(
                timeout_s=lock.timeout_s or lock_timeout_s, on_conflict=lock.on_conflict
            )
        injection, breaker = self.injection_config, self.circuit_breaker_config
        return RequestSpec(
            request_id=request_id,
            session_id=session_id,
            model=model,
            prompt=self.prompt,
            system=self.system,
            messages=tuple(self.messages) if self.messages is not None else None,
            agent_id=self.agent_id,
            client_id=self.client_id,
            priority=Priority.INJECT if inject else Priority(self.priority),
            stream=self.stream,
            history=self.history == "session",
            timeout_s=self.timeout_s or timeout_s,
            max_attempts=self.max_attempts or max_attempts,
            lock=terms,
            params=self.parameters(),
            metadata=self.metadata or {},
            injection=injection.terms() if injection is not None else None,
            chain=breaker.bounds() if breaker is not None else None,
        )

    @property
    def parent_request_id(self) -> str | None:
        """The request that this one follows from in a chain of injections."""
        breaker = self.circuit_breaker_config
        return breaker.parent_request_id if breaker is not None else None


class Preview(Completion):
    """Data of `completion:preview`: a request whose text may still be empty."""

    prompt: str | None = None
    system: str | None = None


class Batch(Payload):
    """Data of `completion:batch`: requests that go to disk together before any of them runs."""

    requests: Annotated[list[Any], Field(min_length=1, max_length=100_000)]


class _OneOrSession(Payload):
    request_id: Id | None = None
    request_ids: Annotated[list[Id], Field(min_length=1, max_length=10_000)] | None = None
    session_id: Id | None = None
    reason: Note | None = None
    by: Id | None = None

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        given = (self.request_id, self.request_ids, self.session_id)
        if sum(each is not None for each in given) != 1:
            raise ValueError("give exactly one of request_id, request_ids and session_id")
        return self


class Cancel(_OneOrSession):
    """Data of `completion:cancel`. `receipt`: the caller's name for it, kept with the action."""

    receipt: Annotated[Id, Field(max_length=60)] | None = None


class Retry(_OneOrSession):
    """Data of `completion:retry`."""

    avoid: list[Id] | None = None
    model: Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)] | None = None
    in_place: Flag = False


class OneRequest(Payload):
    """Data of events about one request."""

    request_id: Id


class RequestStatus(OneRequest):
    """Data of `completion:request_status`. `sent`: also the messages as they went out."""

    sent: Flag = False


class OneSession(Payload):
    """Data of events about one session."""

    session_id: Id = Field(validation_alias=AliasChoices("session_id", "conversation_id"))


class SessionStatus(OneSession):
    """Data of `completion:session_status`. `history`: also what goes along with a prompt now."""

    history: Flag = False


class MaybeProvider(Payload):
    """Data of `completion:provider_status`."""

    provider: Id | None = None


class Results(Payload):
    """Data of `completion:results`."""

    after: Annotated[int, Field(ge=0, lt=2**63)] = 0
    limit: Annotated[int, Field(ge=1, le=10_000)] = 500
    session_id: Id | None = None
    status: Literal["completed", "failed", "cancelled"] | None = None
    request_ids: Annotated[list[Id], Field(max_length=10_000)] | None = None


class TokenUsage(Payload):
    """Data of `completion:token_usage`."""

    agent_id: Id | None = None
    model: Id | None = None
    session_id: Id | None = None
    provider: Id | None = None
    hours: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    bucket_minutes: Annotated[int, Field(ge=1, le=44_640)] | None = None
    by: Literal["agent", "model", "provider", "session", "day", "hour", "minute"] | None = None
    limit: Annotated[int, Field(ge=1, le=1_000)] | None = None


class AcquireLock(OneSession):
    """Data of `conversation:acquire_lock`."""

    agent_id: Id = Field(validation_alias=AliasChoices("agent_id", "originator_id"))
    timeout_s: Seconds | None = Field(
        default=None, validation_alias=AliasChoices("timeout_s", "timeout")
    )


class ReleaseLock(OneSession):
    """Data of `conversation:release_lock`. `force` frees it from whoever holds it."""

    agent_id: Id | None = Field(
        default=None, validation_alias=AliasChoices("agent_id", "originator_id")
    )
    force: Flag = False
    reason: Note | None = None
    by: Id | None = None

    @model_validator(mode="after")
    def _who(self) -> Self:
        if self.agent_id is None and not self.force:
            raise ValueError("give agent_id (the holder), or force: true")
        return self


class Shutdown(Payload):
    """Data of `system:shutdown`."""

    grace_s: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] | None = None


PayloadT = TypeVar("PayloadT", bound=BaseModel)


def parse(model: type[PayloadT], data: Mapping[str, Any], event: str) -> PayloadT:
    """Return `data` as `model`, or raise InvalidRequest that says what would be right."""
    if not isinstance(data, Mapping):
        raise InvalidRequest(f"{event}: data is an object, found {shown(data)}")
    try:
        return model.model_validate(data)
    except RecursionError:  # an enum tells what it was given, however deep that is
        raise InvalidRequest(f"{event}: nested too deep: {MOST_DEEP} levels at most") from None
    except ValidationError as error:
        faults = error.errors(include_url=False)
        raise InvalidRequest(
            f"{event}: " + "; ".join(explained(fault, model) for fault in faults[:5])
        ) from None
