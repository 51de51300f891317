"""Injection policy: how text from elsewhere joins a prompt, and how far a chain may go.

Pure leaf: values, the composition of a prompt and the bounds of a chain. No I/O, no clock,
no engine. Who waits where is in `pending`; what happens when is in `injector`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

ORIGINATING: Final = "originating"
"""The target that stands for the session of the request itself."""

MAX_CONTENT_CHARS: Final = 100_000
"""How long one injected text may be, its guidance included."""
MAX_PENDING_PER_SESSION: Final = 100
"""How many injections may wait for one session's next prompt."""
MAX_PENDING_CHARS: Final = 200_000
"""How many characters may wait for one session's next prompt, so that it can still be sent."""
MAX_PENDING: Final = 100_000
"""How many injections may wait in all sessions together; each costs a little memory."""
MAX_QUEUED_TERMS: Final = 10_000
"""For how many requests terms may be queued ahead (`injection:queue`)."""
MAX_TARGETS: Final = 20
"""Into how many sessions one result may go."""


class InjectMode(StrEnum):
    """How an injection reaches its session."""

    NEXT = "next"  # kept for the session's next prompt
    DIRECT = "direct"  # a completion of its own, queued now


class Position(StrEnum):
    """Where an injected text stands in the prompt."""

    BEFORE_PROMPT = "before_prompt"
    AFTER_PROMPT = "after_prompt"
    SYSTEM_REMINDER = "system_reminder"
    PREPEND = "prepend"
    POSTSCRIPT = "postscript"


class InjectionState(StrEnum):
    """Where an injection is in its life. Only pending and bound ones are still to be sent."""

    PENDING = "pending"
    BOUND = "bound"  # part of a prompt that is not final
    USED = "used"  # its prompt completed
    QUEUED = "queued"  # became a completion of its own
    BLOCKED = "blocked"  # over a bound, never sent
    EXPIRED = "expired"
    CLEARED = "cleared"


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectionTerms:
    """What shall happen with a request's result: `injection_config`, as accepted."""

    mode: InjectMode = InjectMode.NEXT
    position: Position = Position.BEFORE_PROMPT
    targets: tuple[str, ...] = (ORIGINATING,)
    trigger_type: str | None = None
    follow_up_guidance: str | None = None
    ttl_s: float | None = None

    def sessions(self, own: str) -> tuple[str, ...]:
        """Return the sessions meant, each once, for a request of the session `own`."""
        named = (own if target == ORIGINATING else target for target in self.targets)
        return tuple(dict.fromkeys(named))


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainBounds:
    """How far a chain may go: `circuit_breaker_config`, with the contract's defaults.

    A chain is a request without a parent (its root, at depth 1) and all that name it, or one
    of them, as `parent_request_id` (one deeper each).
    """

    max_depth: int = 5
    token_budget: int = 50_000
    time_window_s: float = 3600.0
    parent_request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A request's chain: its own depth, tokens spent by all of the chain, when the root came."""

    depth: int
    tokens: int
    root_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """Why something was not injected: the bound, how far it goes, and what was found."""

    bound: str
    limit: float
    found: float

    def text(self) -> str:
        """Return it in words, with the numbers."""
        return f"{self.bound} is {self.limit:g}, found {self.found:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """A text on its way into a session, or the record of it.

    `source_id` names the request whose result it is (None: given by hand), `request_id` the
    request it became part of. Times in epoch seconds.
    """

    injection_id: str
    session_id: str
    mode: InjectMode
    position: Position
    content: str
    created_at: float
    source_id: str | None = None
    trigger_type: str | None = None
    follow_up_guidance: str | None = None
    expires_at: float | None = None
    state: InjectionState = InjectionState.PENDING
    request_id: str | None = None
    bound_at: float | None = None
    blocked: Blocked | None = None

    @property
    def chars(self) -> int:
        """How long the text is that joins the prompt, but for the words around it."""
        return len(self.content) + len(self.follow_up_guidance or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedTerms:
    """Terms with their bounds; `owed` when their request has completed and they are due."""

    terms: InjectionTerms
    bounds: ChainBounds | None = None
    owed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A result that goes into other sessions, and who asked for that.

    `stored` False: its request is none of this engine's, `injected` True: it was born of an
    injection itself and so does not inject again.
    """

    request_id: str
    session_id: str
    content: str
    terms: InjectionTerms
    bounds: ChainBounds
    model: str | None = None
    agent_id: str | None = None
    client_id: str | None = None
    injected: bool = False
    stored: bool = True

    @property
    def targets(self) -> tuple[str, ...]:
        """The sessions that the result goes into."""
        return self.terms.sessions(self.session_id)

    def injection(self, session_id: str, now: float) -> Injection:
        """Return the injection into one of the targets."""
        terms = self.terms
        return Injection(
            injection_id=id_of_result(self.request_id, session_id),
            session_id=session_id,
            mode=terms.mode,
            position=terms.position,
            content=self.content,
            created_at=now,
            source_id=self.request_id if self.stored else None,
            trigger_type=terms.trigger_type,
            follow_up_guidance=terms.follow_up_guidance,
            expires_at=None if terms.ttl_s is None else now + terms.ttl_s,
        )


# --- composition ----------------------------------------------------------------------------

_BEFORE: Final = (Position.PREPEND, Position.SYSTEM_REMINDER, Position.BEFORE_PROMPT)
_AFTER: Final = (Position.AFTER_PROMPT, Position.POSTSCRIPT)


def compose(prompt: str | None, injections: Sequence[Injection]) -> str:
    """Return the prompt with every injection in it once, parted by empty lines.

    The order is: prepend, system_reminder (each in its own tags), before_prompt, the prompt,
    after_prompt, postscript (each begins with `P.S.`). Several of one position stand in the
    order given, which is that of their arrival. Without a prompt it is the injections alone.
    """
    blocks = [_block(i) for position in _BEFORE for i in injections if i.position is position]
    if prompt:
        blocks.append(prompt)
    blocks += [_block(i) for position in _AFTER for i in injections if i.position is position]
    return "\n\n".join(blocks)


def _block(injection: Injection) -> str:
    """Return the text of one injection.

    A trigger type stands before it as `[trigger: …]` on a line of its own, guidance after
    it as a paragraph `Follow-up guidance: …`.
    """
    text = injection.content
    if injection.trigger_type:
        text = f"[trigger: {injection.trigger_type}]\n{text}"
    if injection.follow_up_guidance:
        text = f"{text}\n\nFollow-up guidance: {injection.follow_up_guidance}"
    if injection.position is Position.SYSTEM_REMINDER:
        return f"<system-reminder>\n{text}\n</system-reminder>"
    if injection.position is Position.POSTSCRIPT:
        return f"P.S. {text}"
    return text


# --- bounds ---------------------------------------------------------------------------------


def over_bound(bounds: ChainBounds, chain: Chain, now: float) -> Blocked | None:
    """Return the first bound that a chain is over, or None; a bound that is just met is not.

    Depth is that of the request whose result would be injected, tokens are those of all
    calls of the whole chain, time runs since the chain's root was accepted.
    """
    found: tuple[tuple[str, float, float], ...] = (
        ("max_depth", bounds.max_depth, chain.depth),
        ("time_window_s", bounds.time_window_s, round(now - chain.root_at, 3)),
        ("token_budget", bounds.token_budget, chain.tokens),
    )
    for bound, limit, value in found:
        if value > limit:
            return Blocked(bound=bound, limit=limit, found=value)
    return None


def content_fault(content: str, guidance: str | None = None) -> Blocked | None:
    """Return why a text cannot be injected: it is empty or too long. None when it can."""
    if not content.strip():
        return Blocked(bound="min_content_chars", limit=1, found=0)
    chars = len(content) + len(guidance or "")
    if chars > MAX_CONTENT_CHARS:
        return Blocked(bound="max_content_chars", limit=MAX_CONTENT_CHARS, found=chars)
    return None


def id_of_result(source_id: str, session_id: str) -> str:
    """Return the id of a result's injection into a session: always the same for the same two.

    It is also the id of the completion that a direct one becomes, so that whatever dies in
    between, neither is lost and neither comes twice.
    """
    named = f"{len(source_id)}:{source_id}{session_id}".encode("utf-8", "surrogatepass")
    return f"inj-{hashlib.sha256(named).hexdigest()[:24]}"


# --- plain JSON -----------------------------------------------------------------------------


def plain(value: InjectionTerms | ChainBounds | Injection | Blocked) -> dict[str, Any]:
    """Return a value as plain JSON, without what is unset."""
    return {
        name: list(item) if isinstance(item, tuple) else item
        for name, item in asdict(value).items()
        if item is not None
    }


def terms_of(data: Mapping[str, Any]) -> InjectionTerms:
    """Return terms that `plain` wrote. Raises KeyError, TypeError or ValueError for others."""
    return InjectionTerms(
        **{
            **data,
            "mode": InjectMode(data["mode"]),
            "position": Position(data["position"]),
            "targets": tuple(data["targets"]),
        }
    )


def bounds_of(data: Mapping[str, Any]) -> ChainBounds:
    """Return bounds that `plain` wrote. Raises TypeError for others."""
    return ChainBounds(**data)


def injection_of(data: Mapping[str, Any]) -> Injection:
    """Return an injection that `plain` wrote. Raises KeyError, TypeError or ValueError."""
    return Injection(
        **{
            **data,
            "mode": InjectMode(data["mode"]),
            "position": Position(data["position"]),
            "state": InjectionState(data["state"]),
            "blocked": Blocked(**data["blocked"]) if data.get("blocked") else None,
        }
    )
