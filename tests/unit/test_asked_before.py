"""Whether a line of `run` asks what the request that bears its id was asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from ksi_tui.commands.asked_before import of_others
from ksi_tui.commands.request_lines import BadLine, RequestLine
from ksi_tui.engine.models import RequestSpec
from ksi_tui.engine.payloads import Completion, parse

ASKED = {"prompt": "a", "system": "s", "model": "m", "session_id": "c", "temperature": 0.5}
TALK = {"messages": [{"role": "user", "content": "a"}], "params": {"top_p": 1}}


def stored(data: Mapping[str, Any]) -> RequestSpec:
    item = parse(Completion, data, "completion:async")
    return item.spec(
        request_id="q",
        session_id=item.session_id or "q",
        model=item.model or "default",
        timeout_s=900,
        max_attempts=3,
        lock_timeout_s=300,
        inject=False,
    )


async def others(before: Mapping[str, Any], now: Mapping[str, Any]) -> Mapping[int, BadLine]:
    async def specs(request_ids: Sequence[str]) -> Mapping[str, RequestSpec]:
        return {each: stored(before) for each in request_ids if each == "q"}

    line = RequestLine(number=7, data={**now, "request_id": "q"}, key=None)
    return await of_others([(line, "q")], specs)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (ASKED, ASKED),
        (TALK, {**TALK, "params": {"top_p": 1.0}}),
        (ASKED, {**ASKED, "priority": "high", "timeout_s": 5, "metadata": {"a": 1}}),
        (ASKED, {"prompt": "a", "system": "s", "temperature": 0.5}),
        ({**TALK, "temperature": 0.5}, {**TALK, "params": {"top_p": 1}, "temperature": 0.5}),
    ],
)
async def test_the_same_in_all_that_matters(before: dict[str, Any], now: dict[str, Any]) -> None:
    assert not await others(before, now)


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (ASKED, {**ASKED, "prompt": "b"}, "prompt"),
        (ASKED, {**ASKED, "system": None}, "system"),
        (ASKED, {**ASKED, "model": "n"}, "model"),
        (ASKED, {**ASKED, "session_id": "d"}, "session_id"),
        (ASKED, {**ASKED, "history": "none"}, "history"),
        (ASKED, {**ASKED, "temperature": None, "max_tokens": 5}, "max_tokens, temperature"),
        (TALK, {"prompt": "a", "params": {"top_p": 1}}, "prompt, messages"),
        (TALK, {**TALK, "params": {"top_p": 0.5}}, "top_p"),
    ],
)
async def test_what_is_another_request(
    before: dict[str, Any], now: dict[str, Any], told: str
) -> None:
    found = await others(before, now)
    assert found[7].number == 7
    assert found[7].reason == (
        f"the request_id 'q' is that of another request, with other {told}; give this line one of"
        " its own, or none"
    )


async def test_what_is_not_there_any_more_is_nobody_elses() -> None:
    async def none(_: Sequence[str]) -> Mapping[str, RequestSpec]:
        return {}

    line = RequestLine(number=1, data={**ASKED, "request_id": "gone"}, key=None)
    assert not await of_others([(line, "gone")], none)


async def test_many_are_asked_for_in_pieces() -> None:
    asked = []

    async def specs(request_ids: Sequence[str]) -> Mapping[str, RequestSpec]:
        asked.append(len(request_ids))
        return dict.fromkeys(request_ids, stored(ASKED))

    lines = [
        (RequestLine(number=n, data={**ASKED, "prompt": "ab"[n % 2]}, key=None), f"q{n}")
        for n in range(1_200)
    ]
    found = await of_others(lines, specs)
    assert asked == [500, 500, 200]
    assert list(found) == list(range(1, 1_200, 2))
