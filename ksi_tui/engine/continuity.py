"""What goes along with a prompt: the session's earlier turns (contract section 3).

Here is decided which turns are kept of a request and which are read for the next one.
How many of them a model's window holds is the provider worker's to say (`tokens`), the
order of requests the queue's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ksi_tui.engine.models import Message, RequestSpec
from ksi_tui.engine.session_manager import SessionManager
from ksi_tui.engine.store.base import Store
from ksi_tui.engine.token_tracker import estimate

HISTORY_MAX_CHARS = 400_000
"""How much of a session's transcript is read for one request; the model's window trims further."""
SHOWN_TURNS = 40
"""How many of the newest turns `completion:session_status` shows."""
SHOWN_CHARS = 2_000
"""How many characters it shows of each."""


async def history_for(spec: RequestSpec, sessions: SessionManager, store: Store) -> list[Message]:
    """Return the earlier turns that are sent along with a request, oldest first.

    None for `messages` (sent as given) and for `history: "none"`. Raises StoreError when
    they cannot be read.
    """
    if spec.prompt is None or not spec.history:
        return []
    session = sessions.get(spec.session_id)
    if session is not None and session.turn_count == 0:
        return []
    turns = list(await store.turns(spec.session_id, HISTORY_MAX_CHARS))
    # None were found may have changed by now: another request may have ended meanwhile.
    if turns and session is not None and session.turn_count is None:
        session.turn_count = len(turns) // 2
    return turns


def turn_of(spec: RequestSpec, reply: str) -> tuple[Message, Message] | None:
    """Return the pair that a completed request adds: its last user message and the reply.

    None without one of them: a reply of tool calls only is no turn, for it may not stand in
    a conversation without the results of its tools.
    """
    asked: Any = spec.prompt
    if spec.messages is not None:
        users = [m for m in spec.messages if m.get("role") == "user"]
        asked = users[-1].get("content") if users else None
    if not asked or not reply:
        return None
    return {"role": "user", "content": asked}, {"role": "assistant", "content": reply}


async def history_report(session_id: str, store: Store) -> dict[str, Any]:
    """Return, as plain JSON, what would be sent along with the session's next prompt.

    The tokens are a crude count; a model with a smaller window gets the newest pairs only.
    `turns` holds the newest SHOWN_TURNS, oldest first, each cut to SHOWN_CHARS characters.
    """
    turns = await store.turns(session_id, HISTORY_MAX_CHARS)
    texts = [_words(turn.get("content")) for turn in turns]
    shown = list(zip(turns, texts, strict=True))[-SHOWN_TURNS:]
    return {
        "pairs": len(turns) // 2,
        "chars": sum(map(len, texts)),
        "estimated_tokens": estimate(messages=turns).input,
        "limited_to_chars": HISTORY_MAX_CHARS,
        "turns": [
            {"role": turn.get("role"), "text": text[:SHOWN_CHARS], "chars": len(text)}
            for turn, text in shown
        ],
    }


def _words(content: Any) -> str:
    """Return a message's content as text; a part that is none is named in brackets."""
    if isinstance(content, str):
        return content
    parts: Sequence[Any] = content if isinstance(content, Sequence) else [content]
    return "\n".join(_part(part) for part in parts)


def _part(part: Any) -> str:
    if isinstance(part, Mapping):
        text = part.get("text")
        return text if isinstance(text, str) else f"[{part.get('type', 'part')}]"
    return str(part)
