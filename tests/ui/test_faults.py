"""An engine that fails after its start: a banner with the reason, what is shown is called stale."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ksi_tui.app import KsiApp
from ksi_tui.pace import AWAKE_S, SELDOM_S, Pace
from ksi_tui.ui_settings import FirstUi
from ksi_tui.watch import WatchedClient
from tests.ui.harness import SMALL, WIDE, Clock, Hand, dashboard
from tests.ui.scripted import ScriptedClient, busy, first_start

BOTH = [SMALL, WIDE]


def broken(_: Any = None) -> Any:
    raise ZeroDivisionError


@pytest.mark.parametrize("size", BOTH)
async def test_an_engine_that_cannot_be_looked_at_is_a_banner_over_what_it_said_last(
    size: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    client = ScriptedClient(busy(), {"completion:retry": {"retried": []}})
    whole = client.snapshot
    async with dashboard(client, size) as hand:
        await hand.sees("DEGRADED", "r-1042")
        client.snapshot = broken  # type: ignore[assignment,method-assign]
        await hand.sees("the engine cannot be looked at (ZeroDivisionError; the log has it)")
        assert "STALE" not in hand.screen
        hand.clock.advance(12)
        await hand.sees("STALE 12s", "r-1042")
        await hand.press("i")  # the other screens say it too
        await hand.sees("STALE 12s", "the engine cannot be looked at")
        await hand.press("escape", "r")
        await hand.until(lambda: client.sent("completion:retry"), "keys still reach the engine")
        client.snapshot = whole  # type: ignore[method-assign]
        await hand.sees_no("STALE", "cannot be looked at")
    assert [r.message for r in caplog.records if r.levelno >= logging.ERROR] == [
        "the engine could not be looked at"
    ]


async def test_an_engine_that_ends_by_a_fault_leaves_its_last_picture_and_the_reason() -> None:
    client, clock = ScriptedClient(busy()), Clock()

    @asynccontextmanager
    async def dies() -> AsyncIterator[ScriptedClient]:
        yield client
        raise OSError("the disk is gone")

    app = KsiApp(dies, ui=FirstUi(operator="op1", refresh_hz=30), name="ksi-tui", clock=clock)
    async with app.run_test(size=WIDE) as pilot:
        hand = Hand(pilot, client, clock)
        await hand.sees("DEGRADED", "r-1042")
        await app.close_engine()
        clock.advance(90)
        await hand.sees("unexpected OSError; the log has it", "STALE 1m30s", "r-1042")
        assert app.exit_code == 1


async def test_the_quit_dialog_reads_its_numbers_live() -> None:
    client = ScriptedClient(busy())
    async with dashboard(client) as hand:
        await hand.press("q")
        await hand.sees("31 at providers, 6 in backoff, 214 queued")
        client.now = first_start()
        await hand.sees("Nothing is in flight any more")


def test_what_was_seen_of_another_request_is_not_shown_as_this_one() -> None:
    client, clock = ScriptedClient(busy()), Clock()
    watched = WatchedClient(client, clock, 10)
    live = watched.snapshot()
    assert watched.last == live
    assert watched.stale_s is None
    client.snapshot = broken  # type: ignore[assignment,method-assign]
    assert watched.snapshot().live is None
    clock.advance(2)
    assert watched.stale_s == 2
    assert not watched.idle


def test_a_fault_before_anything_was_seen_is_not_hidden() -> None:
    client = ScriptedClient(busy())
    client.snapshot = broken  # type: ignore[assignment,method-assign]
    with pytest.raises(ZeroDivisionError):
        WatchedClient(client, Clock(), 10).snapshot()


# --- the pace -----------------------------------------------------------------------------------


def paced(client: ScriptedClient) -> tuple[Pace, WatchedClient, Clock]:
    clock = Clock()
    watched = WatchedClient(client, clock, 10)
    watched.snapshot()
    pace = Pace(clock)
    clock.advance(AWAKE_S + 1)
    return pace, watched, clock


def beats(pace: Pace, watched: WatchedClient, clock: Clock, count: int) -> int:
    """How many of so many beats at 10 Hz compose the screen."""
    composed = 0
    for _ in range(count):
        clock.advance(0.1)
        composed += pace.due(watched)
    return composed


def test_while_anything_runs_every_beat_composes() -> None:
    pace, watched, clock = paced(ScriptedClient(busy()))
    assert beats(pace, watched, clock, 50) == 50


def test_while_nothing_runs_few_do_until_something_happens_or_somebody_comes() -> None:
    client = ScriptedClient(first_start())
    pace, watched, clock = paced(client)
    assert beats(pace, watched, clock, 100) <= 100 * 0.1 / SELDOM_S + 2
    client.publish("completion:queued", request_id="r-1")
    assert pace.due(watched)
    assert beats(pace, watched, clock, 20) == 20
    clock.advance(AWAKE_S)
    assert beats(pace, watched, clock, 20) < 10
    pace.touched()
    assert beats(pace, watched, clock, 20) == 20


def test_it_listens_only_while_nothing_runs() -> None:
    client = ScriptedClient(first_start())
    pace, watched, clock = paced(client)
    beats(pace, watched, clock, 20)
    assert len(client._subscriptions) == 1
    client.now = busy()
    watched.snapshot()
    beats(pace, watched, clock, 2)
    assert client._subscriptions == []
