"""A bundle is one private file; reading one trusts nothing."""

from __future__ import annotations

import json
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.incident import bundle as bundles
from ksi_tui.incident.bundle import Bundle, read_bundle, write_bundle
from ksi_tui.incident.codec import plain
from ksi_tui.incident.errors import BundleError
from ksi_tui.incident.hiding import Hiding
from ksi_tui.incident.recorder import Recorder, snapshot_of
from tests.ui.scripted import AT, busy


def a_bundle(**changes: Any) -> Bundle:
    fields: dict[str, Any] = {
        "about": {"made_at": "2026-11-22T03:12:44.000Z", "name": "prod-eu", "by": "op1"},
        "settings": {"ui": {"ascii": False}},
        "answers": {'completion:status {"a": 1}': {"service_ready": True}},
        "frames": [plain(busy())],
        "events": [{"seq": 1, "name": "worker:lost", "data": {}, "at": AT}],
    }
    return Bundle(**(fields | changes))


def test_a_bundle_comes_back_as_it_was_written_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "one.ksi.zip"
    size = write_bundle(a_bundle(), path)
    assert size == path.stat().st_size
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = read_bundle(path)
    assert found.frames == a_bundle().frames
    assert found.answers == a_bundle().answers
    assert found.events == a_bundle().events
    assert found.about["name"] == "prod-eu"
    with pytest.raises(BundleError, match="already there; it was not touched"):
        write_bundle(a_bundle(), path)


def test_a_bundle_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot write"):
        write_bundle(a_bundle(), tmp_path / "no" / "such.zip")
    assert list(tmp_path.iterdir()) == []


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
        ({"frames_jsonl": "{"}, "frames.jsonl, line 1: not valid JSON"),
        ({"frames_jsonl": "5"}, "frames.jsonl, line 1: expected an object"),
        ({"events_jsonl": "-"}, "events.jsonl is missing"),
        ({"answers_json": "[" * 200_000}, "answers.json: not valid JSON"),
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


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut short"])
def test_a_file_that_is_no_zip_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "b.zip"
    path.write_bytes(content)
    with pytest.raises(BundleError, match="no incident bundle, or a damaged one"):
        read_bundle(path)
    with pytest.raises(BundleError, match="cannot be read"):
        read_bundle(tmp_path / "missing.zip")


def test_texts_become_hashes_that_are_equal_for_equal_texts_and_cannot_be_guessed() -> None:
    record = {
        "prompt": "my secret question",
        "messages": [{"role": "user", "content": "my secret question"}],
        "attempts": [{"calls": [{"partial_text": "half an answer", "provider": "openai"}]}],
        "metadata": {"customer": "globex"},
        "text": None,
    }
    hidden = Hiding(b"one").record(record)
    assert hidden["prompt"] == hidden["messages"][0]["content"]
    assert hidden["prompt"].endswith("(18 characters)")
    assert hidden["messages"][0]["role"] == "user"
    assert hidden["attempts"][0]["calls"][0]["provider"] == "openai"
    assert hidden["metadata"] == {"customer": "globex"}
    assert hidden["text"] is None
    assert "secret question" not in json.dumps(hidden)
    assert "half an answer" not in json.dumps(hidden)
    assert Hiding(b"other").record(record)["prompt"] != hidden["prompt"]


def test_the_recorder_keeps_the_newest_moments_and_no_more() -> None:
    import dataclasses

    recorder = Recorder(every_s=5.0, kept_s=20.0)
    for second in range(60):
        if recorder.due(float(second)):
            recorder.record(dataclasses.replace(busy(), at=AT + second), float(second))
    assert len(recorder) == 4
    assert [frame["at"] - AT for frame in recorder.since(AT + 45)] == [45, 50, 55]
    assert snapshot_of(next(recorder.since(AT + 45)), "frame") == dataclasses.replace(
        busy(), at=AT + 45
    )


def test_the_recorder_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    from ksi_tui.incident import recorder as module

    monkeypatch.setattr(module, "MOST_BYTES", 5000)
    recorder = Recorder(every_s=1.0, kept_s=1000.0)
    for second in range(50):
        recorder.record(busy(), float(second))
    assert 1 <= len(recorder) <= 5
