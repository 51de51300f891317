"""Finds the row under the cursor again when so many came that it left the page that is read.

Asks, and compares answers. What a list shows must not go here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ksi_tui.screens.host import refusal
from ksi_tui.screens.search import Page

Ask = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
REACH = 1000
"""How many rows around the place where it was are looked at; the engine gives no more at once."""


def left_page(
    page: Page | None, asked: Mapping[str, Any], reply: Mapping[str, Any], key: str
) -> bool:
    """Return whether a row of the last page is not in the next answer about the same list."""
    if page is None or refusal(reply) is not None:
        return False
    same = page.query.data | {"offset": asked["offset"], "limit": asked["limit"]} == asked
    return same and _place(page.rows, key) is not None and _place(_rows(reply), key) is None


async def around(
    ask: Ask, page: Page, asked: Mapping[str, Any], reply: Mapping[str, Any], key: str
) -> tuple[dict[str, Any] | None, bool]:
    """Return an answer with the row in its middle, and whether all was seen where it can be.

    None: it was not found; when all was seen, it is not in the list any more.
    """
    grown = int(reply.get("total") or 0) - page.total
    was = page.offset + (_place(page.rows, key) or 0)
    offset = max(0, was + grown // 2 - REACH // 2)
    wide = await ask({**asked, "offset": offset, "limit": REACH})
    rows = _rows(wide)
    place = _place(rows, key)
    if place is None:
        return None, refusal(wide) is None and abs(grown) <= REACH // 2
    begin = max(0, place - asked["limit"] // 2)
    shown = rows[begin : begin + asked["limit"]]
    return {**wide, "requests": shown, "offset": offset + begin}, True


def _rows(reply: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(reply.get("requests") or ())


def _place(rows: Any, key: str) -> int | None:
    return next((at for at, row in enumerate(rows) if row["request_id"] == key), None)
