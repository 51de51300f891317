"""The edge of `injection:*`: what these events may carry.

Shapes only, as in `payloads`, whose rules hold here too. What `injection_config` and
`circuit_breaker_config` may hold is there, since requests carry them as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AliasChoices, Field, field_validator, model_validator

from ksi_tui.engine.injection.policy import MAX_CONTENT_CHARS, InjectMode
from ksi_tui.engine.payloads import (
    BreakerConfig,
    Id,
    Injecting,
    InjectionConfig,
    OneSession,
    Payload,
)

MAX_BATCH = 1_000
"""How many injections one `injection:batch` may hold."""

_CONFIG_NAMES = AliasChoices("injection_config", "injection_metadata")


class Inject(InjectionConfig):
    """Data of `injection:inject`: a text given by hand. Without a target it is `session_id`'s."""

    session_id: Id = Field(validation_alias=AliasChoices("session_id", "conversation_id"))
    content: Annotated[str, Field(min_length=1, max_length=MAX_CONTENT_CHARS)]
    model: Id | None = None

    @model_validator(mode="after")
    def _meant(self) -> Self:
        if not self.enabled:
            raise ValueError("enabled: false injects nothing; leave it out")
        return self


class InjectionBatch(Payload):
    """Data of `injection:batch`."""

    injections: Annotated[list[Any], Field(min_length=1, max_length=MAX_BATCH)]


class QueueInjection(Injecting):
    """Data of `injection:queue`: what shall happen when the request named completes."""

    request_id: Id
    injection_config: InjectionConfig = Field(validation_alias=_CONFIG_NAMES)
    circuit_breaker_config: BreakerConfig | None = None


class ExecuteInjection(Payload):
    """Data of `injection:execute`: an injection that waits, or the terms queued for a request."""

    injection_id: Id | None = None
    request_id: Id | None = None
    model: Id | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.injection_id is None) == (self.request_id is None):
            raise ValueError(
                "give exactly one of injection_id (one that waits) and request_id (whose "
                "injection was queued)"
            )
        if self.model is not None and self.request_id is not None:
            raise ValueError("model goes with injection_id; a request's own model is kept")
        return self


class ProcessResult(Injecting):
    """Data of `injection:process_result`: a result with what shall happen with it.

    `result` is the text, or an envelope with the provider's response in it. `session_id` is
    needed where the engine does not know the request and its own session is a target.
    """

    request_id: Id
    result: str
    session_id: Id | None = Field(
        default=None, validation_alias=AliasChoices("session_id", "conversation_id")
    )
    model: Id | None = None
    injection_config: InjectionConfig | None = Field(default=None, validation_alias=_CONFIG_NAMES)
    circuit_breaker_config: BreakerConfig | None = None

    @field_validator("result", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        return _text_of(value) if isinstance(value, Mapping) else value


class ListInjections(Payload):
    """Data of `injection:list`."""

    session_id: Id | None = Field(
        default=None, validation_alias=AliasChoices("session_id", "conversation_id")
    )


class ClearInjections(OneSession):
    """Data of `injection:clear`; without `mode` both kinds are meant."""

    mode: InjectMode | None = None


def _text_of(result: Mapping[str, Any]) -> str:
    """Return the text in a standard envelope or a chat.completion; raises ValueError."""
    response = result.get("response", result)
    try:
        content = response["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        content = None
    if not isinstance(content, str):
        raise ValueError(  # noqa: TRY004 - pydantic reports ValueError only
            "no text found; give the text itself, or {response: {choices: [{message: {content}}]}}"
        )
    return content
