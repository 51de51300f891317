"""What the reports print: values as text, and times as people give them."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.commands.output import columns, plain_line, result_lines
from ksi_tui.commands.usage import _as_csv, record_row, since, sums_row
from ksi_tui.engine.errors import ErrorKind, InputError
from ksi_tui.engine.models import CallRecord, Outcome
from ksi_tui.engine.store.records import UsageTotals
from ksi_tui.redaction import HIDDEN, looks_secret, redacted, secrets_of
from ksi_tui.widgets.clean import UNSAFE

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def record(**changes: Any) -> dict[str, Any]:
    values = {"request_id": "r-1", "status": "completed", "text": "hello", "error": None}
    return {**values, "latency_ms": 2_900.0, **changes}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "√ r-1  hello"),
        ({"text": "two\n\tlines "}, "√ r-1  two lines "),
        (
            {"status": "failed", "text": None, "error": {"kind": "timeout", "message": "no token"}},
            "! r-1  failed (timeout) after 2.9s: no token",
        ),
        (
            {"status": "cancelled", "text": "par", "error": {"kind": "cancelled", "message": ""}},
            "× r-1  cancelled after 2.9s  [par]",
        ),
        (
            {"status": "cancelled", "text": "", "error": None, "latency_ms": None},
            "× r-1  cancelled",
        ),
    ],
)
def test_a_readable_line(changes: dict[str, Any], line: str) -> None:
    assert plain_line(record(**changes)) == line


@given(st.text(), st.text(), st.text())
def test_no_line_ever_holds_what_drives_a_terminal(text: str, request_id: str, why: str) -> None:
    failed = {"status": "failed", "error": {"kind": "timeout", "message": why}}
    for line in (
        plain_line(record(text=text, request_id=request_id)),
        plain_line(record(text=text, request_id=request_id, **failed)),
    ):
        assert not UNSAFE.search(line)


@given(st.text())
def test_a_json_line_is_one_line_of_ascii_that_reads_back(text: str) -> None:
    line = result_lines([record(text=text)], as_json=True)
    assert line.isascii()
    assert line.count("\n") == 1
    assert json.loads(line)["text"] == text


def test_columns_line_up() -> None:
    rows = [("NAME", "COUNT", "NOTE"), ("a", "1", "x"), ("longer", "1,000", "")]
    assert columns(rows, right=frozenset({1})).splitlines() == [
        "NAME    COUNT  NOTE",
        "a           1  x",
        "longer  1,000",
    ]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("30m", datetime(2026, 11, 22, 11, 30, tzinfo=UTC)),
        ("24h", datetime(2026, 11, 21, 12, 0, tzinfo=UTC)),
        ("7d", datetime(2026, 11, 15, 12, 0, tzinfo=UTC)),
        ("1.5h", datetime(2026, 11, 22, 10, 30, tzinfo=UTC)),
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T02:30", datetime(2026, 11, 1, 2, 30, tzinfo=UTC)),
        ("2026-11-01T02:30+02:00", datetime(2026, 11, 1, 0, 30, tzinfo=UTC)),
        ("99999999d", datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_since_when(text: str, moment: datetime) -> None:
    assert since(text, NOW) == moment.timestamp()


@pytest.mark.parametrize("text", ["yesterday", "", "24", "-1h", "h", "2026-13-01"])
def test_since_what(text: str) -> None:
    with pytest.raises(InputError, match="give 30m, 24h, 7d"):
        since(text, NOW)


def test_without_since_there_is_no_bound() -> None:
    assert since(None, NOW) is None


@pytest.mark.parametrize(
    ("cost", "unpriced", "shown"),
    [(0.0, 0, 0.0), (1.5, 0, 1.5), (1.5, 4, 1.5), (0.0, 4, None)],
)
def test_a_sum_without_any_price_is_null_and_not_nothing(
    cost: float, unpriced: int, shown: float | None
) -> None:
    row = sums_row("model", "m", UsageTotals(cost=cost, unpriced=unpriced))
    assert (row["cost"], row["unpriced"]) == (shown, unpriced)


def test_waste_without_a_price_is_null() -> None:
    assert (
        sums_row(None, "all", UsageTotals(waste_tokens=5, unpriced_waste=1))["waste_cost"] is None
    )
    assert sums_row(None, "all", UsageTotals(unpriced=1))["waste_cost"] == 0


CALL = CallRecord(
    request_id="r-1",
    attempt=2,
    ordinal=1,
    provider="p",
    model="m",
    agent_id=None,
    session_id="s",
    started_at=NOW.timestamp(),
    finished_at=NOW.timestamp() + 1.25,
    outcome=Outcome.FAILED,
    error_kind=ErrorKind.TIMEOUT,
)


def test_a_call_of_which_nothing_is_known_has_no_zeros() -> None:
    row = record_row(CALL)
    assert (row["input"], row["total"], row["cost"]) == (None, None, None)
    assert (row["started_at"], row["duration_ms"]) == ("2026-11-22T12:00:00.000+00:00", 1250.0)
    assert row["error_kind"] == "timeout"


def test_csv_reads_back_and_runs_no_formula() -> None:
    rows: list[dict[str, Any]] = [
        {"key": '=HYPERLINK("x")', "n": -1.5},
        {"key": 'a "quoted", cell', "n": None},
    ]
    text = _as_csv(rows, heading=True)
    assert list(csv.reader(io.StringIO(text))) == [
        ["key", "n"],
        ['\'=HYPERLINK("x")', "-1.5"],
        ['a "quoted", cell', ""],
    ]
    assert _as_csv(rows[:1], heading=False).count("\n") == 1


# --- secrets -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("OPENAI_API_KEY", True),
        ("apiKey", True),
        ("x-api-key", True),
        ("Authorization", True),
        ("aws_secret_access_key", True),
        ("GITHUB_TOKEN", True),
        ("max_tokens", False),
        ("keymap", False),
        ("monkey", False),
        ("temperature", False),
    ],
)
def test_what_looks_secret(name: str, secret: bool) -> None:
    assert looks_secret(name) is secret


def test_only_values_that_can_be_secrets_are_searched_for() -> None:
    environ = {"A_KEY": "0123456789", "B_KEY": "short", "C": "9876543210", "D_KEY": "/etc/keys/d"}
    assert secrets_of(environ) == ("0123456789",)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("key 0123456789 refused", f"key {HIDDEN} refused"),
        ("https://me:pw@host/v1", f"https://{HIDDEN}@host/v1"),
        ("https://host/v1?key=abc&n=1", f"https://host/v1?key={HIDDEN}&n=1"),
        ("mail me@host", "mail me@host"),
    ],
)
def test_what_is_left_of_a_text(text: str, shown: str) -> None:
    assert redacted(text, ("0123456789",)) == shown
