"""The timeline of a request says what a failure did to its provider, and who serves others."""

from __future__ import annotations

import copy

from ksi_tui.screens import later
from tests.ui.harness import WIDE, dashboard
from tests.ui.test_request import REPORT, engine


async def test_the_effect_of_a_failure_stands_behind_it() -> None:
    report = copy.deepcopy(REPORT)
    report["attempts"][0]["verdicts"][2]["detail"] = "counts 1 of 5"
    report["not_serving"] = {"model": "gpt-4o", "providers": ["local-vllm", "azure-eu"]}
    async with dashboard(engine(report), WIDE) as hand:
        await hand.app.push_screen(later.request_screen("r-1042"))
        await hand.sees("local-vllm   skipped: does not serve gpt-4o")
        words = " ".join(hand.screen.replace("│", " ").split())
        assert "! timeout: no first token in 30 s (counts 1 of 5)" in words
        assert words.count("does not serve gpt-4o") == 1, "azure-eu was looked at"
