"""The command line's grammar, and that whatever happens ends in a message and a code."""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from ksi_tui import log_file, logs, paths, streams
from ksi_tui.cli import main, parser
from ksi_tui.commands.settings import as_typed
from ksi_tui.engine.errors import ConfigError, DatabaseOwned, NotADatabase


@pytest.fixture(autouse=True)
def _log_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Keep the log in this test's folder, and the process's own logging as it was."""
    monkeypatch.setattr(paths, "state_dir", lambda: tmp_path / "state")
    monkeypatch.setattr(logging, "captureWarnings", lambda capture: None)
    root = logging.getLogger()
    level, handlers, raising = root.level, list(root.handlers), logging.raiseExceptions
    yield
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    logging.raiseExceptions = raising


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], int]], None]:
    """Replace whatever command is asked for."""

    def replace(execute: Callable[[], int]) -> None:
        module = SimpleNamespace(execute=lambda options: execute())
        monkeypatch.setattr("importlib.import_module", lambda name: module)

    return replace


def raising(error: BaseException) -> Callable[[], int]:
    def execute() -> int:
        raise error

    return execute


# --- the grammar ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {"command": None, "demo": False, "config": None, "db": None}),
        (["--demo"], {"command": None, "demo": True}),
        (["run"], {"command": "run", "file": None, "resume": False, "json": False}),
        (["run", "-", "--json"], {"file": "-", "json": True}),
        (["run", "--resume"], {"file": None, "resume": True}),
        (["--db", "x.db", "run", "in"], {"db": Path("x.db"), "file": "in"}),
        (["results", "--session", "s", "--status", "failed"], {"session": "s", "status": "failed"}),
        (["usage", "--by", "day", "--since", "7d", "--csv"], {"by": "day", "csv": True}),
        (["config", "init", "-"], {"action": "init", "target": "-"}),
    ],
)
def test_what_is_understood(arguments: list[str], expected: dict[str, object]) -> None:
    options = vars(parser().parse_args(arguments))
    assert {name: options[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["walk"], "invalid choice: 'walk'"),
        (["config"], "required: ACTION"),
        (["usage", "--json", "--csv"], "not allowed with"),
        (["results", "--status", "queued"], "invalid choice: 'queued'"),
        (["--log-level", "loud", "status"], "invalid choice: 'loud'"),
        (["status", "--db", "x"], "common options stand before the command"),
        (["run", "--js"], "unrecognized arguments: --js"),
        (["--demo", "status"], "does not go with 'status'"),
    ],
)
def test_what_is_refused_is_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    told = capsys.readouterr()
    assert message in told.err
    assert told.out == ""


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    for name in ("run", "results", "usage", "status", "config", "--demo", "--resume"):
        assert name in out


def test_how_to_go_on_is_typed_with_the_same_options() -> None:
    options = argparse.Namespace(config=Path("my settings.toml"), db=Path("x.db"))
    assert as_typed(options, "run --resume") == (
        "ksi-tui --config 'my settings.toml' --db x.db run --resume"
    )
    options.litellm_config = Path("config.yaml")
    assert as_typed(options, "run").endswith("--litellm-config config.yaml --db x.db run")


# --- codes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("wrong key"), 2),
        (NotADatabase("x is none"), 2),
        (DatabaseOwned("process 7 has it"), 3),
    ],
)
def test_a_known_error_is_its_message_and_code(
    command: Callable[[Callable[[], int]], None],
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
) -> None:
    command(raising(error))
    assert main(["status"]) == code
    assert capsys.readouterr().err == f"ksi-tui: {error}\n"


def test_an_interrupt_is_code_130(command: Callable[[Callable[[], int]], None]) -> None:
    command(raising(KeyboardInterrupt()))
    assert main(["run"]) == 130


def test_a_commands_own_code_is_kept(command: Callable[[Callable[[], int]], None]) -> None:
    command(lambda: 1)
    assert main(["run"]) == 1


def test_an_unexpected_error_is_one_line_and_its_traceback_is_in_the_log(
    command: Callable[[Callable[[], int]], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "sk-value-of-the-key")
    command(raising(ZeroDivisionError("by sk-value-of-the-key")))
    assert main(["status"]) == 70
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert str(logs.path()) in told.err
    line = json.loads(logs.path().read_text(encoding="utf-8"))
    assert (line["level"], line["logger"]) == ("error", "ksi_tui.cli")
    assert "ZeroDivisionError" in line["traceback"]
    for text in (told.err, json.dumps(line)):
        assert "sk-value-of-the-key" not in text


def test_a_broken_pipe_ends_quietly(
    command: Callable[[Callable[[], int]], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    silenced: list[bool] = []
    monkeypatch.setattr(streams, "silence", lambda _: silenced.append(True))
    command(raising(BrokenPipeError()))
    assert main(["results"]) == 0
    assert capsys.readouterr().err == ""
    assert silenced == [True]


def test_what_a_broken_pipe_still_holds_changes_no_code(
    command: Callable[[Callable[[], int]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    with open(theirs, "w", encoding="utf-8") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        command(lambda: pipe.write("a line") and 130)
        assert main(["status"]) == 130


# --- the log -------------------------------------------------------------------------------


def records() -> list[dict[str, object]]:
    return [json.loads(line) for line in logs.path().read_text(encoding="utf-8").splitlines()]


def test_nothing_is_made_before_the_first_record() -> None:
    logs.start("debug")
    assert not logs.path().parent.exists()


def test_records_are_lines_of_json_that_only_the_owner_reads() -> None:
    logs.start("info")
    log = logging.getLogger("ksi_tui.somewhere")
    log.info("engine %s", "started", extra={"workers": 2, "path": Path("x")})
    log.debug("too fine")
    (record,) = records()
    assert record["event"] == "engine started"
    assert (record["workers"], record["path"]) == (2, "x")
    assert set(record) == {"at", "level", "logger", "event", "workers", "path"}
    assert stat.S_IMODE(logs.path().stat().st_mode) == 0o600
    assert stat.S_IMODE(logs.path().parent.stat().st_mode) == 0o700


def test_a_folder_and_all_that_are_missing_above_it_are_private(tmp_path: Path) -> None:
    folder = paths.private_dir(tmp_path / "a" / "b" / "c")
    modes = [each.stat().st_mode & 0o777 for each in (folder, *folder.parents[:2])]
    assert modes == [0o700] * 3


def test_the_log_rotates_and_stays_private(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_file, "_FILE_BYTES", 2_000)
    logs.start("info")
    for number in range(200):
        logging.getLogger("x").info("record %d", number)
    kept = sorted(file.name for file in logs.path().parent.iterdir())
    assert kept == ["ksi-tui.log", *(f"ksi-tui.log.{n}" for n in range(1, 5))]
    assert records()[-1]["event"] == "record 199"
    modes = {stat.S_IMODE(file.stat().st_mode) for file in logs.path().parent.iterdir()}
    assert modes == {0o600}


def test_no_secret_is_in_the_log_and_a_line_stays_json(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = 'sk-"quoted"\\and-häh'
    monkeypatch.setenv("SOME_API_KEY", secret)
    logs.start("info")
    log = logging.getLogger("x")
    log.info(
        "called https://u:pw@host/?api_key=abc", extra={"said": [secret], "o": Exception(secret)}
    )
    try:
        raise ValueError(f"refused {secret}")
    except ValueError:
        log.exception("failed", extra={"after": "kept"})
    first, second = records()
    assert first["event"] == "called https://(hidden)@host/?api_key=(hidden)"
    assert (first["said"], first["o"]) == (["(hidden)"], "(hidden)")
    assert second["after"] == "kept"
    assert "refused (hidden)" in str(second["traceback"])
    assert "quoted" not in logs.path().read_text(encoding="utf-8")


def test_a_second_start_replaces_the_first() -> None:
    logs.start("info")
    logs.start("error")
    logging.getLogger("x").warning("not wanted")
    logging.getLogger("x").error("wanted")
    assert [record["event"] for record in records()] == ["wanted"]


def test_where_no_log_can_be_written_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(paths, "state_dir", lambda: Path(os.devnull))
    logs.start("info")
    logging.getLogger("x").error("lost")
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "")


def test_a_record_that_cannot_be_rendered_is_lost_in_silence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.start("info")
    logging.getLogger("x").error("%d", "no number")
    logging.getLogger("x").error("next")
    assert capsys.readouterr().err == ""
    assert [record["event"] for record in records()] == ["next"]


def test_output_that_the_terminal_cannot_encode_is_escaped(
    command: Callable[[Callable[[], int]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    command(lambda: sys.stdout.write("√ hällo\n") and 0)
    assert main(["results"]) == 0
    assert raw.getvalue() == b"\\u221a h\\xe4llo\n"
