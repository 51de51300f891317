"""Tokens: made once, kept as hashes in a private file, looked up in constant time."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import re
import stat
from pathlib import Path

import pytest

from ksi_tui.access import tokens
from ksi_tui.access.roles import Role
from ksi_tui.access.tokens import TokenFault, Tokens, add, find, make, read, revoke
from ksi_tui.cli import main
from ksi_tui.engine.errors import InputError


def kept(file: Path, role: Role = Role.VIEW, name: str | None = None) -> str:
    token, record = make(role, name)
    add(file, record)
    return token


# --- made and kept --------------------------------------------------------------------------


def test_a_token_is_256_random_bits_and_its_own(tmp_path: Path) -> None:
    made = {make(Role.VIEW)[0] for _ in range(50)}
    assert len(made) == 50
    assert all(re.fullmatch(r"ksi_[0-9a-f]{8}_[\w-]{43}", token) for token in made)


def test_only_a_hash_is_kept_in_a_file_of_its_owners(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "tokens.json"
    token = kept(file, Role.OPERATE, "ops")
    text = file.read_text()
    assert token not in text
    assert token[-20:] not in text
    (record,) = json.loads(text)["tokens"]
    assert record["sha256"] == hashlib.sha256(token.encode()).hexdigest()
    assert (record["name"], record["role"]) == ("ops", "operate")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(Path(f"{file}.lock").stat().st_mode) == 0o600
    assert sorted(each.name for each in file.parent.iterdir()) == [
        "tokens.json",
        "tokens.json.lock",
    ]


def test_the_file_stays_private_whatever_the_mask(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    before = os.umask(0)
    try:
        kept(file)
        kept(file)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_name_is_taken_once_and_holds_nothing_odd(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    kept(file, name="ops")
    with pytest.raises(InputError, match="already"):
        kept(file, name="ops")
    for name in ("", "a\nb", "x" * 61, "\x1b[31m", "a\u202eb"):
        with pytest.raises(InputError, match="1 to 60"):
            make(Role.VIEW, name)
    assert [each.name for each in read(file)] == ["ops"]


async def test_two_who_make_one_at_once_lose_none(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    await asyncio.gather(*(asyncio.to_thread(kept, file) for _ in range(8)))
    assert len(read(file)) == 8


def test_revoking_takes_the_id_before_a_name(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    kept(file, name="first")
    first = read(file)[0]
    kept(file, name=first.id)
    assert revoke(file, first.id).name == "first"
    assert revoke(file, first.id).name == first.id
    with pytest.raises(InputError, match="no token has that id"):
        revoke(file, first.id)


def test_what_is_asked_to_be_revoked_is_not_repeated(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    token = kept(file)
    with pytest.raises(InputError) as refused:
        revoke(file, token)
    assert token not in str(refused.value)


# --- looked up ------------------------------------------------------------------------------


def test_all_digests_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [make(Role.VIEW) for _ in range(5)]
    compared: list[tuple[str, str]] = []

    def watched(one: str, other: str) -> bool:
        compared.append((one, other))
        return hmac.compare_digest(one, other)

    class Watching:
        compare_digest = staticmethod(watched)

    monkeypatch.setattr(tokens, "hmac", Watching)
    records = [record for _, record in made]
    for token, record in [made[0], made[4], ("ksi_wrong", None)]:
        compared.clear()
        assert find(records, token) is record
        digest = hashlib.sha256(token.encode()).hexdigest()
        assert compared == [(digest, each.sha256) for each in records]


def test_what_is_no_text_finds_nothing(tmp_path: Path) -> None:
    kept(tmp_path / "tokens.json")
    records = read(tmp_path / "tokens.json")
    for odd in ("", "\udcff", "\x00", "x" * 100_000, records[0].sha256):
        assert find(records, odd) is None


def test_one_that_is_made_or_revoked_counts_at_once(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    first = kept(file, Role.VIEW)
    known = Tokens(file)
    assert known.role_of(first) is Role.VIEW
    second = kept(file, Role.SUBMIT)
    assert known.role_of(second) is Role.SUBMIT
    record = known.of(first)
    assert record is not None
    revoke(file, record.id)
    assert known.role_of(first) is None
    assert not known.holds(record)
    assert known.role_of(second) is Role.SUBMIT


def test_nobody_is_let_in_by_a_file_that_went(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "tokens.json"
    token = kept(file)
    known = Tokens(file)
    for spoil in (file.unlink, lambda: file.write_text("no JSON"), lambda: file.chmod(0o622)):
        kept_text = file.read_text() if file.exists() else None
        spoil()
        assert known.of(token) is None
        assert "nobody is let in" in caplog.text
        assert token not in caplog.text
        if kept_text is not None:
            file.unlink(missing_ok=True)
            file.write_text(kept_text)
            file.chmod(0o600)
            assert known.role_of(token) is Role.VIEW


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"tokens": 1}',
        '{"tokens": [], "more": 1}',
        '{"tokens": [{"id": "1"}]}',
        '{"tokens": [' + "[" * 100_000,
        '{"tokens": ["ksi_secret_of_mine"]}',
    ],
)
def test_a_file_that_is_none_is_refused_without_its_words(tmp_path: Path, text: str) -> None:
    file = tmp_path / "tokens.json"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(TokenFault, match="no token file") as refused:
        Tokens(file)
    assert "secret" not in str(refused.value)


def test_a_file_without_a_token_or_that_others_may_write_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    with pytest.raises(TokenFault, match="there is no token file"):
        Tokens(file)
    kept(file)
    revoke(file, read(file)[0].id)
    with pytest.raises(TokenFault, match="no token in it"):
        Tokens(file)
    kept(file)
    file.chmod(0o620)
    with pytest.raises(TokenFault, match="others may write"):
        Tokens(file)
    with pytest.raises(TokenFault, match="cannot read"):
        Tokens(tmp_path)


def test_the_command_line_knows_every_role(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["token", "new", "--help"])
    assert "{" + ",".join(Role) + "}" in capsys.readouterr().out


# --- the command ----------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["token", *words])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_the_command_prints_a_token_once_and_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tokens.json"
    code, out, err = run(capsys, "new", "--role", "operate", "--name", "ops", "--tokens", str(file))
    token = out.strip()
    assert code == 0
    assert out == f"{token}\n"
    assert Tokens(file).role_of(token) is Role.OPERATE
    assert token not in err
    assert "ops" in err
    code, out, err = run(capsys, "list", "--tokens", str(file))
    assert code == 0
    assert out.splitlines()[0].split() == ["ID", "NAME", "ROLE", "CREATED"]
    assert out.splitlines()[1].split()[1:3] == ["ops", "operate"]
    assert token[-20:] not in out + err
    code, out, _ = run(capsys, "list", "--json", "--tokens", str(file))
    assert sorted(json.loads(out)) == ["created", "id", "name", "role"]
    code, out, _ = run(capsys, "revoke", "ops", "--tokens", str(file))
    assert (code, out.split()[0]) == (0, "revoked")
    assert read(file) == ()
    assert run(capsys, "revoke", "ops", "--tokens", str(file))[0] == 2
    none = run(capsys, "list", "--tokens", str(file))[1]
    assert none.startswith(f"no token in {file}")
    assert f"token new --role view --tokens {file}`" in none


def test_the_file_may_stand_before_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tokens.json"
    kept(file, name="ops")
    assert main(["--tokens", str(file), "token", "list"]) == 0
    assert "ops" in capsys.readouterr().out


def test_without_a_file_it_is_beside_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ksi_tui.paths.user_config_file", lambda: tmp_path / "c" / "ksi-tui.toml")
    assert run(capsys, "new", "--role", "view")[0] == 0
    assert len(read(tmp_path / "c" / "tokens.json")) == 1


@pytest.mark.parametrize(
    "words",
    [["new"], ["new", "--role", "root"], ["revoke"], []],
)
def test_bad_usage_is_exit_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["token", *words])
    assert ended.value.code == 2
    capsys.readouterr()


def test_where_it_cannot_be_written_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "tokens.json"
    code, out, err = run(capsys, "new", "--role", "view", "--tokens", str(place))
    assert (code, out) == (2, "")
    assert "file" in err
