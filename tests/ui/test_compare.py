"""The same request to several models: sent once, followed live, compared, stopped with one key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ksi_tui.engine.views import Live, Phase
from ksi_tui.screens.compare import CompareScreen
from tests.ui.harness import SMALL, WIDE, Hand, dashboard
from tests.ui.scripted import ScriptedClient, busy
from tests.ui.test_composer import MODELS
from tests.ui.test_engine import over, simulated

BOTH = pytest.mark.parametrize("size", [SMALL, WIDE], ids=["80x24", "140x45"])
FIRST: dict[str, Any] = {
    "request_id": "r-1042",
    "session_id": "globex-7",
    "status": "completed",
    "requested_model": "gpt-4o",
    "prompt": "why did it double?",
    "system": "be short",
    "priority": "normal",
    "history": "session",
    "params": {"temperature": 0.2},
    "metadata": {"customer": "globex"},
}


def finished(request_id: str) -> dict[str, Any]:
    """A record of `r-<n>`: the odd ones are the first model's."""
    number = int(request_id.removeprefix("r-"))
    first = number % 2 == 1
    return {
        **FIRST,
        "request_id": request_id,
        "status": "completed",
        "model": "gpt-4o" if first else "claude-haiku-4-5",
        "provider": "openai" if first else "anthropic",
        "started_at": "2026-11-22T03:12:40Z",
        "finished_at": f"2026-11-22T03:12:4{1 + number}Z",
        "ttft_ms": 500 * number,
        "usage": {"output": 100, "reasoning": 0},
        "cost": 0.01 * number,
        "text": "it doubled twice" if first else "it doubled once",
    }


class Engine(ScriptedClient):
    """Takes a batch, lets every run stream, and ends those that it is told to."""

    def __init__(self) -> None:
        super().__init__(
            busy(),
            {
                "completion:models": {"models": MODELS},
                "completion:request_status": self._status,
                "completion:batch": self._batch,
                "completion:cancel": self._cancel,
                "completion:retry": self._retry,
                "completion:preview": {
                    "messages": [{"role": "user", "content": "turn"}],
                    "candidates": [],
                },
            },
        )
        self.over: set[str] = set()
        self.cancelled: set[str] = set()

    def _batch(self, data: Mapping[str, Any]) -> dict[str, Any]:
        ids = [f"r-{number}" for number in range(1, len(data["requests"]) + 1)]
        for request_id in ids:
            self.lives[request_id] = Live(
                request_id=request_id,
                phase=Phase.STREAMING,
                why="",
                provider="openai",
                model="gpt-4o",
                attempt=1,
                max_attempts=3,
                tokens=7,
                ttft_s=0.6,
                tokens_per_s=31.0,
                text=f"so far {request_id}",
                text_length=9,
                if_nobody_acts=None,
            )
        return {"accepted": [{"request_id": request_id} for request_id in ids]}

    def _status(self, data: Mapping[str, Any]) -> dict[str, Any]:
        request_id = data["request_id"]
        if request_id == "r-1042":
            return FIRST
        if request_id in self.cancelled:
            return {**finished(request_id), "status": "cancelled", "text": "half of it"}
        if request_id in self.over:
            return finished(request_id)
        return {"request_id": request_id, "status": "processing"}

    def _cancel(self, data: Mapping[str, Any]) -> dict[str, Any]:
        self.cancelled |= set(data["request_ids"])
        self.lives.clear()
        return {
            "cancelled": [
                {"request_id": each, "was": "processing", "changed": True}
                for each in data["request_ids"]
            ]
        }

    def _retry(self, data: Mapping[str, Any]) -> dict[str, Any]:
        self.cancelled -= set(data["request_ids"])
        return {
            "retried": [
                {"request_id": each, "was": "cancelled", "changed": True}
                for each in data["request_ids"]
            ]
        }

    def end(self, *request_ids: str) -> None:
        """Let runs end."""
        self.over |= set(request_ids)
        for request_id in request_ids:
            self.lives.pop(request_id, None)


async def set_up(hand: Hand, times: str = "") -> None:
    await hand.press("d")
    await hand.sees("The same request to several models", "why did it double?", "gpt-4o")
    await hand.type("haiku")
    await hand.press("down", "enter")
    await hand.sees("$1 in $5 out")
    if times:
        hand.app.screen.query_one("#times").focus()
        await hand.press("backspace")
        await hand.type(times)


async def sent(hand: Hand, times: str = "") -> CompareScreen:
    await set_up(hand, times)
    await hand.press("enter")
    await hand.sees("run 1 of")
    screen = hand.app.screen
    assert isinstance(screen, CompareScreen)
    return screen


async def later(hand: Hand) -> None:
    """Let the time pass after which records are read again."""
    hand.clock.advance(1)


@BOTH
async def test_it_sends_real_requests_in_sessions_of_their_own(size: tuple[int, int]) -> None:
    client = Engine()
    async with dashboard(client, size) as hand:
        await sent(hand)
        (batch,) = client.sent("completion:batch")
        requests = batch["requests"]
        assert [r["model"] for r in requests] == ["gpt-4o", "claude-haiku-4-5"] * 3
        for request in requests:
            assert "session_id" not in request
            assert (request["prompt"], request["system"]) == ("why did it double?", "be short")
            assert request["temperature"] == 0.2
            assert request["metadata"]["customer"] == "globex"
        assert len({r["metadata"]["side_by_side"] for r in requests}) == 1
        assert client.sent("completion:async") == []


async def test_history_sends_the_same_earlier_turns_to_all() -> None:
    client = Engine()
    async with dashboard(client, WIDE) as hand:
        await set_up(hand)
        hand.app.screen.query_one("#history").focus()
        await hand.press("right", "tab", "enter")
        await hand.sees("with the session's history")
        requests = client.sent("completion:batch")[0]["requests"]
        assert all(r["messages"] == [{"role": "user", "content": "turn"}] for r in requests)
        assert not any("prompt" in r or "system" in r for r in requests)
        assert client.sent("completion:preview")[-1]["session_id"] == "globex-7"


async def test_answers_stream_side_by_side() -> None:
    client = Engine()
    async with dashboard(client, WIDE) as hand:
        await sent(hand)
        await hand.sees("so far r-1", "so far r-2", "0.6s ttft")
        await hand.sees("0 of 6 over", "31 tok/s")
        await hand.press("right_square_bracket")
        await hand.sees("run 2 of 3", "so far r-3", "so far r-4")
        assert "so far r-1" not in hand.screen
        await hand.press("left", "left")
        await hand.sees("run 3 of 3", "so far r-5")


async def test_one_column_at_a_time_where_it_is_narrow() -> None:
    async with dashboard(Engine(), SMALL) as hand:
        await sent(hand)
        await hand.sees("so far r-1", "[1 gpt-4o", "2 claude-haiku-4-5")
        assert "so far r-2" not in hand.screen
        await hand.press("tab")
        await hand.sees("so far r-2", "[2 claude-haiku-4-5")
        assert "so far r-1" not in hand.screen


@BOTH
async def test_the_summary_holds_median_and_range(size: tuple[int, int]) -> None:
    client = Engine()
    async with dashboard(client, size) as hand:
        await sent(hand)
        client.end("r-1", "r-3", "r-5", "r-2")
        await later(hand)
        await hand.sees("4 of 6 over")
        rows = [row for row in hand.screen.splitlines() if "/3" in row]
        assert "3/3" in rows[0]
        assert "1.5s" in rows[0], "the median of 0.5, 1.5 and 2.5 s"
        assert "$0.03" in rows[0]
        assert "1/3" in rows[1]
        assert ("0.5s–2.5s" in rows[0]) is (size == WIDE)


@BOTH
async def test_the_difference_names_what_only_one_has(size: tuple[int, int]) -> None:
    client = Engine()
    async with dashboard(client, size) as hand:
        await sent(hand)
        await hand.press("v")
        await hand.sees("one of them is still being written")
        client.end("r-1", "r-2")
        await later(hand)
        await hand.sees("it doubled [-twice-]{+once+}", "67% of the words in both")
        await hand.press("v")
        await hand.sees_no("[-twice-]")
        await hand.sees("it doubled twice")


@BOTH
async def test_one_key_stops_all_that_still_runs(size: tuple[int, int]) -> None:
    client = Engine()
    async with dashboard(client, size) as hand:
        await sent(hand)
        client.end("r-1")
        await later(hand)
        await hand.sees("1 of 6 over")
        await hand.press("c")
        await hand.sees("5 stopped; what had arrived is kept")
        (stopped,) = client.sent("completion:cancel")
        assert stopped["request_ids"] == ["r-2", "r-3", "r-4", "r-5", "r-6"]
        assert stopped["by"] == "op1"
        await later(hand)
        await hand.sees("6 of 6 over")


async def test_what_is_stopped_while_records_are_read_is_read_at_once() -> None:
    client = Engine()
    async with dashboard(client, WIDE) as hand:
        await sent(hand)
        gate = client.hold("completion:request_status")
        asked = len(client.sent("completion:request_status"))
        await later(hand)
        await hand.until(lambda: len(client.sent("completion:request_status")) > asked)
        await hand.press("c")
        await hand.sees("6 stopped; what had arrived is kept")
        gate.set()
        await hand.sees("6 of 6 over")


@BOTH
async def test_what_was_stopped_can_be_taken_back_and_is_followed_again(
    size: tuple[int, int],
) -> None:
    client = Engine()
    async with dashboard(client, size) as hand:
        await sent(hand)
        client.end("r-1")
        await later(hand)
        await hand.sees("1 of 6 over")
        await hand.press("c")
        await hand.sees("u takes that back")
        await later(hand)
        await hand.sees("6 of 6 over")
        await hand.press("u")
        await hand.sees("Take back what was done last?", "5 requests of a comparison stopped")
        hand.clock.advance(1)
        await hand.press("tab", "enter")
        await hand.sees("undone: 5 requests of a comparison back in place")
        (back,) = client.sent("completion:retry")
        assert back["request_ids"] == ["r-2", "r-3", "r-4", "r-5", "r-6"]
        assert back["in_place"] is True
        await later(hand)
        await hand.sees("1 of 6 over")
        client.end("r-2")
        await later(hand)
        await hand.sees("2 of 6 over")


@BOTH
async def test_four_models_at_most(size: tuple[int, int]) -> None:
    client = Engine()
    async with dashboard(client, size) as hand:
        await set_up(hand)
        for nth in (3, 4):
            hand.app.screen.query_one(f"#model-{nth} PickInput").focus()
            await hand.type(f"sim/no{nth}")
        assert not hand.app.screen.query("#model-5")
        await hand.press("enter")
        await hand.sees("run 1 of", "0 of 12 over")
        requests = client.sent("completion:batch")[0]["requests"]
        asked = ["gpt-4o", "claude-haiku-4-5", "sim/no3", "sim/no4"]
        assert [each["model"] for each in requests] == asked * 3
        await hand.press("tab", "tab", "tab")
        await hand.sees("sim/no4")


@BOTH
async def test_from_the_form_what_is_written_goes_to_several(size: tuple[int, int]) -> None:
    client = Engine()
    async with dashboard(client, size) as hand:
        await hand.press("s")
        await hand.sees("Submit a prompt", "^t compare")
        await hand.press("ctrl+t")
        await hand.sees("the prompt is empty")
        await hand.type("why twice?")
        await hand.press("ctrl+t")
        await hand.sees("The same request to several models", "why twice?")
        await hand.press("escape")
        await hand.sees("Submit a prompt", "why twice?")
        await hand.press("ctrl+t")
        await hand.sees("The same request to several models")
        await hand.type("haiku")
        await hand.press("down", "enter")
        await hand.sees("$1 in $5 out")
        await hand.press("enter")
        await hand.sees("run 1 of 3", "so far r-1")
        requests = client.sent("completion:batch")[0]["requests"]
        assert {each["prompt"] for each in requests} == {"why twice?"}
        assert [each["model"] for each in requests] == ["gpt-4o", "claude-haiku-4-5"] * 3
        assert client.sent("completion:async") == []
        await hand.press("escape", "s")
        await hand.sees("Submit a prompt")
        await hand.sees_no("why twice?")


async def test_a_refused_run_is_named_and_the_others_go_on() -> None:
    client = Engine()
    whole = client._batch

    def half(data: Mapping[str, Any]) -> dict[str, Any]:
        reply = whole(data)
        reply["accepted"][1] = {"error": "no provider serves it", "code": "no_provider"}
        return reply

    client.replies["completion:batch"] = half
    async with dashboard(client, WIDE) as hand:
        await sent(hand)
        await hand.sees("no provider serves it", "! 1 not answered", "so far r-1")


async def test_what_cannot_be_sent_is_said() -> None:
    client = Engine()
    client.replies["completion:batch"] = {"error": "the queue is full", "code": "queue_full"}
    async with dashboard(client, WIDE) as hand:
        await set_up(hand)
        await hand.press("enter")
        await hand.sees("! the queue is full")
        await hand.press("escape")
        await hand.sees("2 Active")


async def test_the_setup_says_what_is_missing() -> None:
    client = Engine()
    async with dashboard(client, WIDE) as hand:
        await hand.press("d")
        await hand.sees("The same request to several models", "gpt-4o")
        await hand.press("enter")
        await hand.sees("needs two different models: only gpt-4o is named")
        await hand.type("x")
        hand.app.screen.query_one("#times").focus()
        await hand.press("backspace", "0", "enter")
        await hand.sees("times is a whole number from 1 to 10")
        await hand.press("escape")
        await hand.sees("2 Active")
        assert client.sent("completion:batch") == []


async def test_hidden_texts_are_not_shown() -> None:
    client = Engine()
    async with dashboard(client, WIDE, text="never") as hand:
        await hand.press("d")
        await hand.sees('ui.text is "never"')
        assert client.sent("completion:batch") == []


async def test_two_real_models_are_compared(tmp_path: Path) -> None:
    async with over(simulated(tmp_path), WIDE) as hand:
        client = hand.app.client
        assert client is not None
        await client.emit("completion:async", {"prompt": "same words", "model": "sim/echo"})
        await hand.sees("√ completed")
        await hand.press("d")
        await hand.sees("The same request")
        await hand.type("sim/slow")
        await hand.press("enter")
        await hand.sees("6 of 6 over", "3/3")
        await hand.press("v")
        await hand.sees("100% of the words in both", "same words")
        counts = (await client.emit("completion:status"))["status_counts"]
        assert counts["completed"] == 7
