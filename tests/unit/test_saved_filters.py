"""Filters that a person keeps: written out, saved, recalled tomorrow, and private."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from ksi_tui.config import Config, validated
from ksi_tui.engine.errors import ConfigError, FilterError
from ksi_tui.saved_filters import FilterBook


def test_a_name_stands_for_what_was_saved_and_the_rest_stays() -> None:
    book = FilterBook()
    assert book.save("stuck", "status:waiting age>5m") is None
    assert book.written_out("@stuck acme") == "status:waiting age>5m acme"
    assert book.written_out('"@stuck" a@stuck') == '"@stuck" a@stuck'


def test_an_error_stands_where_it_was_typed_and_names_what_there_is() -> None:
    book = FilterBook()
    book.save("stuck", "status:waiting age>5m")
    with pytest.raises(FilterError, match="no field 'stat'") as fault:
        book.written_out("@stuck stat:x")
    assert fault.value.position == len("@stuck ")
    with pytest.raises(FilterError, match="no saved filter @no; there are @stuck") as fault:
        book.written_out("acme @no")
    assert fault.value.position == len("acme ")
    with pytest.raises(FilterError, match="not before @name"):
        book.written_out("-@stuck")


def test_what_is_saved_is_written_out_so_that_it_hangs_on_no_other() -> None:
    book = FilterBook()
    book.save("stuck", "status:waiting")
    book.save("mine", "@stuck agent:a3")
    book.save("stuck", "")
    assert dict(book.saved) == {"mine": "status:waiting agent:a3"}
    assert book.save("stuck", "") == "no filter 'stuck' was saved"
    assert "no field" in (book.save("bad", "stat:x") or "")
    assert "letters, digits" in (book.save("a b", "acme") or "")


def test_they_are_there_tomorrow_in_a_private_file(tmp_path: Path) -> None:
    file = tmp_path / "state" / "filters.json"
    book = FilterBook(file, {"ours": "agent:ops"})
    book.save("stuck", "status:waiting")
    for text in ("a", "b", "a"):
        assert book.used(text) is None
    again = FilterBook(file, {"ours": "agent:ops"})
    assert dict(again.saved) == {"ours": "agent:ops", "stuck": "status:waiting"}
    assert again.history == ("b", "a")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert "agent:ops" not in file.read_text()
    assert [each.name for each in file.parent.iterdir()] == ["filters.json"]


def test_the_history_is_bounded() -> None:
    book = FilterBook()
    for number in range(1000):
        book.used(str(number))
    assert (len(book.history), book.history[-1]) == (100, "999")


@pytest.mark.parametrize("text", ["", "[]", '{"saved": 3}', '{"saved": {"a": 1, "b c": "x"}}'])
def test_a_file_that_is_none_of_ours_is_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "filters.json"
    file.write_text(text)
    book = FilterBook(file)
    assert dict(book.saved) == {}
    assert book.save("stuck", "acme") is None
    assert dict(FilterBook(file).saved) == {"stuck": "acme"}


def test_a_file_that_cannot_be_written_is_told_and_the_filter_still_works(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    book = FilterBook(tmp_path / "state" / "filters.json")
    assert "not kept for next time" in (book.save("stuck", "acme") or "")
    assert book.written_out("@stuck") == "acme"


def test_the_settings_are_checked_and_a_bad_one_is_named() -> None:
    config = Config.model_validate({"ui": {"filters": {"stuck": "status:waiting"}}})
    assert config.ui.filters == {"stuck": "status:waiting"}
    with pytest.raises(ConfigError, match=r"ui\.filters: bad, at 6: no field 'stat'"):
        validated({"ui": {"filters": {"bad": "acme stat:x"}}}, "ksi-tui.toml")
