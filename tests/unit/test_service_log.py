"""What a service writes to stdout: whole lines, what found no room told, and nobody's words."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from ksi_tui.commands import log_lines, service_manager
from ksi_tui.commands.event_records import recorded
from ksi_tui.commands.log_lines import lines_on_stdout
from ksi_tui.engine.events import Router

LOG = logging.getLogger("ksi_tui.test_service_log")


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A pipe in stdout's place; its reading end."""
    reading, writing = os.pipe()

    class Stdout:
        def flush(self) -> None: ...

        def fileno(self) -> int:
            return writing

    monkeypatch.setattr(log_lines, "sys", SimpleNamespace(stdout=Stdout()))
    monkeypatch.setattr(LOG, "level", logging.INFO)
    yield reading
    os.close(writing)
    os.close(reading)


def lines(reading: int) -> Iterator[dict[str, Any]]:
    with os.fdopen(os.dup(reading), "rb") as stream:
        for line in stream:
            yield json.loads(line)


def test_each_record_is_a_line(pipe: int) -> None:
    with lines_on_stdout():
        LOG.info("first %s", "ä\n", extra={"number": 1})
        found = next(lines(pipe))
    assert (found["message"], found["level"], found["number"]) == ("first ä\n", "info", 1)
    assert found["logger"] == LOG.name
    assert found["at"].endswith("+00:00")


def test_afterwards_nothing_more_is_written(pipe: int) -> None:
    with lines_on_stdout(only_there=[LOG.name]):
        assert not LOG.propagate
    LOG.info("late")
    assert LOG.propagate
    os.set_blocking(pipe, False)
    with pytest.raises(BlockingIOError):
        os.read(pipe, 1)


def test_what_is_only_there_goes_nowhere_else(pipe: int, caplog: pytest.LogCaptureFixture) -> None:
    with lines_on_stdout(only_there=[LOG.name]):
        LOG.info("here")
        assert next(lines(pipe))["message"] == "here"
    assert caplog.records == []


def test_a_reader_who_is_slow_is_told_how_much_it_missed(
    pipe: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_lines, "MOST_WAITING", 5)
    stuck, go = threading.Event(), threading.Event()
    write = os.write

    def slow(descriptor: int, data: bytes) -> int:
        stuck.set()
        assert go.wait(20)
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", slow)
    with lines_on_stdout():
        LOG.info("first")
        assert stuck.wait(20)
        for number in range(8):
            LOG.info("more %d", number)
        go.set()
        found = lines(pipe)
        said = [next(found)["message"] for _ in range(7)]
    assert said == [
        "first",
        "more 0",
        "3 lines found no room here",
        "more 1",
        "more 2",
        "more 3",
        "more 4",
    ]


def test_a_secret_is_hidden(pipe: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret-value")
    with lines_on_stdout():
        LOG.info("with sk-very-secret-value")
        assert "secret" not in next(lines(pipe))["message"]


async def test_events_are_recorded_without_anybodys_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "ksi_tui.events")
    router = Router(lambda: 1.0)
    subscription = router.subscribe("*", {})
    envelope = {"ksi": {"provider": "p", "model": "m", "attempt": 1}, "response": {"text": "words"}}
    router.publish("completion:progress", {"request_id": "r", "text": "words"})
    router.publish("completion:result", {"request_id": "r", "result": envelope})
    router.publish("completion:cancelled", {"request_id": "r", "partial_text": "words", "by": "a"})
    router.publish("completion:result", {"odd": True})
    router.close()
    await recorded(subscription)
    told = [(r.message, vars(r)["seq"], vars(r)["data"]) for r in caplog.records]
    assert told == [
        ("completion:result", 2, {"request_id": "r", "provider": "p", "model": "m", "attempt": 1}),
        ("completion:cancelled", 3, {"request_id": "r", "by": "a"}),
        ("completion:result", 4, {"odd": True}),
    ]


@pytest.mark.parametrize("address", ["", "relative", "/nowhere/at/all", "@nobody-listens-here-ksi"])
def test_a_service_manager_that_is_not_there_is_no_fault(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    service_manager.tell(service_manager.READY)
