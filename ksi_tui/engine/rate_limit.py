"""How many calls and tokens a provider may be given in any 60 seconds.

Pure policy: no clock, no I/O. A window slides; it is not a bucket that refills, and it
holds exactly what was admitted in the last 60 s. A call's tokens are reserved when it is
admitted and corrected when it ends, so what is known of the window never exceeds the
limit at an admission; a reply that is longer than was reserved for it is counted as what
it was, and the next call waits for it. Who waits, and for how long, is the queue's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ksi_tui.engine.models import Message
from ksi_tui.engine.token_tracker import estimate

WINDOW_S = 60.0
DEFAULT_REPLY_TOKENS = 1024
"""What is reserved for the reply of a call that sets neither max_tokens nor its newer name."""


@dataclass(slots=True, eq=False)
class Admission:
    """One admitted call. `number` is its row on disk; rows are used again once they are old."""

    number: int
    at: float
    tokens: int
    current: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Limited:
    """A limit is reached: which, and when (epoch seconds) a call may go."""

    until: float
    text: str


class RateLimit:
    """The sliding window of one provider. `rpm` and `tpm` None: without that limit."""

    def __init__(self, rpm: int | None, tpm: int | None) -> None:
        self.rpm = rpm
        self.tpm = tpm
        self._window: deque[Admission] = deque()
        self._tokens = 0
        self._free: list[int] = []
        self._next = 0
        self._kept = 0

    def used(self, now: float) -> tuple[int, int]:
        """Return the calls and the tokens of the last 60 s; `now` may be a time to come."""
        calls, tokens = len(self._window), self._tokens
        for admission in self._window:
            if admission.at + WINDOW_S > now:
                break
            calls -= 1
            tokens -= admission.tokens
        return calls, tokens

    def obstacle(self, now: float, tokens: int = 0) -> Limited | None:
        """Return what keeps a call of so many tokens from being admitted then, or None.

        Changes nothing: it is asked about times to come too. Room that is kept for a call is
        waited for by those that need less: it would never find any otherwise.
        """
        calls, used = self.used(now)
        if not calls:
            return None
        needed = max(1, tokens, self._kept)
        reached = [r for r in (self._requests(calls), self._room(used, needed)) if r is not None]
        return max(reached, key=lambda limited: limited.until, default=None)

    def _requests(self, calls: int) -> Limited | None:
        if self.rpm is None or calls < self.rpm:
            return None
        until = self._window[-self.rpm].at + WINDOW_S
        return Limited(until=until, text=f"at {calls} of {self.rpm} requests a minute")

    def _room(self, used: int, needed: int) -> Limited | None:
        if self.tpm is None or used + needed <= self.tpm:
            return None
        text = f"at {used} of {self.tpm} tokens a minute"
        if needed > 1:
            text += f", {needed} needed"
        return Limited(until=self._room_at(needed), text=text)

    def _room_at(self, needed: int) -> float:
        """Return when so much of the window will have passed that `needed` tokens fit."""
        left = self._tokens
        limit = self.tpm or 0
        for admission in self._window:
            left -= admission.tokens
            if left + needed <= limit:
                return admission.at + WINDOW_S
        return self._window[-1].at + WINDOW_S

    def keep_room(self, tokens: int) -> None:
        """Keep room for a call of so many tokens that waits, until the next is admitted."""
        self._kept = max(self._kept, tokens)

    def give_up_room(self, tokens: int) -> bool:
        """Keep room no longer for one that waits no more; returns whether any was kept for it."""
        given_up = 0 < self._kept == tokens
        if given_up:
            self._kept = 0
        return given_up

    def admit(self, now: float, tokens: int) -> Admission:
        """Take a call into the window. Ask `obstacle` first: this refuses nothing."""
        self._slide(now)
        self._kept = 0
        number = self._free.pop() if self._free else self._next
        self._next = max(self._next, number + 1)
        admission = Admission(number, max(now, self._newest), tokens)
        self._window.append(admission)
        self._tokens += tokens
        return admission

    def withdraw(self, admission: Admission) -> None:
        """Take a call out of the window that was admitted and not made."""
        if admission.current:
            self._window.remove(admission)
            self._leaves(admission)

    @property
    def _newest(self) -> float:
        return self._window[-1].at if self._window else 0.0

    def correct(self, admission: Admission, tokens: int, now: float) -> bool:
        """Put real tokens in place of reserved ones; False when the call is older than 60 s."""
        self._slide(now)
        if not admission.current:
            return False
        self._tokens += tokens - admission.tokens
        admission.tokens = tokens
        return True

    def _slide(self, now: float) -> None:
        while self._window and self._window[0].at + WINDOW_S <= now:
            self._leaves(self._window.popleft())
        if not self._window:
            self._kept = 0

    def _leaves(self, admission: Admission) -> None:
        admission.current = False
        self._tokens -= admission.tokens
        self._free.append(admission.number)

    def restore(self, found: Iterable[tuple[int, float, int]], now: float) -> None:
        """Bring back number, time and tokens of admissions; times of a clock ahead become now."""
        self._window = deque(
            Admission(number, min(at, now), tokens)
            for number, at, tokens in sorted(found, key=lambda row: row[1])
        )
        self._tokens = sum(admission.tokens for admission in self._window)
        self._next = max((a.number + 1 for a in self._window), default=0)
        self._free = sorted(set(range(self._next)) - {a.number for a in self._window}, reverse=True)
        self._slide(now)


def tokens_needed(
    messages: Sequence[Message],
    history: Sequence[Message],
    asked: Mapping[str, Any],
    own: Mapping[str, Any],
) -> int:
    """Return the tokens to reserve for a call: its input by estimate, and the reply it may get.

    `asked` are the call's parameters, `own` those of the provider, which they replace.
    """
    params = {**own, **asked}
    reply = params.get("max_completion_tokens") or params.get("max_tokens")
    replies = params.get("n")
    sent = estimate([*history, *messages], str(params["tools"]) if params.get("tools") else "")
    count = replies if isinstance(replies, int) and replies > 0 else 1
    tokens = reply if isinstance(reply, int) and reply > 0 else DEFAULT_REPLY_TOKENS
    return sent.total + tokens * count
