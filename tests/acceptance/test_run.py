"""`run` in all its endings: exit codes, bad input, databases that cannot serve, readers."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
from pathlib import Path

import pytest

from tests.acceptance.conftest import Machine, lines_of

HANG = {"prompt": "never", "model": "sim/hang"}


def test_a_failed_request_is_code_1_and_says_why(machine: Machine) -> None:
    machine.configure()
    ended = machine.run(
        "run", "--json", given='good\n{"prompt": "bad", "model": "sim/down", "max_attempts": 2}\n'
    )
    assert ended.code == 1
    failed = next(record for record in ended.records if record["status"] == "failed")
    assert failed["attempts"] == 2
    assert failed["error"]["kind"] == "provider_error"
    assert failed["text"] in (None, "")


def test_bad_lines_are_named_and_the_others_run(machine: Machine) -> None:
    (machine.home / "in").write_bytes(
        b'good one\n\n{"prompt": \n{"promt": "x"}\n{"prompt": "x", "model": "no-such"}\n'
        b'caf\xe9\n{"prompt": "x", "priority": "urgent"}\n[1]\n{"prompt": "last"}\n'
    )
    ended = machine.run("run", "in", "--json")
    assert ended.code == 2
    assert {record["text"] for record in ended.records} == {"good one", "[1]", "last"}
    complaints = ended.err.splitlines()
    numbers = [int(line.partition("line ")[2].partition(":")[0]) for line in complaints]
    assert sorted(numbers) == [3, 4, 5, 6, 7]
    told = dict(zip(numbers, complaints, strict=True))
    assert "not a JSON object" in told[3]
    assert "unknown key 'promt'; allowed: prompt, system, messages," in told[4]
    assert "no provider serves the model 'no-such'; configured are: sim/*" in told[5]
    assert "not UTF-8" in told[6]
    assert "'low' or 'background'; found 'urgent'" in told[7]


def test_an_old_answer_is_none_to_another_prompt(machine: Machine) -> None:
    first = [{"request_id": "1", "prompt": "one"}, {"request_id": "2", "prompt": "two"}]
    second = [
        {"request_id": "1", "prompt": "uno"},
        first[1],
        {"request_id": "3", "prompt": "three"},
    ]
    assert machine.run("run", machine.file("first", first), "--json").code == 0
    for more in ([], ["--resume"]):
        ended = machine.run("run", machine.file("second", second), "--json", *more)
        assert ended.code == 2
        assert sorted(record["text"] for record in ended.records) == ["three", "two"]
        assert ended.err == (
            "ksi-tui: line 1: the request_id '1' is that of another request, with other prompt;"
            " give this line one of its own, or none\n"
        )
    again = machine.run("run", "first", "--json")
    assert (again.code, again.err) == (0, "")
    assert sorted(record["text"] for record in again.records) == ["one", "two"]


def test_two_requests_of_one_input_under_one_id(machine: Machine) -> None:
    lines = [{"request_id": "x", "prompt": prompt} for prompt in ("one", "two", "one")]
    ended = machine.run("run", machine.file("in", lines), "--json")
    assert ended.code == 2
    assert [record["text"] for record in ended.records] == ["one"]
    assert "line 2: the request_id 'x' is that of another request" in ended.err
    assert len(ended.err.splitlines()) == 1


def test_bad_lines_outweigh_failures(machine: Machine) -> None:
    machine.configure()
    given = '{"prompt": "bad", "model": "sim/down", "max_attempts": 1}\n{nonsense\n'
    assert machine.run("run", given=given).code == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read .*No such file"),
        ("folder", "cannot read .*Is a directory"),
        (b"\x7fELF\x00\x01\x02", "is binary, not text"),
        ("hällo\n".encode("utf-16"), "is UTF-16 text"),
    ],
)
def test_input_that_is_none(machine: Machine, content: bytes | str | None, message: str) -> None:
    path = machine.home / "input"
    if content == "folder":
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    ended = machine.run("run", path)
    assert ended.code == 2
    assert str(path) in ended.err
    assert len(ended.err.splitlines()) == 1
    assert re.search(message, ended.err)
    assert not machine.database.exists()


def test_empty_input_is_no_fault(machine: Machine) -> None:
    ended = machine.run("run", given="\n\r\n")
    assert (ended.code, ended.out) == (0, "")
    assert "no requests" in ended.err


def test_windows_line_ends_and_a_byte_order_mark(machine: Machine) -> None:
    file = machine.home / "in.txt"
    file.write_bytes(b'\xef\xbb\xbf{"prompt": "one"}\r\ntwo\r\n')
    ended = machine.run("run", file, "--json")
    assert ended.code == 0
    assert [record["text"] for record in ended.records] == ["one", "two"]


def test_plain_output_cannot_drive_a_terminal(machine: Machine) -> None:
    hostile = "a\x1b]52;c;aGk=\x07b\x1b[2Jc\u202ed\x9b31me"
    given = json.dumps({"prompt": hostile}) + "\n"
    plain = machine.run("run", given=given)
    assert plain.code == 0
    assert not set(plain.out) & {"\x1b", "\x07", "\u202e", "\x9b"}
    assert machine.run("results", "--json").records[0]["text"] == hostile


# --- more than fits ------------------------------------------------------------------------


def test_over_the_depth_it_waits(machine: Machine) -> None:
    machine.configure(engine="max_queue_depth = 7\nmax_session_depth = 2")
    requests = [{"prompt": str(n), "session_id": f"s{n % 3}"} for n in range(50)]
    ended = machine.run("run", machine.file("many.jsonl", requests), "--json")
    assert ended.code == 0
    assert ended.err == ""
    for session in ("s0", "s1", "s2"):
        texts = [int(r["text"]) for r in ended.records if r["session_id"] == session]
        assert texts == [n for n in range(50) if n % 3 == int(session[1])]


# --- databases -----------------------------------------------------------------------------


def test_a_second_engine_is_code_3_and_says_who_has_it(machine: Machine) -> None:
    first = machine.start("run", machine.file("in", ["quick", HANG]), "--json")
    assert first.stdout is not None
    assert lines_of(first.stdout, 1)
    second = machine.run("run", given="hello\n")
    assert second.code == 3
    assert str(first.pid) in second.err
    status = json.loads(machine.run("status", "--json").out)
    assert str(first.pid) in status["owner"]
    assert status["unfinished"] == 1
    assert [r["text"] for r in machine.run("results", "--json").records] == ["quick"]
    assert machine.run("usage", "--json").records[0]["requests"] == 1
    os.kill(first.pid, signal.SIGKILL)
    first.wait(60)
    assert json.loads(machine.run("status", "--json").out)["owner"] is None


@pytest.mark.parametrize("command", [["run"], ["results"], ["usage"], ["status"]])
def test_a_foreign_file_is_refused_untouched(machine: Machine, command: list[str]) -> None:
    path = machine.home / "notes.txt"
    path.write_text("dear diary, " * 100, encoding="utf-8")
    before = path.read_bytes()
    ended = machine.run("--db", path, *command, given="hello\n")
    assert ended.code == 2
    assert str(path) in ended.err
    assert "Traceback" not in ended.err
    assert path.read_bytes() == before


@pytest.mark.parametrize("command", [["run"], ["results"], ["usage"], ["status"]])
def test_a_newer_database_is_refused_untouched(machine: Machine, command: list[str]) -> None:
    path = machine.home / "future.db"
    machine.run("--db", path, "run", given="hello\n")
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 9999")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    before = path.read_bytes()
    ended = machine.run("--db", path, *command, given="hello\n")
    assert ended.code == 2
    assert "later version" in ended.err
    assert path.read_bytes() == before


def test_a_place_that_cannot_be_written(machine: Machine) -> None:
    path = Path(os.devnull) / "ksi.db"
    ended = machine.run("--db", path, "run", given="hello\n")
    assert ended.code == 2
    assert str(path.parent) in ended.err
    assert "Traceback" not in ended.err


def test_reports_of_a_named_database_that_is_missing(machine: Machine) -> None:
    ended = machine.run("--db", "absent.db", "results")
    assert ended.code == 2
    assert "there is no database absent.db" in ended.err
    assert not (machine.home / "absent.db").exists()


# --- pipes ---------------------------------------------------------------------------------


def test_a_reader_that_goes_away_ends_it_quietly(machine: Machine) -> None:
    requests = [{"prompt": "x" * 2000, "model": "sim/slow"} for _ in range(200)]
    process = machine.start("run", machine.file("in", requests), "--json")
    assert process.stdout is not None
    assert process.stderr is not None
    assert lines_of(process.stdout, 1)
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait(60) == 130
    assert "Traceback" not in err
    assert "BrokenPipe" not in err
    assert "run --resume" in err


def test_results_into_a_closed_pipe(machine: Machine) -> None:
    requests = [{"prompt": "x" * 2000} for _ in range(200)]
    assert machine.run("run", machine.file("in", requests)).code == 0
    process = machine.start("results", "--json")
    assert process.stdout is not None
    assert process.stderr is not None
    assert lines_of(process.stdout, 1)
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(60) == 0
