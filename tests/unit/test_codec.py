"""Views become plain JSON and come back; what is no view is refused and named."""

from __future__ import annotations

import json

import pytest

from ksi_tui.client import Snapshot
from ksi_tui.codec import CodecError, plain, rebuilt
from tests.ui.scripted import busy, first_start


@pytest.mark.parametrize("snapshot", [busy(), first_start()], ids=["busy", "first"])
def test_a_snapshot_comes_back_as_it_was(snapshot: Snapshot) -> None:
    through = json.loads(json.dumps(plain(snapshot)))
    assert rebuilt(Snapshot, through) == snapshot


def test_a_missing_field_takes_its_default_and_an_unknown_one_is_left_out() -> None:
    data = plain(busy())
    del data["notices"]
    data["from_a_later_version"] = 1
    assert rebuilt(Snapshot, data) == busy()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"at": "noon"}, ".at: found str"),
        ({"at": True}, ".at: found bool"),
        ({"at": 1e300}, ".at: 1e+300 is out of bounds"),
        ({"at": float("nan")}, ".at: nan is out of bounds"),
        ({"active_total": True}, ".active_total: found bool"),
        ({"active_total": 1.0}, ".active_total: found float"),
        ({"simulated_only": 1}, ".simulated_only: found int"),
        ({"tokens": {"trend": [1e300]}}, ".tokens.trend[0]: 1e+300 is out of bounds"),
        ({"verdict": {"level": "FINE", "cause": ""}}, ".verdict.level: 'FINE' is no Level"),
        ({"active": [{"request_id": 5}]}, ".active[0].request_id: found int"),
        ({"active": {}}, ".active: found dict"),
        ({"totals": {}}, "Totals"),
    ],
)
def test_a_wrong_shape_is_named(change: dict[str, object], named: str) -> None:
    with pytest.raises(CodecError, match=r".") as caught:
        rebuilt(Snapshot, plain(busy()) | change)
    assert named in str(caught.value) or named == "Totals"
