"""A bundle is one private file; reading one trusts nothing."""

from __future__ import annotations

import json
import stat
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.codec import plain
from ksi_tui.incident import bundle as bundles
from ksi_tui.incident.bundle import read_bundle, write_bundle
from ksi_tui.incident.errors import BundleError
from ksi_tui.incident.hiding import Hiding, texts_of
from ksi_tui.incident.recorder import Recorder, snapshot_of
from tests.ui.scripted import AT, busy


def write(path: Path, **changes: Any) -> int:
    parts: dict[str, Any] = {
        "about": {"made_at": "2026-11-22T03:12:44.000Z", "name": "prod-eu", "by": "op1"},
        "settings": {"ui": {"ascii": False}},
        "answers": {'completion:status {"a": 1}': {"service_ready": True}},
        "lists": {
            "frames": [plain(busy())],
            "events": [{"seq": 1, "name": "worker:lost", "data": {}, "at": AT}],
        },
    }
    return write_bundle(path, **(parts | changes))


def test_a_bundle_comes_back_as_it_was_written_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "one.ksi.zip"
    size = write(path)
    assert size == path.stat().st_size
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = read_bundle(path)
    assert [json.loads(frame) for frame in found.frames] == [plain(busy())]
    assert found.answers == {'completion:status {"a": 1}': {"service_ready": True}}
    assert found.events == [{"seq": 1, "name": "worker:lost", "data": {}, "at": AT}]
    assert found.about["name"] == "prod-eu"
    assert found.about["left_out"] == {}
    before = path.read_bytes()
    with pytest.raises(BundleError, match="already there; it was not touched"):
        write(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_bundle_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot write"):
        write(tmp_path / "no" / "such.zip")

    def broken() -> Any:
        yield {"a": 1}
        raise OSError(28, "No space left on device")

    with pytest.raises(BundleError, match=r"cannot write .*: No space left on device"):
        write(tmp_path / "full.zip", lists={"frames": broken()})
    assert list(tmp_path.iterdir()) == []


def test_what_would_be_too_much_is_left_out_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "MOST_UNPACKED", 1100)
    records = [{"request_id": f"r-{n}", "text": "x" * 300} for n in range(5)]
    path = tmp_path / "b.zip"
    write(path, lists={"frames": [plain(busy())], "records": records})
    found = read_bundle(path)
    assert found.records == records[:3]
    assert found.about["left_out"] == {"records": 2}
    answers = {name: {"a": "x" * 600} for name in ("one", "two")} | {"three": {}}
    write(tmp_path / "c.zip", answers=answers)
    found = read_bundle(tmp_path / "c.zip")
    assert list(found.answers) == ["one", "three"]
    assert found.about["left_out"] == {"answers": 1}


def _zip(path: Path, **parts: str) -> Path:
    whole = {
        "about.json": json.dumps({"format": bundles.FORMAT, "version": 1}),
        "settings.json": "{}",
        "answers.json": "{}",
        **{f"{name}.jsonl": "" for name in ("events", "journal", "requests", "records", "lives")},
        "frames.jsonl": json.dumps(plain(busy())),
    }
    whole |= {name.replace("_", "."): text for name, text in parts.items()}
    with zipfile.ZipFile(path, "w") as packed:
        for name, text in whole.items():
            if text != "-":
                packed.writestr(name, text)
    return path


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ({"about_json": "{}"}, "no incident bundle, though a zip"),
        ({"about_json": '{"format": "ksi-tui incident bundle", "version": 2}'}, "reads version 1"),
        ({"about_json": "[]"}, "about.json: found list"),
        ({"frames_jsonl": ""}, "holds no picture"),
        ({"events_jsonl": "{"}, "events.jsonl, line 1: not valid JSON"),
        ({"journal_jsonl": "{}\n5"}, "journal.jsonl, line 2: expected an object"),
        ({"records_jsonl": '{"a": NaN}'}, "records.jsonl, line 1: not valid JSON"),
        ({"records_jsonl": '{"a": 1e999}'}, "records.jsonl, line 1: not valid JSON"),
        ({"records_jsonl": f'{{"a": {"9" * 30}}}'}, "records.jsonl, line 1: not valid JSON"),
        ({"lives_jsonl": "{}\n" * 20_001}, "lives.jsonl has more than 20,000 lines"),
        ({"events_jsonl": "-"}, "events.jsonl is missing"),
        ({"answers_json": "[" * 200_000}, "answers.json: not valid JSON"),
        ({"answers_json": '{"a":' * 600 + "1" + "}" * 600}, "answers.json: nested too deep"),
        (
            {"answers_json": '{"a": [' + "[]," * 500_000 + "0]}"},
            "answers.json: holds more than 500,000 lists and objects",
        ),
        (
            {"records_jsonl": '{"a": {"b": {}}}\n' * 18_000 + f"{{{'{}' * 450_000}}}"},
            "records.jsonl: holds more than 500,000 lists and objects",
        ),
        ({"frames_jsonl": "\n" * 1_000_000}, "frames.jsonl has more than 20,000 lines"),
    ],
)
def test_what_is_wrong_with_a_bundle_is_named(
    tmp_path: Path, parts: dict[str, str], named: str
) -> None:
    path = _zip(tmp_path / "b.zip", **parts)
    with pytest.raises(BundleError, match=r".") as caught:
        read_bundle(path)
    assert named in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_part_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "MOST_UNPACKED", 1000)
    path = _zip(tmp_path / "b.zip", answers_json=json.dumps({"a": "x" * 2000}))
    with pytest.raises(BundleError, match=r"would unpack to more than 1,000 bytes"):
        read_bundle(path)


def test_lists_and_objects_that_would_be_too_many_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written can be read again, whatever signs stand in its texts."""
    monkeypatch.setattr(bundles, "MOST_HELD", 100)
    path = tmp_path / "b.zip"
    records = [{"text": "{" * 60}, {"text": "[" * 60}, {"text": ""}]
    answers: dict[str, Any] = {"one": {"a": "[" * 80}, "two": {"a": [[]] * 20}}
    frames = [json.dumps({"text": "[" * 99})] * 3
    lists: dict[str, Any] = {"records": records, "frames": frames}
    write_bundle(path, about={}, settings={}, answers=answers, lists=lists)
    found = read_bundle(path)
    assert [len(record["text"]) for record in found.records] == [60, 0]
    assert list(found.answers) == ["one"]
    assert len(found.frames) == 3
    assert found.about["left_out"] == {"records": 1, "answers": 1}


def test_a_zip_of_very_many_parts_is_not_even_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _zip(tmp_path / "b.zip")
    read_bundle(path)
    with zipfile.ZipFile(path, "a") as packed:
        packed.comment = b"a comment"
        for number in range(1_400):
            packed.writestr(f"part {number}", "")
    monkeypatch.setattr(zipfile, "ZipFile", None)
    with pytest.raises(BundleError, match="it names too many parts"):
        read_bundle(path)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut short"])
def test_a_file_that_is_no_zip_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "b.zip"
    path.write_bytes(content)
    with pytest.raises(BundleError, match="no incident bundle, or a damaged one"):
        read_bundle(path)
    with pytest.raises(BundleError, match="cannot be read: No such file"):
        read_bundle(tmp_path / "missing.zip")
    with pytest.raises(BundleError, match="cannot be read: it is no file"):
        read_bundle(tmp_path)


def test_a_zip_cut_or_changed_anywhere_is_refused_and_never_a_traceback(tmp_path: Path) -> None:
    path, whole = tmp_path / "b.zip", tmp_path / "whole.zip"
    write(whole)
    content = whole.read_bytes()
    for at in range(0, len(content), 97):
        path.write_bytes(content[:at])
        with pytest.raises(BundleError):
            read_bundle(path)
        path.write_bytes(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
        with suppress(BundleError):
            read_bundle(path)


def test_texts_become_hashes_that_are_equal_for_equal_texts_and_cannot_be_guessed() -> None:
    record = {
        "prompt": "my secret question",
        "messages": [{"role": "user", "content": "my secret question"}],
        "attempts": [{"calls": [{"partial_text": "half an answer", "provider": "openai"}]}],
        "metadata": {"customer": "globex"},
        "text": None,
        "cause": {"kind": "running", "text": "openai answers"},
        "timeline": [{"what": "attempt", "text": "attempt 1"}],
        "result": {"ksi": {"provider": "openai"}, "response": {"model": "gpt", "id": "half an"}},
        "params": {"temperature": 0.5, "tools": [{"type": "function", "description": "half an"}]},
    }
    hidden = Hiding(b"one").record(record)
    assert hidden["prompt"] == hidden["messages"][0]["content"]
    assert hidden["prompt"].endswith("(18 characters)")
    assert hidden["messages"][0]["role"] == "user"
    assert hidden["attempts"][0]["calls"][0]["provider"] == "openai"
    assert hidden["metadata"] == {"customer": "globex"}
    assert hidden["text"] is None
    assert hidden["cause"] == record["cause"]
    assert hidden["timeline"] == record["timeline"]
    assert hidden["result"]["ksi"] == {"provider": "openai"}
    assert hidden["result"]["response"]["model"] == "gpt"
    assert hidden["params"]["temperature"] == 0.5
    assert hidden["params"]["tools"][0]["type"] == "function"
    assert set(texts_of(record)) == {"my secret question", "half an answer", "half an"}
    assert "secret question" not in json.dumps(hidden)
    assert "half an" not in json.dumps(hidden)
    assert Hiding(b"other").record(record)["prompt"] != hidden["prompt"]


def test_the_recorder_keeps_the_newest_moments_and_no_more() -> None:
    import dataclasses

    recorder = Recorder(every_s=5.0, kept_s=20.0)
    for second in range(60):
        if recorder.due(float(second)):
            recorder.record(dataclasses.replace(busy(), at=AT + second), float(second))
    assert len(recorder) == 4
    assert [json.loads(frame)["at"] - AT for frame in recorder.since(AT + 45)] == [45, 50, 55]
    assert snapshot_of(json.loads(next(recorder.since(AT + 45))), "frame") == dataclasses.replace(
        busy(), at=AT + 45
    )


def test_the_recorder_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    from ksi_tui.incident import recorder as module

    monkeypatch.setattr(module, "MOST_BYTES", 5000)
    recorder = Recorder(every_s=1.0, kept_s=1000.0)
    for second in range(50):
        recorder.record(busy(), float(second))
    assert 1 <= len(recorder) <= 5
