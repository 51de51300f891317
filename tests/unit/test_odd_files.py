"""Files of every odd kind, in each place where a file is named: one line, code 2, no hang."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ksi_tui import cli, logs, paths
from ksi_tui.access.tokens import TokenFault, Tokens
from ksi_tui.config import load_config
from ksi_tui.engine.errors import ConfigError
from ksi_tui.engine.store.ownership import owner_of
from ksi_tui.named_file import MOST_BYTES, read_text
from ksi_tui.past_prompts import PastPrompt, PastPrompts
from ksi_tui.saved_filters import FilterBook

LONG = "x" * 300
Make = Callable[[Path], object]


def sparse(file: Path) -> None:
    """Make a file of a gigabyte that takes no room."""
    file.touch()
    os.truncate(file, 2**30)


def a_socket(file: Path) -> None:
    """Leave a socket that nobody listens at, by a path short enough for one."""
    with socket.socket(socket.AF_UNIX) as left:
        folder = os.open(file.parent, os.O_RDONLY)
        left.bind(f"/proc/self/fd/{folder}/{file.name}")
        os.close(folder)


ODD: dict[str, Make] = {
    "folder": lambda file: file.mkdir(),
    "pipe": os.mkfifo,
    "circle": lambda file: file.symlink_to(file.name),
    "gigabyte": sparse,
    "bytes": lambda file: file.write_bytes(b"\xff\xfe\x00no text"),
    "zeros": lambda file: file.symlink_to("/dev/zero"),
    "nothing": lambda file: file.symlink_to("/dev/null"),
    "socket": a_socket,
}
USES = {
    "settings": ["--config", "{}", "config", "check"],
    "litellm": ["--litellm-config", "{}", "config", "check"],
    "status": ["--db", "{}", "status"],
    "run": ["--db", "{}", "run", "requests"],
    "bundle": ["open", "{}"],
    "tokens": ["token", "list", "--tokens", "{}"],
    "new token": ["token", "new", "--role", "view", "--tokens", "{}"],
    "init": ["config", "init", "{}"],
}


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    on_sigterm = signal.getsignal(signal.SIGTERM)
    monkeypatch.delenv("KSI_TUI_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logs, "start", lambda _: None)
    monkeypatch.setattr(paths, "user_config_file", lambda: tmp_path / "user.toml")
    (tmp_path / "requests").write_text("hello\n")
    yield
    signal.signal(signal.SIGTERM, on_sigterm)


def refusal(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """Return the one line that a command says before it ends with code 2."""
    assert cli.main(arguments) == 2, capsys.readouterr()
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert len(line) < 1_000
    return line.removeprefix("ksi-tui: ")


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("odd", ODD)
def test_an_odd_file_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], odd: str, use: str
) -> None:
    file = tmp_path / "odd"
    ODD[odd](file)
    before = {path.name for path in tmp_path.iterdir()}
    line = refusal(capsys, [word.format(file) for word in USES[use]])
    assert "odd" in line
    made = {path.name for path in tmp_path.iterdir()} - before
    assert made <= {"odd.lock"}, "and nothing is left beside it but a lock"
    if odd in ("pipe", "zeros", "nothing", "socket", "folder"):
        assert use == "new token" or not made, "not even that beside a device"


@pytest.mark.parametrize("odd", [odd for odd in ODD if odd != "folder"])
def test_what_is_no_folder_takes_no_responses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], odd: str
) -> None:
    """Else every answer would wait in the database for its file, and nobody would be told."""
    ODD[odd](tmp_path / "odd")
    (tmp_path / "ksi-tui.toml").write_text(f'[engine]\nresponses_dir = "{tmp_path}/odd"\n')
    line = refusal(capsys, ["--db", "ksi.db", "run", "requests"])
    assert f"{tmp_path}/odd is no folder; move it away" in line
    assert not (tmp_path / "ksi.db").exists()


@pytest.mark.parametrize("odd", [odd for odd in ODD if odd not in ("pipe", "nothing")])
def test_an_odd_file_holds_no_requests(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], odd: str
) -> None:
    """A pipe may: whoever names one writes to it."""
    ODD[odd](tmp_path / "odd")
    assert "odd" in refusal(capsys, ["--db", "ksi.db", "run", "odd"])
    assert not (tmp_path / "ksi.db").exists()


@pytest.mark.parametrize("command", ["attach", "web"])
@pytest.mark.parametrize("odd", ODD)
def test_where_an_odd_file_stands_no_engine_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], odd: str, command: str
) -> None:
    ODD[odd](tmp_path / "odd.sock")
    assert "no engine answers at" in refusal(capsys, [command, "odd"])
    assert "no engine answers at" in refusal(capsys, [command, "odd.sock"])


@pytest.mark.parametrize("odd", ODD)
def test_what_the_dashboard_keeps_is_not_waited_for(tmp_path: Path, odd: str) -> None:
    for name in ("prompts.jsonl", "filters.json", "filters.new"):
        ODD[odd](tmp_path / name)
    past = PastPrompts(tmp_path / "prompts.jsonl")
    past.load()
    assert past.kept == ()
    if odd not in ("bytes", "gigabyte"):
        with pytest.raises(OSError, match="prompts"):
            past.add(PastPrompt(prompt="x"))
    filters = FilterBook(tmp_path / "filters.json")
    assert filters.saved == {}
    told = filters.save("mine", "status:failed")
    if odd != "bytes":  # what is a plain file is replaced
        assert told is None or told.startswith("not kept for next time: ")


def test_a_kept_filter_that_is_nested_without_end_is_none(tmp_path: Path) -> None:
    (tmp_path / "filters.json").write_text("[" * 200_000)
    assert FilterBook(tmp_path / "filters.json").saved == {}


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_note_beside_a_database_names_no_owner(tmp_path: Path, odd: str) -> None:
    ODD[odd](tmp_path / "ksi.db.lock")
    assert owner_of(tmp_path / "ksi.db") is None


@pytest.mark.parametrize("use", [use for use in USES if use != "tokens"])
def test_a_name_that_is_too_long_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], use: str
) -> None:
    line = refusal(capsys, [word.format(LONG) for word in USES[use]])
    assert LONG in line


def test_a_folder_that_may_not_be_entered_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Told by the system: whoever runs the tests may enter everything."""

    def denied(_: Path, **__: object) -> os.stat_result:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", denied)
    line = refusal(capsys, ["--config", "kept/ksi-tui.toml", "config", "check"])
    assert line == "kept/ksi-tui.toml: cannot be read: Permission denied"


def test_a_listener_does_not_wait_for_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TokenFault, match="no plain file"):
        Tokens(tmp_path / "pipe")


def test_the_largest_settings_file(tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_text("é\r\n" + "#" * (MOST_BYTES - 4))
    assert read_text(file).startswith("é\n#")
    file.write_bytes(b"#" * (MOST_BYTES + 1))
    with pytest.raises(ConfigError, match=r"holds more than 1,000,000 bytes"):
        read_text(file)


# --- what stands in them ---------------------------------------------------------------------

ALIASES = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{here}: &{here} [{', '.join([f'*{above}'] * 9)}]\n"
    for above, here in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGED = "a: &a {k0: 1}\n" + "".join(
    f"{here}: &{here} {{<<: [{', '.join([f'*{above}'] * 9)}]}}\n"
    for above, here in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"a = {'[' * 100_000}{']' * 100_000}", "nested too deep: 100 levels at most"),
        (f"a = {'[' * 120}{']' * 120}", "nested too deep: 100 levels at most"),
        (f"a = {'{b=' * 150}1{'}' * 150}", "nested too deep: 100 levels at most"),
        (".".join(["a"] * 400_000) + " = 1", "nested too deep: 100 levels at most"),
        ("['a'" + ' . "b"' * 5_000 + "]", "nested too deep: 100 levels at most"),
        (f"a = {'9' * 5_000}", "not valid TOML: Exceeds the limit"),
        ("a = 2000-99-99", "not valid TOML"),
        ('[engine]\ndatabase = "a\\u0000b"', "engine.database: a NUL stands in it"),
        ('[engine]\nresponses_dir = "a\\u0000b"', "engine.responses_dir: a NUL stands in it"),
        ('[engine]\nlitellm_config = "a\\u0000b"', "a NUL stands in it"),
        ('[engine]\ndatabase = ""', "it is empty; leave it out for the default"),
        (
            '[[providers]]\nname = "s"\nkind = "simulated"\nparams = { delay_ms = -1 }',
            "provider s: params: delay_ms is a number of at least 0",
        ),
        (f'[engine]\nworkers = "{"x" * 200_000}"', "engine.workers: "),
    ],
)
def test_settings_that_would_take_for_ever(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, told: str
) -> None:
    (tmp_path / "ksi-tui.toml").write_text(text)
    assert told in refusal(capsys, ["config", "check"])


def test_of_very_many_faults_the_first_are_told(tmp_path: Path) -> None:
    keys = "".join(f"k{number} = 1\n" for number in range(2_000))
    (tmp_path / "ksi-tui.toml").write_text(f"{'k' * 100_000} = 1\n{keys}")
    with pytest.raises(ConfigError) as found:
        load_config()
    lines = str(found.value).splitlines()
    assert lines[-1] == "ksi-tui.toml: and 1,951 faults more"
    assert max(map(len, lines)) < 500


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (ALIASES, "holds more than 100,000 values, each alias counted with what it stands for"),
        (MERGED, "holds more than 100,000 values, each alias counted with what it stands for"),
        ("a: &a [*a]", "contains itself"),
        ("a: &a {<<: *a}", "contains itself"),
        (f"a: {'[' * 20_000}{']' * 20_000}", "nested too deep: 100 levels at most"),
        (f"a: {'[' * 120}{']' * 120}", "nested too deep: 100 levels at most"),
        ("a: !!bool maybe", "a value is not what its !! says"),
        ("a: !!int ''", "not valid YAML"),
        ("a: !!float ''", "not valid YAML"),
        ("a: !!python/object/apply:os.system [echo]", "could not determine a constructor"),
        ("? [a, b]\n: c", "a key must be a text"),
        (f"a: {'9' * 5_000}", "not valid YAML"),
    ],
)
def test_litellms_configuration_that_would_take_for_ever(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, told: str
) -> None:
    (tmp_path / "config.yaml").write_text(text)
    line = refusal(capsys, ["--litellm-config", "config.yaml", "config", "check"])
    assert line.startswith("config.yaml")
    assert told in line
