"""Signals and kill -9: nothing accepted is lost, nothing is answered twice, sessions keep order."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from tests.acceptance.conftest import BOUND_S, Ended, Machine, lines_of

HANG = {"prompt": "never", "model": "sim/hang"}


def slow_requests(count: int, sessions: int) -> list[dict[str, Any]]:
    """Return requests of 100 ms each, numbered in the order in which their sessions must answer."""
    return [
        {"prompt": str(n), "model": "sim/slow", "session_id": f"s{n % sessions}", "history": "none"}
        for n in range(count)
    ]


def assert_each_once_and_in_order(records: Iterable[Mapping[str, Any]], count: int) -> None:
    by_session: dict[str, list[int]] = defaultdict(list)
    for record in records:
        assert record["status"] == "completed", record
        by_session[record["session_id"]].append(int(record["text"]))
    assert sorted(n for numbers in by_session.values() for n in numbers) == list(range(count))
    for session, numbers in by_session.items():
        assert numbers == sorted(numbers), session


def until(process: subprocess.Popen[str], lines: int) -> list[dict[str, Any]]:
    """Return the first finished requests that the process prints."""
    assert process.stdout is not None
    found = [json.loads(line) for line in lines_of(process.stdout, lines)]
    assert len(found) == lines
    return found


def ended(process: subprocess.Popen[str]) -> Ended:
    """Wait for the end of a process whose output was read in part."""
    assert process.stdout is not None
    assert process.stderr is not None
    out, err = process.stdout.read(), process.stderr.read()
    return Ended(code=process.wait(BOUND_S), out=out, err=err)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains_and_resume_finishes(machine: Machine, number: signal.Signals) -> None:
    process = machine.start("run", machine.file("in", slow_requests(120, 6)), "--json")
    before = until(process, 6)
    process.send_signal(number)
    rest = ended(process)
    assert rest.code == 130
    printed = before + rest.records
    left = 120 - len(printed)
    assert rest.err.splitlines() == [
        f"ksi-tui: interrupted: {left} of 120 not finished; go on with: ksi-tui run --resume"
    ]
    assert json.loads(machine.run("status", "--json").out)["unfinished"] == left
    assert machine.run("results", "--json").records == printed

    resumed = machine.run("run", "--resume", "--json")
    assert resumed.code == 0
    assert_each_once_and_in_order(printed + resumed.records, 120)


def test_what_hangs_is_interrupted_after_the_grace_and_stays(machine: Machine) -> None:
    machine.configure(grace_s=0.1)
    process = machine.start("run", machine.file("in", ["quick", HANG]), "--json")
    assert until(process, 1)[0]["text"] == "quick"
    process.send_signal(signal.SIGINT)
    rest = ended(process)
    assert (rest.code, rest.out) == (130, "")
    assert "1 of 2 not finished" in rest.err
    assert json.loads(machine.run("status", "--json").out)["unfinished"] == 1


def test_a_second_signal_ends_it_at_once(machine: Machine) -> None:
    machine.configure(grace_s=3600)
    control, terminal = pty.openpty()
    process = machine.start("run", machine.file("in", ["quick", HANG]), "--json", stderr=terminal)
    os.close(terminal)
    until(process, 1)
    process.send_signal(signal.SIGINT)
    seen = b""
    while b"again to stop at once" not in seen:
        seen += os.read(control, 4096)
    process.send_signal(signal.SIGINT)
    assert process.wait(BOUND_S) == 130
    while b"run --resume" not in seen:
        seen += os.read(control, 4096)
    os.close(control)
    assert json.loads(machine.run("status", "--json").out)["unfinished"] == 1


def test_kill_9_three_times_loses_and_doubles_nothing(machine: Machine) -> None:
    file = machine.file("in", slow_requests(300, 20))
    printed: list[dict[str, Any]] = []
    arguments: list[object] = ["run", file, "--json"]
    for progress in (25, 40, 55):
        process = machine.start(*arguments)
        printed += until(process, progress)
        os.kill(process.pid, signal.SIGKILL)
        printed += [
            json.loads(line) for line in ended(process).out.splitlines() if line[-1:] == "}"
        ]
        arguments = ["run", "--resume", "--json"]
    last = machine.run(*arguments)
    assert last.code == 0
    printed += last.records
    assert len({record["request_id"] for record in printed}) == len(printed)
    stored = machine.run("results", "--json").records
    assert_each_once_and_in_order(stored, 300)
    assert {record["request_id"]: record for record in printed}.items() <= {
        record["request_id"]: record for record in stored
    }.items()
    # Each result is in its session's file, once, in the order in which it came.
    in_files: dict[str, list[str]] = {}
    for path in (machine.home / "state" / "ksi-tui" / "responses").iterdir():
        of_file = [json.loads(line)["ksi"] for line in path.read_text().splitlines()]
        (session_id,) = {each["session_id"] for each in of_file}
        in_files[session_id] = [each["request_id"] for each in of_file]
    expected: dict[str, list[str]] = defaultdict(list)
    for record in stored:
        expected[record["session_id"]].append(record["request_id"])
    assert in_files == expected


def test_resume_with_nothing_left(machine: Machine) -> None:
    machine.run("run", given="hello\n")
    resumed = machine.run("run", "--resume", "--json")
    assert (resumed.code, resumed.out) == (0, "")
    assert "nothing was unfinished" in resumed.err


def test_a_run_leaves_what_others_left_unfinished(machine: Machine) -> None:
    machine.configure(grace_s=0)
    process = machine.start("run", machine.file("in", ["quick", HANG]), "--json")
    until(process, 1)
    process.send_signal(signal.SIGTERM)
    assert ended(process).code == 130
    other = machine.run("run", "--json", given="hello\n")
    assert other.code == 0
    assert [record["text"] for record in other.records] == ["hello"]
    assert json.loads(machine.run("status", "--json").out)["unfinished"] == 1


def test_a_file_goes_on_where_it_was(machine: Machine) -> None:
    requests = [*slow_requests(20, 4), {"prompt": "20", "session_id": "s9", "request_id": "mine"}]
    file = machine.file("in", requests)
    process = machine.start("run", file, "--json")
    first = until(process, 4)
    os.kill(process.pid, signal.SIGKILL)
    ended(process)

    again = machine.run("run", file, "--resume", "--json")
    assert again.code == 0
    assert_each_once_and_in_order(again.records, 21)
    assert {record["request_id"] for record in first} <= {r["request_id"] for r in again.records}

    calls = machine.run("usage", "--json").records[0]["calls"]
    once_more = machine.run("run", file, "--resume", "--json")
    assert sorted(once_more.out.splitlines()) == sorted(again.out.splitlines())
    assert machine.run("usage", "--json").records[0]["calls"] == calls


def test_an_input_that_did_not_fit_is_given_again(machine: Machine) -> None:
    file = machine.file("in", slow_requests(80, 4))
    machine.configure(engine="max_queue_depth = 8")
    process = machine.start("run", file, "--json")
    until(process, 4)
    process.send_signal(signal.SIGTERM)
    rest = ended(process)
    assert rest.code == 130
    assert f"not all on disk, so give it again: ksi-tui run {file} --resume" in rest.err
    again = machine.run("run", file, "--resume", "--json")
    assert again.code == 0
    assert_each_once_and_in_order(machine.run("results", "--json").records, 80)
    assert len(again.records) == 80


def test_a_pipe_that_stays_open_holds_up_neither_its_lines_nor_the_end(machine: Machine) -> None:
    machine.configure(engine="max_queue_depth = 2")
    process = machine.start("run", "-", "--json", stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write("one\ntwo\nthree\n")
    process.stdin.flush()
    assert [record["text"] for record in until(process, 3)] == ["one", "two", "three"]
    process.stdin.write("four\nhalf of the fi")
    process.stdin.flush()
    assert [record["text"] for record in until(process, 1)] == ["four"]
    process.send_signal(signal.SIGTERM)
    rest = ended(process)
    assert (rest.code, rest.out) == (130, "")
    assert "interrupted: 0 of 4 not finished; the input is not all on disk" in rest.err
    assert len(rest.err.splitlines()) == 1


def test_a_file_without_resume_runs_anew(machine: Machine) -> None:
    file = machine.file("in", ["hello", '{"prompt": "mine", "request_id": "mine"}'])
    first = machine.run("run", file, "--json").records
    second = machine.run("run", file, "--json").records
    assert [record["text"] for record in second] == ["mine", "hello"]
    assert {r["request_id"] for r in first} & {r["request_id"] for r in second} == {"mine"}
    third = machine.run("run", file, "--resume", "--json").records
    assert {r["request_id"] for r in third} == {r["request_id"] for r in second}


def test_progress_is_shown_where_stderr_is_a_terminal(machine: Machine) -> None:
    control, terminal = pty.openpty()
    file = machine.file("in", slow_requests(8, 2))
    process = machine.start("run", file, "--json", stderr=terminal)
    os.close(terminal)
    seen = b""
    while b"8 completed" not in seen:
        seen += os.read(control, 4096)
    os.close(control)
    assert process.stdout is not None
    assert len(process.stdout.read().splitlines()) == 8
    assert process.wait(BOUND_S) == 0
    assert b"/8" in seen


def test_reports_are_given_while_an_engine_runs(machine: Machine) -> None:
    requests = [{"prompt": "quick", "model": "sim/echo"}, HANG]
    machine.configure(grace_s=0)
    process = machine.start("run", machine.file("in", requests), "--json")
    (printed,) = until(process, 1)
    assert machine.run("results", "--json").records == [printed]
    assert machine.run("usage", "--by", "model", "--json").records[0]["key"] == "sim/echo"
    status = json.loads(machine.run("status", "--json").out)
    assert status["status_counts"]["completed"] == 1
    assert status["unfinished"] == 1
    assert str(process.pid) in json.dumps(status["owner"])
    process.send_signal(signal.SIGTERM)
    assert ended(process).code == 130
