"""The router and its subscriptions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.engine.events import LOST, SNAPSHOT, Event, Router, Subscription, matches


async def _handler(data: Mapping[str, Any]) -> dict[str, Any]:
    return dict(data)


def router() -> Router:
    return Router(lambda: 7.0)


async def take(subscription: Subscription) -> Event:
    return await asyncio.wait_for(anext(aiter(subscription)), timeout=5)


# --- patterns -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("completion:result", "completion:result", True),
        ("completion:result", "completion:error", False),
        ("completion:*", "completion:error", True),
        ("*:error", "completion:error", True),
        ("*:*", "completion:error", True),
        ("*", "completion:error", True),
        ("completion", "completion:error", False),
        ("completion:*", "completion", False),
        ("completion:*", "completion:error:deep", False),
        ("completion:err*", "completion:error", False),
    ],
)
def test_a_star_stands_for_one_segment(pattern: str, name: str, fits: bool) -> None:
    assert matches(pattern, name) is fits


@given(st.lists(st.text("abc*", min_size=1, max_size=3), min_size=1, max_size=4), st.data())
def test_any_segment_may_be_a_star(segments: list[str], data: st.DataObject) -> None:
    hidden = data.draw(st.sets(st.integers(0, len(segments) - 1)))
    pattern = ":".join("*" if i in hidden else part for i, part in enumerate(segments))
    assert matches(pattern, ":".join(segments))


# --- handlers -----------------------------------------------------------------------------


def test_one_handler_a_name() -> None:
    subject = router()
    subject.register("b:b", _handler)
    subject.register("a:a", _handler)
    assert subject.names == ["a:a", "b:b"]
    assert subject.handler("a:a") is _handler
    assert subject.handler("a:c") is None
    with pytest.raises(ValueError, match="a:a already has a handler"):
        subject.register("a:a", _handler)


# --- subscriptions ------------------------------------------------------------------------


async def test_it_starts_with_a_snapshot_and_goes_on_with_what_fits() -> None:
    subject = router()
    subject.publish("completion:queued", {"n": 0})
    subscription = subject.subscribe("completion:*", {"queued": 1})
    subject.publish("completion:result", {"n": 1})
    subject.publish("provider:circuit", {"n": 2})
    subject.publish("completion:error", {"n": 3})
    assert subscription.drain() == [
        Event(1, SNAPSHOT, {"queued": 1}, 7.0),
        Event(2, "completion:result", {"n": 1}, 7.0),
        Event(4, "completion:error", {"n": 3}, 7.0),
    ]
    assert subscription.drain() == []


async def test_who_waits_is_woken() -> None:
    subject = router()
    subscription = subject.subscribe("*", {})
    assert (await take(subscription)).name == SNAPSHOT
    waiting = asyncio.create_task(subscription.__anext__(), name="waiting subscriber")
    await asyncio.sleep(0)
    assert not waiting.done()
    subject.publish("a:b", {})
    assert (await asyncio.wait_for(waiting, timeout=5)).name == "a:b"


@given(capacity=st.integers(1, 20), published=st.integers(0, 60))
def test_a_slow_one_loses_the_oldest_and_is_told_how_many(capacity: int, published: int) -> None:
    subject = router()
    subscription = subject.subscribe("*", {}, capacity=capacity)
    for n in range(1, published + 1):
        subject.publish("a:b", {"n": n})
    events = subscription.drain()
    lost = max(0, published + 1 - capacity)
    if lost:
        notice = events.pop(0)
        assert (notice.name, notice.data) == (LOST, {"lost": lost})
        assert notice.seq == events[0].seq - 1
    assert len(events) == min(capacity, published + 1)
    numbers = [event.seq for event in events]
    assert numbers == sorted(set(numbers))
    assert not published or events[-1].data == {"n": published}


async def test_one_that_is_slow_twice_is_told_twice() -> None:
    subject = router()
    subscription = subject.subscribe("*", {}, capacity=2)
    for _ in range(2):
        for n in range(5):
            subject.publish("a:b", {"n": n})
        first = subscription.drain()[0]
        assert first.name == LOST
    assert first.data == {"lost": 3}


async def test_a_closed_one_hands_out_the_rest_and_ends() -> None:
    subject = router()
    subscription = subject.subscribe("*", {})
    subject.publish("a:b", {})
    await subscription.aclose()
    await subscription.aclose()
    subject.publish("a:c", {})
    assert [event.name async for event in subscription] == [SNAPSHOT, "a:b"]


async def test_leaving_its_block_ends_it() -> None:
    subject = router()
    async with subject.subscribe("*", {}) as subscription:
        assert (await take(subscription)).name == SNAPSHOT
    with pytest.raises(StopAsyncIteration):
        await take(subscription)


async def test_closing_the_router_wakes_and_ends_every_subscriber() -> None:
    subject = router()
    subscriptions = [subject.subscribe("*", {}) for _ in range(3)]

    async def read(subscription: Subscription) -> list[str]:
        return [event.name async for event in subscription]

    tasks = [asyncio.create_task(read(one), name="reader") for one in subscriptions]
    await asyncio.sleep(0)
    subject.close()
    assert await asyncio.wait_for(asyncio.gather(*tasks), timeout=5) == [[SNAPSHOT]] * 3


async def test_a_subscriber_may_leave_while_events_are_handed_out() -> None:
    subject = router()
    first = subject.subscribe("*", {})
    second = subject.subscribe("*", {})
    first.end()
    subject.publish("a:b", {})
    assert [event.name for event in second.drain()] == [SNAPSHOT, "a:b"]
    second.end()
    subject.publish("a:c", {})
    assert second.drain() == []


def test_who_comes_or_goes_between_two_events_of_a_name_is_noticed() -> None:
    router = Router(lambda: 0.0)
    first = router.subscribe("completion:*", {})
    router.publish("completion:result", {"n": 1})
    second = router.subscribe("*", {})
    router.publish("completion:result", {"n": 2})
    first.end()
    router.publish("completion:result", {"n": 3})
    told = [[event.data.get("n") for event in each.drain()] for each in (first, second)]
    assert told == [[None, 1, 2], [None, 2, 3]]
