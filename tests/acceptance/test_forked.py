"""A command that was forked is, for whoever started it, as one that started from nothing."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import replace

import pytest

from tests.acceptance.conftest import BOUND_S, Machine, lines_of

HANGS = ["quick", '{"prompt": "never", "model": "sim/hang"}']


@pytest.fixture(autouse=True)
def _forks(machine: Machine) -> None:
    if machine.template is None:
        pytest.skip("nothing is forked on this system: Linux would un-skip it")


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (["--version"], None),
        (["nonsense"], None),
        (["status", "--json"], None),
        (["run", "--json"], "{\n"),
        (["config", "show"], None),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_it_says_and_returns_the_same(
    machine: Machine, words: list[str], given: str | None
) -> None:
    machine.configure()
    plain = replace(machine, template=None, started=[])
    assert machine.run(*words, given=given) == plain.run(*words, given=given)


def test_it_is_waited_for_and_its_signals_are_told(machine: Machine) -> None:
    process = machine.start("run", machine.file("in", HANGS), "--json", start_new_session=True)
    assert process.stdout is not None
    assert lines_of(process.stdout, 1)
    assert os.getsid(process.pid) == process.pid
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.kill()
    assert process.wait(BOUND_S) == -signal.SIGKILL
    assert process.poll() == -signal.SIGKILL


def test_it_has_the_environment_that_it_is_given_and_no_other(machine: Machine) -> None:
    machine.environ["OPENAI_API_KEY"] = "sk-of-this-test-only"
    assert "openai" in machine.run("config", "check").out
    del machine.environ["OPENAI_API_KEY"]
    assert "openai" not in machine.run("config", "check").out
