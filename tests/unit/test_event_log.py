"""The log of events: bounded, without texts of answers, and what of it a filter shows."""

from __future__ import annotations

import tracemalloc
import weakref
from typing import Any

import pytest

from ksi_tui.engine.errors import FilterError
from ksi_tui.engine.events import Event, Router
from ksi_tui.saved_filters import FilterBook
from ksi_tui.screens.event_filter import EventBook, read
from ksi_tui.screens.event_log import A_TICK, MOST, EventLog
from ksi_tui.widgets.event_rows import Entry, as_json, entry_of, hidden, row_of

MILLION = 1_000_000


class _Client:
    """An engine's door as far as the log needs it."""

    def __init__(self) -> None:
        self.router = Router(lambda: 1000.0)
        self.subscribed = 0

    def subscribe(self, pattern: str = "*") -> Any:
        self.subscribed += 1
        return self.router.subscribe(pattern, {})


class _Answer(dict[str, Any]):
    """A result whose life can be watched."""


def _entry(name: str = "completion:error", **data: Any) -> Entry:
    return entry_of("k", 0.0, name, data)


def test_a_million_events_leave_no_more_than_the_newest() -> None:
    client, log = _Client(), EventLog()
    log.drain(client)  # type: ignore[arg-type]
    answer = _Answer(response={"usage": {"total_tokens": 5}})
    alive = weakref.ref(answer)

    def feed(count: int) -> None:
        for number in range(count):
            data = {"request_id": f"r-{number}", "session_id": "s", "status": "streaming"}
            client.router.publish("completion:progress", data)
            if number % A_TICK == A_TICK - 1:
                log.drain(client)  # type: ignore[arg-type]

    client.router.publish("completion:result", {"request_id": "r", "result": answer})
    log.drain(client)  # type: ignore[arg-type]
    del answer
    assert alive() is None
    feed(MILLION - 40_000)
    tracemalloc.start()
    try:
        feed(20_000)
        before, _ = tracemalloc.get_traced_memory()
        feed(20_000)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 0.02 * before
    assert log.taken == MILLION + 1
    assert len(log.since(0)) == len(log.events()) == MOST
    assert client.subscribed == 1


def test_what_came_since_is_handed_out_once_and_in_order() -> None:
    client, log = _Client(), EventLog()
    log.drain(client)  # type: ignore[arg-type]
    for number in range(5):
        client.router.publish("queue:paused", {"id": str(number)})
    log.drain(client)  # type: ignore[arg-type]
    assert [entry.text for entry in log.since(3)] == ["3 paused", "4 paused"]
    assert log.since(5) == []
    assert [(event.seq, event.name) for event in log.events()[:2]] == [
        (1, "queue:paused"),
        (2, "queue:paused"),
    ]


def test_a_tick_takes_a_part_and_loses_nothing() -> None:
    client, log = _Client(), EventLog()
    log.drain(client)  # type: ignore[arg-type]
    for _ in range(A_TICK + 10):
        client.router.publish("worker:lost", {})
    log.drain(client)  # type: ignore[arg-type]
    assert log.taken == A_TICK
    log.drain(client)  # type: ignore[arg-type]
    assert log.taken == A_TICK + 10


def test_what_a_slow_screen_lost_is_told() -> None:
    client, log = _Client(), EventLog()
    log.drain(client)  # type: ignore[arg-type]
    for _ in range(10_005):
        client.router.publish("worker:lost", {})
    log.drain(client)  # type: ignore[arg-type]
    lost = [entry for entry in log.since(0) if entry.name == "engine:lost"]
    assert [entry.text for entry in lost] == [
        "5 events are missing: they came faster than they were read"
    ]


def test_another_engine_is_subscribed_to_anew() -> None:
    first, second, log = _Client(), _Client(), EventLog()
    log.drain(first)  # type: ignore[arg-type]
    log.drain(None)
    log.drain(second)  # type: ignore[arg-type]
    first.router.publish("worker:lost", {})
    second.router.publish("worker:started", {})
    log.drain(second)  # type: ignore[arg-type]
    assert [entry.name for entry in log.since(0)] == ["worker:started"]
    assert first.router._subscriptions == []


# --- entries --------------------------------------------------------------------------------


def test_texts_of_answers_are_left_out_and_everything_is_clean() -> None:
    entry = _entry(
        "completion:cancelled",
        request_id="r-1",
        partial_text="SECRET",
        reason="a\x1b[31mb\nc",
        was="processing",
        nested={"text": "SECRET"},
    )
    assert entry.text == "a[31mb c, was processing"
    shown = " ".join(cell.text for cell in row_of(entry).cells) + hidden(entry, frozenset())
    assert "SECRET" not in shown + str(entry.data) + as_json(entry)
    assert "\x1b" not in shown + as_json(entry)


def test_a_result_tells_numbers_and_who_answered() -> None:
    entry = _entry(
        "completion:result",
        request_id="r",
        session_id="s",
        result={
            "ksi": {"provider": "openai", "model": "gpt-4o", "duration_ms": 2500.0},
            "response": {"usage": {"total_tokens": 41}, "choices": [{"text": "SECRET"}]},
        },
    )
    assert (entry.provider, entry.session_id) == ("openai", "s")
    assert entry.text == "model gpt-4o, took 2.5s, tokens 41"


@pytest.mark.parametrize(
    ("data", "ids"),
    [
        ({"scope": "session", "id": "s1"}, (None, "s1", None)),
        ({"scope": "provider", "id": "p1"}, (None, None, "p1")),
        ({"scope": "engine", "id": None}, (None, None, None)),
        ({"request_id": "r1", "provider": "p1"}, ("r1", None, "p1")),
    ],
)
def test_whom_an_event_is_about(data: dict[str, Any], ids: tuple[str | None, ...]) -> None:
    entry = _entry("queue:paused", **data)
    assert (entry.request_id, entry.session_id, entry.provider) == ids


# --- filters --------------------------------------------------------------------------------

ERROR = _entry(
    "completion:error", request_id="r-7", session_id="acme-1", error="429 Slow down", kind="limit"
)
CIRCUIT = _entry("provider:circuit", provider="openai", reason="5 timeouts")
QUEUED = _entry("completion:queued", request_id="r-8", agent_id="a7", model="gpt-4o")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", [ERROR, CIRCUIT, QUEUED]),
        ("*", [ERROR, CIRCUIT, QUEUED]),
        ("completion:*", [ERROR, QUEUED]),
        ("*:error provider:*", [ERROR, CIRCUIT]),
        ("provider:circuit", [CIRCUIT]),
        ("provider:open*", [CIRCUIT]),
        ("-completion:queued", [ERROR, CIRCUIT]),
        ("slow", [ERROR]),
        ("timeouts", [CIRCUIT]),
        ("-slow completion:*", [QUEUED]),
        ("session:acme", [ERROR]),
        ("agent:a7", [QUEUED]),
        ("model:gpt*", [QUEUED]),
        ("error:limit", [ERROR]),
        ("id:r-8", [QUEUED]),
    ],
)
def test_patterns_and_filters_together(text: str, shown: list[Entry]) -> None:
    wanted = read(text)
    assert [entry for entry in (ERROR, CIRCUIT, QUEUED) if wanted.fits(entry)] == shown


@pytest.mark.parametrize(
    ("text", "pattern"),
    [("completion:*", "completion:*"), ("*:error provider:*", "*"), ("comp*:error", "*")],
)
def test_the_engine_is_asked_for_no_less_than_is_shown(text: str, pattern: str) -> None:
    assert read(text).pattern == pattern


@pytest.mark.parametrize(
    ("text", "position"), [("completion:* age>30s", 13), ("x cost>1", 2), ('completion:* "a', 13)]
)
def test_what_is_wrong_is_told_where_it_stands(text: str, position: int) -> None:
    with pytest.raises(FilterError) as told:
        EventBook(FilterBook()).written_out(text)
    assert told.value.position == position


def test_saved_filters_are_recalled_beside_patterns() -> None:
    filters = FilterBook()
    assert filters.save("acme", "session:acme*") is None
    book = EventBook(filters)
    assert book.written_out("completion:* @acme") == "completion:* session:acme*"
    # Only what other screens can read goes into their history.
    book.used("completion:* x")
    book.used("session:acme")
    assert filters.history == ("session:acme",)


def test_events_are_handed_to_bundles_as_events() -> None:
    log = EventLog()
    log.add(Event(9, "provider:circuit", {"provider": "p", "to": "open"}, 5.0))
    (event,) = log.events()
    assert (event.name, event.at, dict(event.data)) == (
        "provider:circuit",
        5.0,
        {"provider": "p", "to": "open"},
    )
