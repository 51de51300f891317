"""`ksi-tui usage`: what a person is shown and what a program is given."""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from ksi_tui import paths
from ksi_tui.commands import usage
from ksi_tui.commands.usage import mcp_line, sums_row
from ksi_tui.engine.models import Outcome, Usage
from ksi_tui.engine.store.base import CallBooked
from ksi_tui.engine.store.records import UsageTotals
from ksi_tui.engine.store.sqlite import open_store
from ksi_tui.engine.store.usage import less
from tests.engine.store_values import call


@pytest.fixture(autouse=True)
def nothing_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KSI_TUI_CONFIG", raising=False)
    monkeypatch.setattr(paths, "user_config_file", lambda: tmp_path / "none.toml")


def _printed(
    folder: Path, capsys: pytest.CaptureFixture[str], by: str | None = "session", **form: Any
) -> str:
    options = argparse.Namespace(
        config=None,
        db=folder / "ksi.db",
        by=by,
        since=None,
        records=False,
        json=form.get("json", False),
        csv=form.get("csv", False),
    )
    assert usage.execute(options) == 0
    return capsys.readouterr().out


async def _made(path: Path, *calls: Any) -> None:
    store = await open_store(path)
    await store.write(*[CallBooked(call=each) for each in calls])
    await store.aclose()


def _sessions(count: int) -> list[Any]:
    return [
        call(number, session_id=f"s-{number:02}", usage=Usage(input=number), cost=0.1)
        for number in range(1, count + 1)
    ]


def test_a_person_is_shown_the_largest_sessions_and_the_sum_of_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "SESSIONS_SHOWN", 2)
    asyncio.run(_made(tmp_path / "ksi.db", *_sessions(5)))
    shown = _printed(tmp_path, capsys)
    lines = [line.split() for line in shown.splitlines()]
    assert [line[0] for line in lines[1:5]] == ["s-05", "s-04", "others", "all"]
    assert [line[1] for line in lines[1:5]] == ["1", "1", "3", "5"]
    assert "$0.30" in shown.splitlines()[3]
    assert "the 2 sessions with most tokens" in lines_of(shown)[-1]
    assert "--json or --csv has all" in lines_of(shown)[-1]


def lines_of(text: str) -> list[str]:
    return text.splitlines()


def test_nothing_is_said_of_others_where_there_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "SESSIONS_SHOWN", 5)
    asyncio.run(_made(tmp_path / "ksi.db", *_sessions(5)))
    shown = _printed(tmp_path, capsys)
    assert [line.split()[0] for line in lines_of(shown)[1:]] == [
        *(f"s-{number:02}" for number in range(5, 0, -1)),
        "all",
    ]


def test_a_program_is_given_every_session(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "SESSIONS_SHOWN", 2)
    asyncio.run(_made(tmp_path / "ksi.db", *_sessions(5)))
    rows = [json.loads(line) for line in lines_of(_printed(tmp_path, capsys, json=True))]
    assert [row["key"] for row in rows] == [*(f"s-{number:02}" for number in range(1, 6)), "all"]
    assert len(lines_of(_printed(tmp_path, capsys, csv=True))) == 7


def test_mcp_and_savings_stand_under_the_table_and_in_the_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cached = Usage(input=1, cache_read=2_000)
    asyncio.run(
        _made(
            tmp_path / "ksi.db",
            call(1, mcp=True, tool_schema_tokens=300, usage=cached, cache_savings=0.5),
            call(2, usage=cached, cache_savings=None),
        )
    )
    assert lines_of(_printed(tmp_path, capsys, by=None))[-1] == (
        "MCP in 1 requests (50%), 300 tokens of tool schemas each;"
        " 4,000 tokens read from caches, saved ≥ $0.50 (1 unpriced)"
    )
    (row,) = [json.loads(line) for line in lines_of(_printed(tmp_path, capsys, None, json=True))]
    assert (row["mcp_requests"], row["tool_schema_tokens"]) == (1, 300)
    assert (row["cache_savings"], row["unpriced_savings"]) == (0.5, 1)


def test_without_mcp_and_caches_nothing_is_said_of_them() -> None:
    assert mcp_line(sums_row(None, "all", UsageTotals(requests=3))) == ""
    failed = UsageTotals(waste_calls=1, tool_schema_tokens=5)
    assert mcp_line(sums_row(None, "all", failed)) == ""


def test_totals_and_waste_with_calls_of_no_price_are_lower_bounds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = {"outcome": Outcome.FAILED, "started_at": 1.7e9, "finished_at": 1.7e9 + 34}
    asyncio.run(
        _made(
            tmp_path / "ksi.db",
            call(1, cost=1.0),
            call(1, cost=0.25, **failed),
            call(1, cost=None, **failed),
        )
    )
    line = lines_of(_printed(tmp_path, capsys, by=None))[1]
    assert "≥ $1.25 (1 unpriced)" in line
    assert line.endswith("60 tok, ≥ $0.25 (1 unpriced), 1m08s")


def test_what_is_left_of_sums_is_exact_and_without_dust() -> None:
    parts = [UsageTotals(usage=Usage(input=3), calls=1, cost=0.1) for _ in range(3)]
    whole = UsageTotals(usage=Usage(input=9), calls=3, cost=0.1 + 0.1 + 0.1)
    assert less(whole, parts) == UsageTotals()
    assert less(whole, parts[:2]) == UsageTotals(usage=Usage(input=3), calls=1, cost=0.1)
