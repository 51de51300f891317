"""What the engine has told since the dashboard began: one bounded log for all screens.

The app owns it, over the only subscription there is, and drains it in each tick. An entry
keeps ids and short values; texts of answers are left out, so that neither memory nor an
incident bundle grows with them. Everything is clean from here on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from ksi_tui.widgets import formats
from ksi_tui.widgets.clean import clean

if TYPE_CHECKING:
    from ksi_tui.client import EngineClient, Event, Subscription

MOST: Final = 10_000
"""Entries that are kept; over it the oldest go."""
A_TICK: Final = 2_000
"""Events that one tick takes in: about 10 ms of them."""
TEXT_CHARS: Final = 300
_ID_CHARS: Final = 200
_IDS: Final = ("request_id", "session_id", "provider")
_LEFT_OUT: Final = frozenset({*_IDS, "result", "partial_text", "text", "content"})
_SNAPSHOT: Final = "engine:snapshot"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One event or journal entry, clean. `key` is unique in the log and rises with time.

    `data` holds its short values as they came, `text` says them in words.
    """

    key: str
    at: float
    name: str
    request_id: str | None
    session_id: str | None
    provider: str | None
    text: str
    data: Mapping[str, Any]

    @property
    def searched(self) -> str:
        """Everything that words are looked for in, in lower case."""
        ids = (self.request_id, self.session_id, self.provider)
        return " ".join((self.name, *(each for each in ids if each), self.text)).lower()


def entry_of(key: str, at: float, name: str, data: Mapping[str, Any]) -> Entry:
    """Return an event from outside as an entry."""
    scoped = {"session": "session_id", "provider": "provider"}.get(str(data.get("scope")))
    ids = {each: _id(data.get(each)) for each in _IDS}
    if scoped is not None:
        ids[scoped] = _id(data.get("id"))
    short = {each: _short(data[each]) for each in _IDS if data.get(each) is not None}
    short |= {
        str(each): _short(value)
        for each, value in data.items()
        if each not in _LEFT_OUT and _told(value)
    }
    short |= _of_result(data.get("result"))
    text = ", ".join(f"{each} {value}" for each, value in short.items() if each not in _IDS)
    return Entry(
        key=key, at=at, name=clean(name, 80), text=clean(text, TEXT_CHARS), data=short, **ids
    )


def _id(value: Any) -> str | None:
    return clean(str(value), _ID_CHARS) if value else None


def _told(value: Any) -> bool:
    return isinstance(value, str | int | float | bool) and value != ""


def _short(value: Any) -> Any:
    return clean(value, TEXT_CHARS) if isinstance(value, str) else value


def _of_result(result: Any) -> dict[str, Any]:
    """Return what a completion's end tells beside its answer."""
    if not isinstance(result, Mapping):
        return {}
    told = result.get("ksi") or {}
    usage = (result.get("response") or {}).get("usage") or {}
    found = {
        "provider": told.get("provider"),
        "model": told.get("model"),
        "took": formats.latency(told.get("duration_ms")),
        "tokens": usage.get("total_tokens"),
    }
    return {each: _short(value) for each, value in found.items() if _told(value)}


class EventLog:
    """The newest `MOST` entries."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=MOST)
        self._taken = 0
        self._client: EngineClient | None = None
        self._subscription: Subscription | None = None

    def drain(self, client: EngineClient | None) -> None:
        """Take in what the engine has told since the last time; never waits."""
        if client is not self._client:
            if self._subscription is not None:
                self._subscription.end()
            self._client = client
            self._subscription = client.subscribe("*") if client is not None else None
        if self._subscription is not None:
            for event in self._subscription.drain(A_TICK):
                self.add(event)

    def add(self, event: Event) -> None:
        """Take in one event; the state that a subscription begins with is none."""
        if event.name != _SNAPSHOT:
            self._taken += 1
            self._entries.append(entry_of(f"e{self._taken}", event.at, event.name, event.data))

    @property
    def taken(self) -> int:
        """How many entries there have been; the newest has this number."""
        return self._taken

    @property
    def oldest_at(self) -> float | None:
        """When the oldest entry that is kept happened, epoch seconds; None without any."""
        return self._entries[0].at if self._entries else None

    def since(self, taken: int) -> list[Entry]:
        """Return the entries after the first `taken`, as far as they are kept, oldest first."""
        new = min(self._taken - taken, len(self._entries))
        return list(islice(reversed(self._entries), new))[::-1]

    def events(self) -> list[Event]:
        """Return what is kept as events, oldest first, with their short values only."""
        return list(self._as_events())

    def _as_events(self) -> Iterator[Event]:
        from ksi_tui.client import Event  # noqa: PLC0415 - the first frame does without

        first = self._taken - len(self._entries) + 1
        for seq, entry in enumerate(self._entries, first):
            yield Event(seq, entry.name, entry.data, entry.at)
