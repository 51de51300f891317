"""What a request was sent with: its own messages and the earlier turns of its session.

Of a call that runs it is known; of one that has ended it is worked out from the session's
transcript, which keeps its turns in order but not whose they are. Reads only. How many of
the turns the model's window held is the provider worker's to say, and not told here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ksi_tui.engine.continuity import HISTORY_MAX_CHARS
from ksi_tui.engine.injection.policy import compose
from ksi_tui.engine.models import Message, State
from ksi_tui.engine.store.base import Store
from ksi_tui.engine.store.records import StoredRequest
from ksi_tui.engine.ticket import Ticket
from ksi_tui.engine.token_tracker import estimate

_SIBLINGS = 200
"""How many of a session's newest requests are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """Messages of a call, oldest first. `known` False: the transcript was forgotten meanwhile."""

    history: Sequence[Message]
    messages: Sequence[Message]
    known: bool = True


async def sent_report(stored: StoredRequest, ticket: Ticket | None, store: Store) -> dict[str, Any]:
    """Return, as plain JSON, what the last call was sent with, or what the first will be.

    `begun` tells the two apart. The tokens are a crude count.
    """
    run = ticket.run if ticket is not None else None
    live = run.call if run is not None else None
    if live is not None:
        sent = Sent(history=live.history, messages=live.messages)
    else:
        sent = await _worked_out(stored, store)
    return {
        "begun": live is not None or bool(stored.calls),
        "known": sent.known,
        "history": [dict(message) for message in sent.history],
        "messages": [dict(message) for message in sent.messages],
        "turns": len(sent.history) // 2,
        "history_tokens": estimate(messages=sent.history).input if sent.history else 0,
        "estimated_tokens": estimate(messages=[*sent.history, *sent.messages]).input,
    }


async def _worked_out(stored: StoredRequest, store: Store) -> Sent:
    spec = stored.spec
    if spec.prompt is None:
        return Sent(history=(), messages=spec.own_messages)
    received = [each for each in stored.injections if each.request_id == spec.request_id]
    own = replace(spec, prompt=compose(spec.prompt, received)).own_messages
    if not spec.history:
        return Sent(history=(), messages=own)
    turns = await store.turns(spec.session_id, HISTORY_MAX_CHARS)
    if not stored.calls:
        return Sent(history=turns, messages=own)
    called_at = max(call.started_at for call in stored.calls)
    siblings = await store.session_requests(spec.session_id, _SIBLINGS)
    since = sum(
        each.state is State.COMPLETED and (each.finished_at or 0.0) >= called_at
        for each in siblings
    )
    before = len(turns) - 2 * since
    if stored.state is State.COMPLETED:
        before = _before_its_own(turns, stored.text or "", before)
    if before < 0:
        return Sent(history=(), messages=own, known=False)
    return Sent(history=turns[:before], messages=own)


def _before_its_own(turns: Sequence[Message], reply: str, expected: int) -> int:
    """Return how many turns came before the pair of a completed request; -1: it is gone."""
    own = [
        index for index in range(0, len(turns) - 1, 2) if turns[index + 1].get("content") == reply
    ]
    return expected if expected in own else own[-1] if own else -1
