"""The journal behind the live log: when it is asked, and when it is left alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ksi_tui.screens.event_filter import read
from ksi_tui.screens.past_events import AGAIN_S, PastEvents


@pytest.mark.parametrize(("code", "again"), [("not_ready", True), ("invalid_request", False)])
async def test_who_could_not_answer_is_asked_again_after_a_while_who_refused_is_not(
    code: str, again: bool
) -> None:
    async def refuses(_: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"error": "no", "code": code}

    past = PastEvents(read(""), float("inf"))
    assert past.wants_more(100.0)
    assert not past.wants_more(100.0)  # one question at a time
    await past.go_back(refuses)
    assert past.error is not None
    assert not past.wants_more(100.0 + AGAIN_S / 2)
    assert past.wants_more(100.0 + AGAIN_S) is again
