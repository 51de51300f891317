"""What is paused: a table against a model, and its words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.engine.models import CauseKind, Pause, PauseScope
from ksi_tui.engine.pauses import PauseTable, pause_cause, paused

Key = tuple[PauseScope, str | None]
KEYS: list[Key] = [
    (PauseScope.ENGINE, None),
    (PauseScope.SESSION, "a"),
    (PauseScope.SESSION, "engine"),
    (PauseScope.PROVIDER, "a"),
    (PauseScope.PROVIDER, "b"),
]


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(KEYS))))
def test_it_agrees_with_a_dictionary(steps: list[tuple[bool, Key]]) -> None:
    table, model = PauseTable(), dict[tuple[PauseScope, str | None], Pause]()
    for at, (pausing, (scope, id_)) in enumerate(steps):
        if pausing:
            pause = Pause(scope=scope, id=id_, since=float(at), by=f"op{at}")
            assert table.add(pause) is ((scope, id_) not in model)
            model.setdefault((scope, id_), pause)
        else:
            assert table.remove(scope, id_) is model.pop((scope, id_), None)
        assert list(table) == list(model.values())
        assert len(table) == len(model)
        assert table.engine is model.get(KEYS[0])
        assert table.session("a") is model.get(KEYS[1])
        assert table.provider("a") is model.get(KEYS[3])
        assert table.any_provider is any(s is PauseScope.PROVIDER for s, _ in model)


@pytest.mark.parametrize(
    ("by", "reason", "words"),
    [
        ("op1", "deploy", "paused by op1: deploy"),
        ("op1", None, "paused by op1"),
        (None, "deploy", "paused: deploy"),
        (None, None, "paused"),
    ],
)
def test_who_and_why_as_far_as_known(by: str | None, reason: str | None, words: str) -> None:
    pause = Pause(scope=PauseScope.SESSION, id="acme", since=1.0, by=by, reason=reason)
    assert paused(pause) == words
    cause = pause_cause(pause)
    assert (cause.kind, cause.target, cause.until) == (CauseKind.PAUSE, "session:acme", None)


def test_an_engine_pause_is_named_engine() -> None:
    assert pause_cause(Pause(scope=PauseScope.ENGINE, since=1.0)).target == "engine"
