"""What may not leave does not: canaries in all texts and keys, looked for in every byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.incident.echoes import Echoes
from ksi_tui.incident.hiding import Hiding
from ksi_tui.incident.privacy import Privacy, keys_of
from tests.incident.story import ADDRESS, CANARIES, ECHO, KEYS, TEXTS, parts_of, saved

SECRETS = ("KeyCanary", "NamedCanary", "PasswordCanary", "UserInfoCanary", "QueryCanary")


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    return tmp_path


async def test_no_text_and_no_key_is_in_a_bundle_and_its_facts_are(state: Path) -> None:
    parts = parts_of((await saved(state)).path)
    everything = "\n".join(parts.values())
    for canary in (*CANARIES, *SECRETS):
        assert {name for name, text in parts.items() if canary in text} == set(), canary
    for text in TEXTS.values():
        words = text.split()
        for at in range(len(words) - 3):
            assert " ".join(words[at : at + 4]) not in everything
    assert "globex" in everything  # metadata
    assert "bad_request_xyz" in everything  # what an error says beside what it repeats
    assert "vendor is down" in everything  # a person's reason
    assert "PLAIN_NAMED" in everything  # where a key is, not which
    assert "127.0.0.1:9" in everything
    assert '"text": "lock held by a9' in everything  # the engine's own words


async def test_with_texts_all_of_them_are_there_and_keys_are_not(state: Path) -> None:
    parts = parts_of((await saved(state, texts=True)).path)
    for canary in CANARIES:
        assert canary in parts["records.jsonl"], canary
    assert "PromptCanary" in parts["answers.json"]  # the transcript
    assert ECHO in [json.loads(line)["error"]["message"]
                    for line in parts["requests.jsonl"].splitlines()
                    if json.loads(line)["error"]]  # fmt: skip
    for secret in SECRETS:
        assert {name for name, text in parts.items() if secret in text} == set(), secret


def privacy(records: list[Any], others: list[Any]) -> Privacy:
    found = Privacy((), Hiding(b"secret"))
    found.learn(records, [], others)
    return found


def error(request_id: str, message: str) -> dict[str, Any]:
    return {"request_id": request_id, "error": {"kind": "x", "message": message}}


def test_an_error_keeps_its_words_but_not_what_it_repeats() -> None:
    record = error("r-1", "400: 'the cat sat on the mat' is not allowed here today")
    found = privacy([{**record, "prompt": "Say: the cat sat on the mat."}], [])
    message = found.safe(record)["error"]["message"]
    assert message.startswith("400: 'hash:")
    assert message.endswith("(22 characters)' is not allowed here today")


def test_what_only_an_unread_requests_error_says_is_hidden() -> None:
    known = {**error("r-1", "rate limit reached for gpt-9, try later"), "prompt": "hello world"}
    other = error("r-2", "rate limit reached for gpt-9, try later: tell me about my illness now")
    found = privacy([known], [other])
    assert found.safe(known)["error"] == known["error"]
    message = found.safe(other)["error"]["message"]
    assert "illness" not in message
    assert message.startswith("rate limit reached for ")
    elsewhere = found.safe({"verdict": {"cause": "openai: tell me about my illness now"}})
    assert "illness" not in json.dumps(elsewhere)


def test_a_circuits_reason_is_hidden_as_far_as_it_is_an_upstreams() -> None:
    opened = {"from": "closed", "to": "open",
              "reason": "5 failures in a row, last api_error: my dear diary of today"}  # fmt: skip
    closed = {"from": "open", "to": "closed", "reason": "the probe was answered in time"}
    found = privacy([], [{"data": opened}, {"data": closed}])
    assert found.safe(opened)["reason"].startswith("5 failures in a row, last api_error: hash:")
    assert found.safe(closed) == closed


def test_a_frames_sentences_are_looked_through_and_nothing_else_changes() -> None:
    found = privacy([{"prompt": "tell me of my illness now"}], [])
    said = 'openai: "tell me of my illness now" \\n is refused'
    frame = {"why": said, "id": "a-b", "n": [1.5, None, True], "é ": 'quote " and \\ space'}
    shown = json.loads(found.frame(json.dumps(frame, separators=(",", ":"))))
    assert shown["why"].startswith('openai: "hash:')
    assert shown["why"].endswith("is refused")
    assert {**shown, "why": said} == frame


def test_ids_stay_whatever_a_prompt_says() -> None:
    named = "customer-globex-production-eu-7"
    found = privacy([{"prompt": f"why does {named} hang"}], [])
    assert found.safe({"session_id": named})["session_id"] == named
    assert named not in found.safe({"detail": f"about {named}"})["detail"]


@pytest.mark.parametrize(
    ("private", "text", "hidden"),
    [
        ("one two three four five", "x two three four five y", "x # y"),
        ("one two three four five", 'x {"a": "ONE two\\nthree, four"} y', 'x {"a": "#"} y'),
        ("one two three four five", "one two three and five", "one two three and five"),
        ("two words", "these are two words here", "these are # here"),
        ("hi", "hi there, hi", "hi there, hi"),
        ("a eyJhbGciOiJIUzI1NiIsInR5 b c d", "token=x eyJhbGciOiJIUzI1NiIsInR5.", "token=x #."),
        ("", "nothing is private", "nothing is private"),
    ],
)
def test_pieces_of_private_texts_are_found(private: str, text: str, hidden: str) -> None:
    echoes = Echoes()
    assert echoes.take(private)
    assert echoes.hidden(text, lambda _: "#") == hidden


def test_keys_are_known_by_their_names_and_by_the_settings() -> None:
    settings = {
        "providers": [
            {"api_key_env": "MINE", "params": {"x": "os.environ/THEIRS"}},
            {"api_base": ADDRESS},
        ]
    }
    environ = {"MINE": "short", "THEIRS": "value-2", "SOME_TOKEN": "value-3-long", "HOME": "/x"}
    assert keys_of(settings, environ) == ("value-3-long", "value-2", "short")
