"""Everything that an engine tells, heard over one stream and handed to local subscriptions.

It goes on by itself after a break, from the last event that was heard; what can be resumed no
more is told as `engine:lost`, as the engine's door tells it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ksi_tui.engine.events import LOST, OF_REQUEST, SNAPSHOT, Event, Subscription, matches
from ksi_tui.remote.errors import LineFault, Refused
from ksi_tui.remote.link import Link
from ksi_tui.remote.server_sent import Message
from ksi_tui.remote.wire import Wire, event_of

CAPACITY: Final = 10_000
"""Events that one subscription holds, as in the engine."""


class Hearing:
    """Hears what fits `pattern`; `run` is its one task. `on_news` is called after each piece.

    Texts of more than `most_chars` are heard cut.
    After a break the state is told again to those only who follow one request: it holds the
    part of the answer that nobody heard.
    """

    def __init__(
        self,
        wire: Wire,
        link: Link,
        pattern: str = "*",
        on_news: Callable[[], None] = lambda: None,
        most_chars: int | None = None,
    ) -> None:
        self._wire = wire
        self._link = link
        self._pattern = pattern
        self._on_news = on_news
        self._most_chars = most_chars
        self._subscriptions: list[Subscription] = []
        self._state: Event | None = None
        self._boot: str | None = None
        self._seq = 0
        self.refusal: Refused | None = None
        """Why the engine tells nothing of this pattern, and never will."""

    def subscribe(self, pattern: str, on_end: Callable[[], object] = lambda: None) -> Subscription:
        """Return a new subscription; its first event is the state that was told last, if any.

        `on_end` is called when it has ended.
        """

        def ended(subscription: Subscription) -> None:
            self._subscriptions.remove(subscription)
            on_end()

        subscription = Subscription(pattern, CAPACITY, ended)
        if self._state is not None:
            subscription.push(self._state)
        self._subscriptions.append(subscription)
        return subscription

    def close(self) -> None:
        """End every subscription."""
        for subscription in list(self._subscriptions):
            subscription.end()

    async def run(self) -> None:
        """Hear until cancelled, or until the engine refuses the pattern, which ends all."""
        while True:
            try:
                wire, most_chars = self._wire, self._most_chars
                async with wire.stream(self._pattern, self._last_id, most_chars) as pieces:
                    self._link.stands()
                    async for messages in pieces:
                        self._take(messages)
                why = "the engine ended it"
            except LineFault as error:
                # Where all is asked for, nothing can be wrong but who answers.
                if isinstance(error, Refused) and self._pattern != "*":
                    self.refusal = error
                    self.close()
                    return
                why = str(error)
            self._link.broke(why)
            await self._link.pause()

    @property
    def _last_id(self) -> str | None:
        return f"{self._boot}.{self._seq}" if self._boot is not None else None

    def _take(self, messages: list[Message]) -> None:
        for message in messages:
            event = event_of(message)
            boot = message.id.rpartition(".")[0]
            if boot and boot != self._boot:
                self._boot, self._seq = boot, event.seq
            elif event.name != SNAPSHOT:  # of the same life: what was missed comes after it
                self._seq = max(self._seq, event.seq)
            self._hand_out(event)
        if messages:
            self._on_news()

    def _hand_out(self, event: Event) -> None:
        follows = self._pattern.startswith(OF_REQUEST)  # then all that comes is of its request
        if event.name == SNAPSHOT:
            first, self._state = self._state is None, event
            if not (first or follows):
                return
        for subscription in self._subscriptions:
            always = follows or event.name in (LOST, SNAPSHOT)
            if always or matches(subscription.pattern, event.name):
                subscription.push(event)
