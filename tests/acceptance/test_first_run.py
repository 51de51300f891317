"""A machine with no key, no settings and no state: the commands work and explain themselves."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import Machine

_IMPORTED = re.compile(r"^import time:.*\| +(\S+)$", re.MULTILINE)


@pytest.fixture
def from_nothing(machine: Machine) -> None:
    machine.template = None


@pytest.mark.usefixtures("from_nothing")
def test_two_prompts_are_answered_without_a_key(machine: Machine) -> None:
    ended = machine.run("run", "-", "--json", given="hello\nworld\n")
    assert ended.code == 0
    assert ended.err == ""
    assert [(r["status"], r["text"]) for r in ended.records] == [
        ("completed", "hello"),
        ("completed", "world"),
    ]
    assert set(ended.records[0]) == {
        "request_id", "session_id", "agent_id", "status", "text", "provider", "model",
        "requested_model", "attempts", "usage", "cost", "error", "queued_at", "started_at",
        "finished_at", "latency_ms", "ttft_ms",
    }  # fmt: skip
    assert set(ended.records[0]["usage"]) == {
        "input", "cache_read", "cache_write", "output", "reasoning", "estimated",
    }  # fmt: skip


def test_plain_lines_are_readable(machine: Machine) -> None:
    ended = machine.run("run", given="hello\n")
    assert ended.code == 0
    assert re.fullmatch(r"√ \S+  hello\n", ended.out)


@pytest.mark.usefixtures("from_nothing")
def test_a_run_loads_no_screen_and_no_provider_library(machine: Machine) -> None:
    machine.environ["PYTHONPROFILEIMPORTTIME"] = "1"
    ended = machine.run("run", "-", "--json", given="hello\n")
    modules = {name.partition(".")[0] for name in _IMPORTED.findall(ended.err)}
    assert ended.code == 0
    assert "ksi_tui" in modules
    assert not modules & {"textual", "litellm", "rich"}


def test_state_is_private(machine: Machine) -> None:
    machine.run("run", given="hello\n")
    folder = machine.database.parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in folder.rglob("*") if p.is_file()}
    assert "ksi.db" in modes
    assert {name: oct(mode) for name, mode in modes.items() if mode & 0o077} == {}


def test_reports_before_there_is_a_database(machine: Machine) -> None:
    assert machine.run("results").out == ""
    assert "no database yet" in machine.run("status").out
    assert json.loads(machine.run("status", "--json").out)["exists"] is False
    assert machine.run("usage", "--json").records[0]["requests"] == 0
    assert not machine.database.exists()


def test_reports_after_a_run(machine: Machine) -> None:
    ran = machine.run("run", "--json", given='a\n{"prompt": "b", "session_id": "s1"}\n')
    assert machine.run("results", "--json").out == ran.out
    assert [r["text"] for r in machine.run("results", "--session", "s1", "--json").records] == ["b"]
    assert machine.run("results", "--status", "failed", "--json").out == ""
    usage = machine.run("usage", "--by", "model", "--json").records
    assert [(row["key"], row["requests"], row["cost"]) for row in usage] == [
        ("sim/echo", 2, None),
        ("all", 2, None),
    ]
    assert "unpriced" in machine.run("usage", "--since", "24h").out
    assert len(machine.run("usage", "--records", "--csv").out.splitlines()) == 3
    status = json.loads(machine.run("status", "--json").out)
    assert (status["status_counts"]["completed"], status["unfinished"]) == (2, 0)
    assert status["owner"] is None


def test_settings_from_writing_to_showing(machine: Machine) -> None:
    assert machine.run("config", "path").out.startswith("none; the defaults apply")
    written = machine.run("config", "init")
    assert written.code == 0
    file = Path(machine.run("config", "path").out.strip())
    assert str(file) in written.out
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = machine.run("config", "init")
    assert again.code == 2
    assert "already there" in again.err
    assert machine.run("config", "check").code == 0
    assert "[engine]" in machine.run("config", "show").out
    assert machine.run("config", "init", "-").out == file.read_text(encoding="utf-8")


@pytest.mark.usefixtures("from_nothing")
def test_a_provider_without_its_key_is_said(machine: Machine) -> None:
    machine.configure(more='[[providers]]\nname = "acme"\napi_key_env = "ACME_KEY"\n')
    checked = machine.run("config", "check")
    assert checked.code == 0
    assert "ACME_KEY is not set" in checked.err


def test_wrong_settings_end_with_the_place_and_code_2(machine: Machine) -> None:
    file = machine.configure(more="[circuit]\nfail_maxx = 1\n")
    for arguments in (["run"], ["results"], ["usage"], ["status"], ["config", "check"]):
        ended = machine.run(*arguments)
        assert ended.code == 2
        assert f"{file}: circuit.fail_maxx: unknown key; allowed here: fail_max," in ended.err
        assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["run", "--nonsense"], ["usage", "--by", "planet"], ["--demo", "run"]],
)
@pytest.mark.usefixtures("from_nothing")
def test_bad_usage_is_code_2(machine: Machine, arguments: list[str]) -> None:
    ended = machine.run(*arguments)
    assert ended.code == 2
    assert "usage: ksi-tui" in ended.err
    assert ended.out == ""


@pytest.mark.usefixtures("from_nothing")
def test_the_dashboard_asks_for_a_terminal(machine: Machine) -> None:
    ended = machine.run()
    assert ended.code == 2
    assert "needs a terminal" in ended.err


@pytest.mark.usefixtures("from_nothing")
def test_help_and_version_need_nothing(machine: Machine) -> None:
    machine.configure(more="nonsense")
    assert machine.run("--version").out.startswith("ksi-tui ")
    assert "exit codes" in machine.run("--help").out


def test_a_home_that_cannot_be_written(machine: Machine) -> None:
    machine.environ["XDG_STATE_HOME"] = os.devnull
    ended = machine.run("run", given="hello\n")
    assert ended.code == 2
    assert "Traceback" not in ended.err
    assert sys.platform == "win32" or os.devnull in ended.err
