"""Which picture a question gets and which is fetched next: pure, with the time handed in."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.client import Snapshot, SnapshotQuery
from ksi_tui.engine.views import Live, Phase
from ksi_tui.remote.pictures import ASKED_LATELY_S, Pictures
from tests.ui.acting import live
from tests.ui.scripted import ScriptedClient, busy

WHOLE = SnapshotQuery()
BARE = SnapshotQuery(active_limit=0, queue_limit=0, lock_limit=0, trend_points=1)
ENGINE = ScriptedClient(busy())

offsets, limits = st.integers(0, 10), st.integers(0, 12)
queries = st.builds(
    SnapshotQuery,
    active_offset=offsets,
    active_limit=limits,
    queue_offset=offsets,
    queue_limit=limits,
    lock_limit=limits,
    provider=st.sampled_from([None, "anthropic", "azure-eu"]),
)


def pictures(*queries: SnapshotQuery, period_s: float = 0.1) -> Pictures:
    """Pictures of the busy engine, one a second from 1 on, each asked 10 ms before it came."""
    held = Pictures(period_s)
    for at, query in enumerate(queries, start=1):
        held.ask(query, at - 0.01)
        held.trying(query, at - 0.01)
        taken = dataclasses.replace(ENGINE.snapshot(query), at=float(at))
        held.took(query, taken, at - 0.01, float(at))
    return held


def shown(held: Pictures, query: SnapshotQuery) -> Snapshot:
    found = held.of(query)
    assert found is not None
    return found


@given(queries)
def test_from_a_picture_that_shows_all_any_question_gets_what_the_engine_would_show(
    query: SnapshotQuery,
) -> None:
    everything = SnapshotQuery(active_limit=100, queue_limit=100, lock_limit=100)
    found, wanted = shown(pictures(everything), query), ENGINE.snapshot(query)
    assert not found.answers
    assert (found.active, found.active_total) == (wanted.active, wanted.active_total)
    assert (found.queues, found.queues_total) == (wanted.queues, wanted.queues_total)
    assert (found.locks, found.locks_total) == (wanted.locks, wanted.locks_total)


@given(st.lists(queries, min_size=1, max_size=4), queries)
def test_no_row_is_shown_at_another_place(had: list[SnapshotQuery], query: SnapshotQuery) -> None:
    found, wanted = shown(pictures(*had), query), ENGINE.snapshot(query)
    assert found.active == wanted.active[: len(found.active)]
    assert found.queues == wanted.queues[: len(found.queues)]


def test_its_own_picture_answers_and_is_the_newest_s_in_all_but_rows() -> None:
    held = pictures(WHOLE, BARE)
    own = shown(held, BARE)
    assert (own.answers, own.active, own.at) == (True, (), 2.0)
    older = shown(held, WHOLE)
    assert (older.answers, older.at, len(older.active)) == (True, 2.0, 8)


def test_what_was_seen_before_a_question_was_given_up_does_not_answer_it_when_it_is_back() -> None:
    held = pictures(WHOLE, BARE)
    assert shown(held, BARE).answers
    back = 2 + ASKED_LATELY_S + 1
    held.ask(BARE, back)
    assert not shown(held, BARE).answers
    held.ask(WHOLE, back)
    assert not shown(held, WHOLE).answers
    for at in (back + 1, back + 2):  # on a slow line, asked all the while
        held.ask(BARE, at - 0.5)
        held.trying(BARE, at - 0.5)
        held.ask(BARE, at)
        held.took(BARE, ENGINE.snapshot(BARE), at - 0.5, at)
        held.ask(BARE, at)
        assert shown(held, BARE).answers
    assert not shown(held, WHOLE).answers


def test_before_any_picture_there_is_none() -> None:
    held = Pictures(0.1)
    held.ask(WHOLE, 0.0)
    assert held.of(WHOLE) is None
    assert held.newest_of is None


def test_a_request_that_is_asked_for_first_is_told_as_its_row_tells() -> None:
    held = pictures(WHOLE)
    asked = SnapshotQuery(request_id="r-1042", active_limit=0)
    found = shown(held, asked)
    assert found.live is not None
    assert (found.live.phase, found.live.chain, found.answers) == (Phase.NO_TOKEN, None, False)
    assert shown(held, SnapshotQuery(request_id="zz")).live is None
    full: Live = live("r-1042")
    held.took(asked, dataclasses.replace(ENGINE.snapshot(asked), live=full), 5.0, 5.1)
    assert shown(held, dataclasses.replace(asked, explain=True)).live == full


# --- what is fetched next -------------------------------------------------------------------------


def test_a_new_question_goes_at_once_and_any_other_just_before_it_is_looked_at() -> None:
    held = pictures(WHOLE)  # round trip 10 ms
    assert held.next(1.0) is None
    assert held.ask(WHOLE, 2.0)
    assert not held.ask(WHOLE, 2.05)
    query, at = held.next(2.05) or (None, 0.0)
    assert query == WHOLE
    assert abs(at - 2.08) < 1e-6  # a period after it was first asked, less two round trips
    held.ask(BARE, 2.06)
    assert held.next(2.06) == (BARE, 2.06)


def test_news_make_one_due_that_was_answered_but_not_sooner_than_a_period_after_the_last() -> None:
    held = pictures(WHOLE, BARE)
    assert held.next(2.02) is None
    assert held.next(2.02, news=True) == (BARE, 2.09)
    assert held.next(2.5, news=True) == (BARE, 2.5)
    assert held.next(2.1 + ASKED_LATELY_S, news=True) is None


def test_news_bring_nothing_forward_that_is_wanted() -> None:
    held = pictures(WHOLE)
    held.ask(WHOLE, 2.0)
    assert held.next(2.01, news=True) == held.next(2.01)


def test_a_picture_that_came_late_makes_the_next_ones_late_for_a_moment_only() -> None:
    held, period_s, look = pictures(WHOLE), 0.1, 2.0
    held.ask(WHOLE, look)
    at = look + 0.05  # by an accident half a period after the look
    ages = []
    for _ in range(12):
        held.trying(WHOLE, at)
        held.took(WHOLE, ENGINE.snapshot(WHOLE), at, at + 0.005)
        look = next(each for n in range(40) if (each := 2.0 + n * period_s) > at + 0.005)
        ages.append(look - at)
        held.ask(WHOLE, look)
        _, at = held.next(look) or (WHOLE, 0.0)
    assert ages[0] > 0.04
    assert ages[-1] < 0.011


def test_what_nobody_asks_for_any_more_is_fetched_no_more() -> None:
    held = pictures(WHOLE)
    held.ask(WHOLE, 2.0)
    assert held.next(2.0 + ASKED_LATELY_S) is not None
    assert held.next(2.1 + ASKED_LATELY_S) is None


def test_on_a_slow_line_those_that_are_asked_take_turns() -> None:
    held = Pictures(0.1)
    for query in (WHOLE, BARE):
        held.ask(query, 0.0)
    turns, now = [], 0.0
    for _ in range(6):
        for query in (WHOLE, BARE):
            held.ask(query, now)
        query, _ = held.next(now) or (WHOLE, 0.0)
        turns.append(query)
        held.trying(query, now)
        held.took(query, ENGINE.snapshot(query), now, now + 3.0)
        now += 3.0
    assert turns == [WHOLE, BARE] * 3


def test_of_what_was_scrolled_past_only_what_is_looked_at_is_fetched() -> None:
    held = pictures(WHOLE)
    places = [dataclasses.replace(BARE, active_offset=n) for n in range(10)]
    for n, query in enumerate(places):
        held.ask(query, 2.0 + n / 10)
    assert held.next(2.95) == (places[-1], 2.95)
    held.trying(places[-1], 2.95)
    held.ask(WHOLE, 6.0)  # its picture took three seconds; nobody looks at the others any more
    assert (held.next(6.0) or (None,))[0] == WHOLE


def test_only_the_last_few_questions_are_remembered() -> None:
    held = pictures(WHOLE)
    for n in range(1000):
        held.ask(dataclasses.replace(BARE, active_offset=n), 2.0)
    assert len(held._held) <= 64
    assert shown(held, WHOLE).totals == busy().totals


def test_a_question_that_was_given_up_is_new_when_it_is_asked_again() -> None:
    pictures, query = Pictures(0.1), SnapshotQuery()
    assert pictures.ask(query, 0.0)
    assert not pictures.ask(query, ASKED_LATELY_S / 2)
    later = 10 * ASKED_LATELY_S
    assert pictures.next(later) is None
    assert pictures.ask(query, later)
    assert pictures.next(later) == (query, later)
