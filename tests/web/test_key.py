"""The key in the address: kept in a private file, and never from one that others had a hand in."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ksi_tui.web.key import KeyFault, kept_key, same


def test_a_key_is_made_once_and_is_its_owners_only(tmp_path: Path) -> None:
    file = tmp_path / "new" / "web.key"
    key = kept_key(file)
    assert len(key) == 43
    assert kept_key(file) == key
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert kept_key(tmp_path / "other.key") != key


@pytest.mark.parametrize("spoilt", ["", "short", "k" * 300, "../" + "k" * 40, "é" * 43])
def test_a_file_without_a_key_is_refused_and_not_repeated(tmp_path: Path, spoilt: str) -> None:
    file = tmp_path / "web.key"
    file.write_text(spoilt)
    file.chmod(0o600)
    with pytest.raises(KeyFault, match="holds no key") as refused:
        kept_key(file)
    assert not spoilt or spoilt not in str(refused.value)


def test_a_file_that_others_may_read_or_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    file, link = tmp_path / "web.key", tmp_path / "link.key"
    key = kept_key(file)
    link.symlink_to(file)
    with pytest.raises(KeyFault, match=r"link\.key"):
        kept_key(link)
    file.chmod(0o640)
    with pytest.raises(KeyFault, match="others may read") as refused:
        kept_key(file)
    assert key not in str(refused.value)
    os.mkfifo(tmp_path / "fifo.key", 0o600)
    with pytest.raises(KeyFault):
        kept_key(tmp_path / "fifo.key")


def test_only_the_whole_key_is_the_key(tmp_path: Path) -> None:
    key = kept_key(tmp_path / "web.key")
    assert same(key, key)
    for wrong in ("", key[:-1], key + "k", key.swapcase(), "\udcff"):
        assert not same(wrong, key)
