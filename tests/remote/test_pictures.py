"""Which question is sent next, and when: the pure part, by its clock."""

from __future__ import annotations

from ksi_tui.engine.views import SnapshotQuery
from ksi_tui.remote.pictures import ASKED_LATELY_S, Pictures


def test_a_question_that_was_given_up_is_new_when_it_is_asked_again() -> None:
    pictures, query = Pictures(0.1), SnapshotQuery()
    assert pictures.ask(query, 0.0)
    assert not pictures.ask(query, ASKED_LATELY_S / 2)
    later = 10 * ASKED_LATELY_S
    assert pictures.next(later) is None
    assert pictures.ask(query, later)
    assert pictures.next(later) == (query, later)
