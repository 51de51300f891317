"""Every fault, streamed and not, alone and with a good provider behind it: state, kind, blame.

All cases are played once, side by side, by the fixture; a test looks at one of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
import pytest_asyncio

from tests.faults.matrix import (
    CLOCK_S,
    FAULTS,
    MAX_COOLDOWN_S,
    Case,
    Effect,
    cases,
)
from tests.faults.stage import GOOD, Seen, play_all, worker
from tests.servers.misbehaving import MisbehavingServer
from tests.servers.modes import MODES, WORDS

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("warm_workers"),
]

CASES = [*cases(hanging=False), *cases(hanging=True)]
FAILED = [case for case in CASES if case.ends.kind is not None]
ANSWERED = [case for case in CASES if case.ends.kind is None]
ANSWER = " ".join(WORDS)
SLACK_S = 0.01
"""What a moment loses when it is written in milliseconds."""


@dataclass(frozen=True)
class Played:
    """What the whole matrix left behind."""

    seen: dict[Case, Seen]
    counts: Counter[str]
    server: MisbehavingServer


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def played(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Played]:
    async with worker() as pool, MisbehavingServer() as server:
        seen = await play_all(tmp_path_factory.mktemp("matrix"), server, pool)
        yield Played(seen, server.counts, server)


def named(case: Case) -> str:
    return case.model


@pytest.mark.parametrize("case", FAILED, ids=named)
async def test_a_fault_has_its_kind_its_blame_and_its_words(played: Played, case: Case) -> None:
    seen, ends = played.seen[case], case.ends
    blamed = [call for call in seen.calls if call["provider"] != GOOD]
    for call in blamed:
        assert (call["provider"], call["outcome"], call["waste"]) == (case.model, "failed", True)
        assert (call["error"]["kind"], call["error"]["status"]) == (ends.kind, ends.status)
        said = call["error"]["message"].removeprefix(f"{case.model}: ")
        assert said.startswith(ends.said)
        assert "litellm" not in said.lower()
        assert "object at 0x" not in said
    if not case.followed:
        assert seen.status["status"] == "failed"
        assert seen.status["error"]["kind"] == ends.kind
        assert seen.status["error"]["message"].startswith(blamed[-1]["error"]["message"])
        assert seen.status["provider"] == case.model
        assert seen.status["result"] is None


@pytest.mark.parametrize("case", [case for case in FAILED if not case.followed], ids=named)
async def test_it_is_retried_when_the_contract_says_so(played: Played, case: Case) -> None:
    seen, ends = played.seen[case], case.ends
    assert seen.status["attempts_spent"] == len(seen.calls) == ends.attempts
    assert [attempt["spent"] for attempt in seen.status["attempts"]] == [True] * ends.attempts
    if ends.attempts > 1:
        assert seen.wait_s is not None
        assert seen.wait_s >= ends.wait_s - SLACK_S
        assert "2 of 2 attempts failed" in seen.status["error"]["message"]


@pytest.mark.parametrize("case", [case for case in FAILED if case.followed], ids=named)
async def test_it_fails_over_when_the_contract_says_so(played: Played, case: Case) -> None:
    seen, rule = played.seen[case], case.ends.rule
    (attempt,) = seen.status["attempts"]
    verdicts = [(v["provider"], v["kind"]) for v in attempt["verdicts"]]
    assert seen.status["attempts_spent"] == 1
    if rule.fails_over:
        assert [call["provider"] for call in seen.calls] == [case.model, GOOD]
        assert verdicts == [(case.model, "taken"), (GOOD, "taken")]
        assert (seen.status["status"], seen.status["provider"]) == ("completed", GOOD)
        assert seen.status["text"].strip() == ANSWER  # and nothing of the broken part
        assert seen.status["result"]["ksi"]["provider"] == GOOD
    else:
        assert [call["provider"] for call in seen.calls] == [case.model]
        assert verdicts == [(case.model, "taken"), (GOOD, "not_reached")]
        assert (seen.status["status"], seen.status["error"]["kind"]) == ("failed", case.ends.kind)


@pytest.mark.parametrize("case", CASES, ids=named)
async def test_the_circuit_is_moved_as_the_contract_says(played: Played, case: Case) -> None:
    seen, ends = played.seen[case], case.ends
    assert seen.circuit is ends.rule.circuit
    if ends.rule.circuit is not Effect.OPENS:
        assert seen.again is None
        return
    assert ends.kind is not None
    assert ends.kind in seen.reason
    assert seen.again is not None
    if case.followed:
        assert (seen.again["status"], seen.again["provider"]) == ("completed", GOOD)
    else:  # it is not waited for
        assert (seen.again["status"], seen.again["error"]["kind"]) == ("failed", ends.kind)
        assert (seen.again["attempts_spent"], seen.again["attempts"][0]["calls"]) == (0, [])


@pytest.mark.parametrize("case", CASES, ids=named)
async def test_a_cooldown_is_the_models_and_has_its_bound(played: Played, case: Case) -> None:
    cooling_s = played.seen[case].cooling_s
    if not case.ends.cools:
        assert cooling_s == {}
        return
    assert list(cooling_s) == [case.model]
    assert case.ends.wait_s - SLACK_S <= cooling_s[case.model] <= MAX_COOLDOWN_S + SLACK_S


@pytest.mark.parametrize("case", FAILED, ids=named)
async def test_the_broken_part_is_kept_as_waste_of_its_call(played: Played, case: Case) -> None:
    for call in played.seen[case].calls:
        if call["provider"] == GOOD:
            assert (call["waste"], call["partial_text"]) == (False, None)
        elif case.ends.broken:
            assert call["partial_text"].startswith(case.ends.broken)
            assert call["usage"]["estimated"] is True
            assert call["usage"]["output"] > 0
            assert call["cost"] > 0
        else:
            assert call["partial_text"] is None


@pytest.mark.parametrize("case", [case for case in FAILED if case.ends.clock], ids=named)
async def test_a_clock_ends_what_hangs_and_its_upstream_is_closed(
    played: Played, case: Case
) -> None:
    for call in played.seen[case].calls:
        if call["provider"] == GOOD:
            continue
        limit_s = case.ends.timeout_s or CLOCK_S
        assert f"{limit_s:g} s" in call["error"]["message"]
        status = played.seen[case].status  # a request's own clock runs from its acceptance
        began = call["started_at"] if case.ends.timeout_s is None else status["queued_at"]
        took = datetime.fromisoformat(call["finished_at"]) - datetime.fromisoformat(began)
        assert took.total_seconds() >= limit_s - SLACK_S
        assert call["upstream_closed_ms"] is not None


@pytest.mark.parametrize("case", ANSWERED, ids=named)
async def test_an_answer_is_taken_as_it_is(played: Played, case: Case) -> None:
    seen, ends = played.seen[case], case.ends
    (call,) = seen.calls
    assert (call["provider"], call["outcome"], call["error"]) == (case.model, "answered", None)
    assert (seen.status["status"], seen.status["attempts_spent"]) == ("completed", 1)
    assert (seen.status["text"] or "").strip() == ends.said.strip()
    assert call["usage"]["estimated"] is ends.estimated
    response = seen.status["result"]["response"]
    assert tuple(choice["finish_reason"] for choice in response["choices"]) == ends.finish


def message(choice: dict[str, Any]) -> dict[str, Any]:
    """Return what a choice says, without what litellm adds and without blanks at its end."""
    said: dict[str, Any] = {
        name: value.strip() if isinstance(value, str) else value
        for name, value in choice["message"].items()
        if value and name != "provider_specific_fields"
    }
    for call in said.get("tool_calls") or ():
        call.pop("index", None)
    return said


@pytest.mark.parametrize(
    "fault", [f for f in FAULTS if not f.hangs and len(f.ends) == 2 and f.ends[True].kind is None],
    ids=lambda fault: fault.mode,
)  # fmt: skip
async def test_a_stream_is_put_together_to_what_the_whole_answer_is(
    played: Played, fault: Any
) -> None:
    whole, streamed = (
        played.seen[Case(fault, stream, False)].status["result"]["response"]
        for stream in (False, True)
    )
    assert whole["object"] == streamed["object"] == "chat.completion"
    assert whole["model"] == streamed["model"]
    assert {*("id", "created", "model", "object", "choices")} <= streamed.keys()
    assert [message(c) for c in streamed["choices"]] == [message(c) for c in whole["choices"]]
    assert [c["index"] for c in streamed["choices"]] == [c["index"] for c in whole["choices"]]
    if not fault.ends[True].estimated:
        assert streamed["usage"]["total_tokens"] == whole["usage"]["total_tokens"]


async def test_nothing_below_the_engine_tries_again(played: Played) -> None:
    expected: Counter[str] = Counter()
    for case, seen in played.seen.items():
        again = seen.again["attempts"] if seen.again else []
        for call in [*seen.calls, *(call for attempt in again for call in attempt["calls"])]:
            mode = "ok" if call["provider"] == GOOD else case.fault.mode.partition("@")[0]
            expected[mode] += mode in MODES
    assert played.counts == +expected


async def test_no_connection_is_left_open(played: Played) -> None:
    await played.server.wait_for(lambda seen: all(each.ended_at is not None for each in seen))
    assert played.server.open == 0
