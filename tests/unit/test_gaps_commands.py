"""What every command owes the process it runs in, and secrets that begin alike."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ksi_tui import paths
from ksi_tui.cli import _calm_the_collector
from ksi_tui.commands.config import _init, unset_keys
from ksi_tui.commands.database import reading
from ksi_tui.commands.output import say
from ksi_tui.config import Config
from ksi_tui.engine.errors import StoreUnavailable
from ksi_tui.engine.store.sqlite import open_store
from ksi_tui.redaction import HIDDEN, redacted, redacted_data, secrets_of


@pytest.fixture
def _collector() -> Iterator[None]:
    threshold = gc.get_threshold()
    yield
    gc.set_threshold(*threshold)
    gc.enable()


@pytest.mark.usefixtures("_collector")
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
    with pytest.raises(StoreUnavailable):
        await reader.counts()
