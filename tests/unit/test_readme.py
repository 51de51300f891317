"""The README tells the truth: its commands run, its settings, keys and events exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from ksi_tui.actions import Where, actions_of, shown_key
from ksi_tui.config import Config, PriceSettings, ProviderSettings, validated
from ksi_tui.engine import CompletionEngine
from tests.servers.forked import Template

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NEEDS_A_TERMINAL = ["ksi-tui --demo"]


def section(title: str) -> str:
    """Return the text of a chapter, up to the next one of the same rank."""
    rest = README.partition(f"\n## {title}\n")[2]
    assert rest, title
    return rest.partition("\n## ")[0]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def rows(text: str) -> Iterator[tuple[str, ...]]:
    """Yield the body rows of the tables in a text."""
    for line in text.splitlines():
        if line.startswith("| ") and not line.startswith("|---"):
            yield tuple(cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])


def commands() -> list[str]:
    return [
        line[2:] for block in blocks("console") for line in block.splitlines() if line[:2] == "$ "
    ]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.endswith("_API_KEY")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("KSI_TUI_CONFIG", raising=False)
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(words: list[str], given: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, input=given or "", capture_output=True, text=True, timeout=60, check=False
    )


def command_run(
    words: list[str], given: str, template: Template | None
) -> subprocess.CompletedProcess[str]:
    if template is None:
        return run([sys.executable, "-m", "ksi_tui", *words], given)
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with template.start(words, text=True, **streams) as process:
        out, err = process.communicate(given, timeout=60)
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def test_every_command_works_in_the_order_in_which_it_stands(
    home: Path, template: Template | None
) -> None:
    (home / "prompts.txt").write_text("one\ntwo\n", encoding="utf-8")
    ran = 0
    for command in commands():
        if command in NEEDS_A_TERMINAL:
            continue
        given, _, ours = command.rpartition(" | ")
        words = shlex.split(ours)
        assert words[0] == "ksi-tui"
        text = given.removeprefix("printf '").removesuffix("'").encode().decode("unicode_escape")
        done = command_run(words[1:], text, template)
        assert done.returncode == 0, (command, done.stderr)
        ran += 1
    assert ran >= 10


def test_the_command_table_names_what_the_parser_knows(home: Path) -> None:
    usage = run([sys.executable, "-m", "ksi_tui", "--help"]).stdout
    for cells in rows(section("The command line")):
        words = cells[0].strip("`").split()
        if words[:1] == ["ksi-tui"] and len(words) > 1 and words[1].isalpha():
            assert re.search(rf"^    {words[1]} ", usage, re.MULTILINE), words


def test_the_python_example_runs(home: Path) -> None:
    (example,) = blocks("python")
    done = run([sys.executable, "-c", example])
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["r-1 is on disk", "hello"]


def test_the_first_provider_is_valid_and_five_lines() -> None:
    (example,) = blocks("toml")
    assert len(example.splitlines()) == 5
    config = validated(tomllib.loads(example), "README")
    assert config.default_model == "llama-3.3-70b"


def test_the_settings_table_names_every_key_that_has_an_effect() -> None:
    fields = {
        "[engine]": set(type(Config().engine).model_fields),
        "[retry]": set(type(Config().retry).model_fields),
        "[circuit]": set(type(Config().circuit).model_fields),
        "[[providers]]": set(ProviderSettings.model_fields),
        "[routing]": set(type(Config().routing).model_fields),
        '[prices."model"]': set(PriceSettings.model_fields),
        "[ui]": set(type(Config().ui).model_fields),
    }
    told = {
        re.findall(r"`([^`]+)`", cells[0])[0]: set(re.findall(r"`(\w+)`", cells[1]))
        for cells in rows(section("Settings"))
        if cells[0].startswith("`")
    }
    assert told == fields


def test_the_keys_are_those_of_the_dashboard() -> None:
    bound = {key for where in Where for a in actions_of(where) for key in a.key.split(",")}
    bound |= {shown_key(a, {}) for where in Where for a in actions_of(where)}
    told = {key for cells in rows(section("Keys")) for key in re.findall(r"`([^`]+)`", cells[0])}
    assert told
    assert told <= bound


async def test_the_events_are_known_to_the_engine(home: Path) -> None:
    names = {
        name
        for cells in rows(section("From Python"))
        for name in re.findall(r"`(\w+:\w+)`", cells[0])
    }
    assert len(names) > 10
    async with CompletionEngine(Config()) as engine:
        unknown = await engine.emit("system:no_such", {})
        assert "unknown event" in unknown["error"]
        for name in sorted(names, key="system:shutdown".__eq__):
            reply = await engine.emit(name, {})
            assert "unknown event" not in str(reply.get("error")), (name, reply)
