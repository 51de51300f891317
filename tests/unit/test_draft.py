"""A draft of a request sends what that request sent; its command says the same in a shell."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ksi_tui.engine.payloads import Completion
from ksi_tui.screens.command_line import command_for, command_of
from ksi_tui.screens.draft import Draft, draft_of

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


def report(**changes: Any) -> dict[str, Any]:
    known: dict[str, Any] = {
        "request_id": "r-1",
        "session_id": "acme-42",
        "agent_id": "a3",
        "requested_model": "gpt-4o",
        "priority": "high",
        "history": "session",
        "prompt": "hello",
        "system": None,
        "messages": None,
        "params": {},
        "metadata": {},
    }
    return {**known, **changes}


def test_a_prompt_comes_back_with_all_it_had() -> None:
    found = draft_of(
        report(
            system="be short",
            params={
                "temperature": 0.2,
                "tools": [{"type": "function"}],
                "top_p": 0.5,
                "unknown": 1,
            },
            metadata={"customer": "globex"},
            history="none",
        )
    )
    assert found.request("op1") == {
        "prompt": "hello",
        "system": "be short",
        "model": "gpt-4o",
        "session_id": "acme-42",
        "agent_id": "a3",
        "priority": "high",
        "history": "none",
        "temperature": 0.2,
        "tools": [{"type": "function"}],
        "params": {"top_p": 0.5},
        "metadata": {"customer": "globex"},
    }


def test_a_session_of_its_own_is_not_taken_over() -> None:
    assert "session_id" not in draft_of(report(session_id="r-1")).request("op1")


def test_an_injected_priority_becomes_one_that_a_caller_may_give() -> None:
    assert draft_of(report(priority="inject")).priority == "normal"


def test_messages_come_back_with_the_last_one_to_edit() -> None:
    messages = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    found = draft_of(report(prompt=None, messages=messages))
    assert (found.system, found.prompt, len(found.context)) == ("s", "c", 2)
    assert found.sent_as_messages
    assert found.asked() == {"messages": messages}


@pytest.mark.parametrize(
    "last",
    [
        {"role": "user", "content": [{"type": "text", "text": "x"}]},
        {"role": "tool", "content": "x", "tool_call_id": "1"},
        {"role": "user", "content": "x", "name": "bob"},
    ],
)
def test_messages_of_other_shapes_are_edited_as_json(last: dict[str, Any]) -> None:
    messages = [{"role": "user", "content": "a"}, last]
    found = draft_of(report(prompt=None, messages=messages))
    assert found.as_json
    assert found.asked() == {"messages": messages}


@pytest.mark.parametrize("text", ["{", "7", '{"role": "user"}', "[" * 5000])
def test_json_that_is_none_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="messages are"):
        Draft(prompt=text, as_json=True).request("op1")


@given(
    prompt=TEXTS,
    system=st.none() | TEXTS,
    middle=st.lists(TEXTS, max_size=3),
    as_messages=st.booleans(),
)
def test_what_a_draft_sends_is_taken_and_means_the_same(
    prompt: str, system: str | None, middle: list[str], as_messages: bool
) -> None:
    asked = report(prompt=prompt, system=system)
    if as_messages:
        first = [{"role": "system", "content": system}] if system else []
        context = [{"role": "user", "content": text} for text in middle]
        messages = [*first, *context, {"role": "user", "content": prompt}]
        asked = report(prompt=None, messages=messages)
    data = draft_of(asked).request("op1")
    taken = Completion.model_validate(data)
    if as_messages and (taken.messages is not None):
        assert taken.messages == asked["messages"]
    else:
        assert taken.prompt == prompt
        assert (taken.system or None) == (system or None)


def in_a_shell(command: str) -> str:
    """Run what stands before the pipe and return what `ksi-tui` would read."""
    before, _, after = command.rpartition(" | ")
    assert after == "ksi-tui run -"
    done = subprocess.run(["sh", "-c", before], capture_output=True, check=True, timeout=20)
    return done.stdout.decode("ascii")


@settings(max_examples=60, deadline=None)
@given(prompt=TEXTS, system=st.none() | TEXTS, key=TEXTS, value=TEXTS)
def test_the_command_says_the_same_through_a_shell(
    prompt: str, system: str | None, key: str, value: str
) -> None:
    asked = report(prompt=prompt, system=system, metadata={key: value})
    read = in_a_shell(command_of(asked))
    assert read.endswith("\n")
    assert "\n" not in read[:-1], "one request is one line"
    assert json.loads(read) == draft_of(asked).request("x")


@pytest.mark.parametrize("text", ["it's", "$(id)", "`id`", "\\n%s", "a\nb", "!!", "\x1b]52;c;\x07"])
def test_what_a_shell_would_act_on_stays_text(text: str) -> None:
    command = command_for({"prompt": text})
    assert command.isascii()
    assert command.isprintable()
    assert json.loads(in_a_shell(command)) == {"prompt": text}
