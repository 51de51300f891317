"""What every command owes the process it runs in, and secrets that begin alike."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ksi_tui import paths
from ksi_tui.cli import _calm_the_collector
from ksi_tui.commands import results, run
from ksi_tui.commands.config import _init, unset_keys
from ksi_tui.commands.database import reading
from ksi_tui.commands.output import say
from ksi_tui.commands.request_lines import BadLine, RequestLine
from ksi_tui.commands.usage import _form, _sum_cells, _sums, sums_row
from ksi_tui.config import Config
from ksi_tui.engine.errors import StoreUnavailable
from ksi_tui.engine.models import Usage
from ksi_tui.engine.store.base import Reader
from ksi_tui.engine.store.records import UsageQuery, UsageTotals
from ksi_tui.engine.store.sqlite import open_store
from ksi_tui.exits import BAD_USAGE, INTERRUPTED, OK
from ksi_tui.redaction import HIDDEN, redacted, redacted_data, secrets_of
from tests.engine.store_values import accepted, finished, started


def test_only_the_dashboard_puts_the_collector_off_until_its_first_frame() -> None:
    _calm_the_collector(before_a_screen=False)
    assert gc.isenabled()
    _calm_the_collector(before_a_screen=True)
    assert not gc.isenabled()


def test_of_two_secrets_that_begin_alike_nothing_is_left() -> None:
    secrets = secrets_of({"A_KEY": "0123456789", "B_KEY": "0123456789-and-more"})
    assert redacted("refused: 0123456789-and-more", secrets) == f"refused: {HIDDEN}"


def test_numbers_are_no_secrets_whatever_their_name() -> None:
    data = {"token": 5, "key": True, "auth": None, "secret": "hunter2", "keys": ["a"]}
    shown = redacted_data(data, ())
    assert shown == {"token": 5, "key": True, "auth": None, "secret": HIDDEN, "keys": HIDDEN}


def test_a_key_that_is_not_set_is_warned_of_by_provider_and_variable() -> None:
    keyed = {"name": "a", "kind": "litellm", "models": ["m"], "api_key_env": "A_KEY"}
    keyless = {"name": "b", "kind": "litellm", "models": ["m"], "api_base": "http://127.0.0.1:9"}
    config = Config.model_validate({"providers": [keyed, keyless]})
    (warned,) = unset_keys(config, {"A_KEY": ""})
    assert "'a'" in warned
    assert "A_KEY is not set" in warned
    assert list(unset_keys(config, {"A_KEY": "0123456789"})) == []


def test_an_example_in_a_place_of_its_own_says_how_it_applies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    users = tmp_path / "config" / "ksi-tui.toml"
    monkeypatch.setattr(paths, "user_config_file", lambda: users)
    monkeypatch.delenv("KSI_TUI_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    _init(None, None)
    told = capsys.readouterr()
    assert (told.out, told.err) == (f"wrote {users}\n", "")
    other = tmp_path / "other.toml"
    _init(str(other), None)
    assert f"--config {other}" in capsys.readouterr().err


def test_what_is_said_cannot_act_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say("no session \x1b]52;c;aGk=\x07\u202e")
    assert capsys.readouterr().err == "ksi-tui: no session ]52;c;aGk=\n"


async def test_a_report_lets_go_of_the_database(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "ksi.db")
    await store.aclose()
    config = Config.model_validate({"engine": {"database": str(tmp_path / "ksi.db")}})
    options = cast(Any, SimpleNamespace(db=None))
    async with reading(options, config) as reader:
        assert reader is not None
        assert sum((await reader.counts()).values()) == 0
    try:
        with pytest.raises(StoreUnavailable):
            await reader.counts()
    finally:
        await reader.aclose()


async def _made(path: Path, requests: int) -> None:
    """Make a database of so many finished requests."""
    store = await open_store(path)
    for number in range(1, requests + 1):
        await store.write(accepted(number), started(number), finished(number, number))
    await store.aclose()


def test_results_go_on_over_the_pages_in_which_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KSI_TUI_CONFIG", raising=False)
    monkeypatch.setattr(paths, "user_config_file", lambda: tmp_path / "none.toml")
    monkeypatch.setattr(results, "_PAGE", 2)
    asyncio.run(_made(tmp_path / "ksi.db", 5))
    options = argparse.Namespace(
        config=None, db=tmp_path / "ksi.db", session=None, status=None, json=True
    )
    assert results.execute(options) == 0
    printed = [json.loads(each) for each in capsys.readouterr().out.splitlines()]
    assert [record["request_id"] for record in printed] == [f"r-{n}" for n in range(1, 6)]


def test_a_sum_with_estimates_in_it_carries_a_sign() -> None:
    counted = UsageTotals(usage=Usage(input=1_000, output=234), requests=2, calls=2)
    assert _sum_cells(sums_row("model", "m", counted))["TOTAL"] == "1,234"
    guessed = replace(counted, estimated=1)
    assert _sum_cells(sums_row("model", "m", guessed))["TOTAL"] == "~1,234"


@pytest.mark.parametrize(("csv", "heading"), [(True, "by,key,"), (False, "MODEL")])
def test_only_the_first_page_has_a_heading(csv: bool, heading: str) -> None:
    options = argparse.Namespace(json=False, csv=csv)
    form = _form(options, _sum_cells, frozenset())
    first, second = (form([sums_row("model", name, UsageTotals())]) for name in ("m1", "m2"))
    assert first.startswith(heading)
    assert heading not in second
    assert "m2" in second


class Sums:
    """A reader that knows 3 requests, 1 of them of lately."""

    async def usage(self, query: UsageQuery) -> Sequence[tuple[str, UsageTotals]]:
        totals = UsageTotals(requests=3 if query.since is None else 1)
        return [("m" if query.by else "", totals)]


async def test_the_sum_under_the_groups_is_of_the_same_time() -> None:
    rows = await _sums(cast(Reader, Sums()), UsageQuery(by="model", since=5.0), for_eyes=True)
    assert [(row["key"], row["requests"]) for row in rows] == [("m", 1), ("all", 1)]


@pytest.mark.parametrize(("lived", "code"), [(INTERRUPTED, INTERRUPTED), (OK, BAD_USAGE)])
def test_a_bad_line_is_the_exit_code_unless_the_run_was_interrupted(
    lived: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def live(*_: object) -> int:
        return lived

    monkeypatch.setattr(run._Life, "live", live)
    lines: list[RequestLine | BadLine] = [
        RequestLine(number=1, data={}, key="k"),
        BadLine(number=2, reason="no JSON"),
    ]
    options = argparse.Namespace(resume=False, json=True, file="-", config=None, db=None)
    config = Config.model_validate({"providers": [{"kind": "simulated", "name": "s"}]})
    assert run._run_lines(options, config, iter(lines)) == code
