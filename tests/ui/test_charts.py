"""Charts of latency: what is unknown is a gap, and first tokens stand beside whole answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ksi_tui.screens.report import provider as told
from tests.ui import test_usage_screen as usage
from tests.ui.harness import SMALL, WIDE, dashboard
from tests.ui.scripted import ScriptedClient, busy
from tests.ui.test_provider import series


def test_an_unknown_latency_is_a_gap_and_no_calls_are_none() -> None:
    reply = series()
    (of,) = reply["series"]
    of["latency_ms"] = [4000.0] * 30 + [None] * 30
    of["requests"] = [0.5] * 30 + [0.0] * 30
    lines = [each.text for each in told.charts(reply, "openai", 78, 30)]
    latency = next(at for at, text in enumerate(lines) if text.startswith("latency s  now 4"))
    assert lines[-1].partition("└")[2].strip() == "─" * 36 + "·" * 36
    assert "·" not in "".join(lines[:latency])


async def test_usage_draws_first_tokens_with_whole_answers() -> None:
    def both(data: Mapping[str, Any]) -> dict[str, Any]:
        reply = usage.series(data)
        for each in (reply["total"], *reply["series"]):
            each["ttft_ms"] = [400.0] * len(each["latency_ms"])
        return reply

    replies = {"completion:series": both, "completion:token_usage": usage.token_usage}
    for size in (SMALL, WIDE):
        async with dashboard(ScriptedClient(busy(), replies), size) as hand:
            await hand.press("m")
            await hand.press("4")
            await hand.sees("a answer  b first token", "aaaa", "bbbb")
            await hand.press("v")
            await hand.sees_no("b first token")
