"""The filter bar: typing, completion, errors in place, history, and saved filters."""

from __future__ import annotations

import pytest

from ksi_tui.widgets.filter_bar import FilterBar
from tests.ui.harness import SMALL, WIDE, Hand, dashboard
from tests.ui.request_list import ListClient, failed, found, waiting

ROWS = [
    waiting("r-81", session_id="acme-42", metadata={"customer": "globex"}),
    failed("r-90", session_id="acme-51", agent_id="a9"),
    found("r-91", session_id="hooli-3"),
]
SIZES = pytest.mark.parametrize("size", [SMALL, WIDE], ids=["80x24", "140x45"])


async def opened(hand: Hand) -> None:
    await hand.press("i")
    await hand.sees("overview > requests", "r-81", "r-90", "r-91")
    await hand.press("slash")
    await hand.sees("enter keep  esc leave")


def bar(hand: Hand) -> list[str]:
    """The bar's line and what stands below it."""
    lines = hand.screen.splitlines()
    index = next(i for i, shown in enumerate(lines) if shown.startswith(" / "))
    return lines[index : index + 4]


async def narrower(hand: Hand, width: int) -> None:
    """Make the terminal so wide, which has the bar look at what stands there once more."""
    await hand.pilot.resize_terminal(width, hand.app.size.height)
    await hand.until(lambda: hand.app.screen.query_one(FilterBar).size.width == width)
    await hand.pilot.pause()


@SIZES
async def test_what_fits_shows_while_typing_and_enter_keeps_it(size: tuple[int, int]) -> None:
    async with dashboard(ListClient(ROWS), size) as hand:
        await opened(hand)
        await hand.type("acme")
        await hand.sees_no("r-91")
        await hand.sees("filter: acme · 2 of 3", "r-81", "r-90")
        await hand.press("enter")
        await hand.sees("filter: acme · 2 of 3 · esc clears", "enter open")
        assert not hand.screen.splitlines()[-3].startswith(" / ")
        await hand.press("escape")
        await hand.sees("Requests  3", "r-91")
        await hand.press("escape")
        await hand.sees("2 Active")


async def test_escape_in_the_bar_brings_back_what_was_before() -> None:
    async with dashboard(ListClient(ROWS), SMALL) as hand:
        await opened(hand)
        await hand.type("hooli")
        await hand.press("enter")
        await hand.sees("filter: hooli · 1 of 3")
        await hand.press("slash")
        await hand.type(" x")
        await hand.sees("Nothing fits hooli x")
        await hand.press("escape")
        await hand.sees("filter: hooli · 1 of 3 · esc clears", "r-91")


async def test_keys_of_the_screen_are_letters_in_the_bar() -> None:
    client = ListClient(ROWS)
    async with dashboard(client, SMALL) as hand:
        await opened(hand)
        await hand.type("scrq:1 ?*")
        await hand.sees("/ scrq:1 ?*")
        assert hand.app.screen.marked() == ()  # type: ignore[attr-defined]
        assert not client.sent("completion:retry")


@SIZES
async def test_names_of_fields_and_values_are_completed(size: tuple[int, int]) -> None:
    client = ListClient(ROWS)
    async with dashboard(client, size) as hand:
        await opened(hand)
        await hand.type("sess")
        await hand.until(lambda: bar(hand)[1].startswith("   tab session:"))
        await hand.press("tab")
        await hand.type("a")
        await hand.until(lambda: "session:acme-42  session:acme-51" in bar(hand)[1])
        await hand.press("tab", "tab")
        await hand.until(lambda: bar(hand)[0].startswith(" / session:acme-51 "))
        await hand.press("shift+tab", "enter")
        await hand.sees("filter: session:acme-42 · 1 of 3", "r-81")
        assert {"field": "session", "prefix": "a", "limit": 20} in client.sent("completion:names")


async def test_words_of_a_status_are_completed_without_asking() -> None:
    client = ListClient(ROWS)
    async with dashboard(client, SMALL) as hand:
        await opened(hand)
        await hand.type("-status:fai")
        await hand.press("tab", "enter")
        await hand.sees("filter: -status:failed · 2 of 3")
        assert not client.sent("completion:names")


@SIZES
async def test_an_error_stands_at_its_position_and_names_what_is_allowed(
    size: tuple[int, int],
) -> None:
    client = ListClient(ROWS)
    async with dashboard(client, size) as hand:
        await opened(hand)
        await hand.type("acme age:5")
        await hand.until(lambda: "^ age is compared: age>30s" in bar(hand)[1])
        assert bar(hand)[1].index("^") == bar(hand)[0].index("age:5")
        await hand.press("enter")
        await hand.until(lambda: "^ age is compared" in bar(hand)[1])
        # What was last right stays shown, and nothing wrong was asked.
        await hand.sees("filter: acme ag")
        assert not any(":5" in sent["filter"] for sent in client.sent("completion:requests"))


async def test_a_long_error_takes_the_lines_it_needs() -> None:
    async with dashboard(ListClient(ROWS), SMALL) as hand:
        await opened(hand)
        await hand.type("acme stat:x")
        await hand.until(lambda: "at 6: no field 'stat'; fields: session:" in bar(hand)[1])
        assert "to look for it as text put it in quotes" in " ".join(bar(hand)[1:])


async def test_the_last_filters_come_back_by_up_and_down() -> None:
    async with dashboard(ListClient(ROWS), SMALL) as hand:
        for text in ("hooli", "acme"):
            await hand.press("i")
            await hand.sees("Requests  3")
            await hand.press("slash")
            await hand.sees("esc leave")
            await hand.type(text)
            await hand.press("enter")
            await hand.sees(f"filter: {text}")
            await hand.press("escape")
            await hand.sees("Requests  3")
            await hand.press("escape")
            await hand.sees("2 Active")
        await opened(hand)
        await hand.type("mine")
        await hand.press("up", "up", "up")
        await hand.until(lambda: bar(hand)[0].startswith(" / hooli "))
        await hand.press("down")
        await hand.until(lambda: bar(hand)[0].startswith(" / acme "))
        await hand.press("down")
        await hand.until(lambda: bar(hand)[0].startswith(" / mine "))


@SIZES
async def test_a_filter_is_saved_and_recalled_by_its_name(size: tuple[int, int]) -> None:
    async with dashboard(ListClient(ROWS), size, filters={"ops": "agent:a9"}) as hand:
        await opened(hand)
        await hand.type("status:waiting")
        await hand.press("ctrl+s")
        await hand.sees("save as @", "enter saves status:waiting · saved: ops")
        await hand.type("stuck")
        await hand.press("enter")
        await hand.sees("√ @stuck recalls it", "/ status:waiting")
        await hand.press("ctrl+u")
        await hand.type("@s")
        await hand.until(lambda: "tab @stuck" in bar(hand)[1])
        await hand.press("tab", "enter")
        await hand.sees("filter: @stuck · 1 of 3", "r-81")
        await hand.press("slash", "ctrl+u")
        await hand.type("@ops")
        await hand.press("enter")
        await hand.sees("filter: @ops · 1 of 3", "r-90")


async def test_an_unknown_name_and_a_bad_one_are_told() -> None:
    async with dashboard(ListClient(ROWS), WIDE) as hand:
        await opened(hand)
        await hand.type("@nope")
        await hand.sees("^ no saved filter @nope; there are none yet: ctrl+s saves one")
        await hand.press("ctrl+u")
        await hand.type("acme")
        await hand.press("ctrl+s")
        await hand.sees("save as @")
        await hand.type("a b")
        await hand.press("enter")
        await hand.sees("! a name has letters, digits")
        await narrower(hand, 130)
        assert "! a name has letters, digits" in hand.screen
        await hand.press("escape")
        await hand.sees("/ acme")
        await hand.press("escape")
        await hand.sees("Requests  3")


async def test_what_enter_was_refused_for_stands_until_it_is_mended() -> None:
    async with dashboard(ListClient(ROWS), WIDE) as hand:
        assert hand.app.filters.save("stuck", "age>30s") is None
        await opened(hand)
        await hand.type("@stu")
        await hand.sees("tab @stuck")
        await hand.press("enter")
        await hand.sees("^ no saved filter @stu")
        await narrower(hand, 130)
        assert "^ no saved filter @stu" in hand.screen
        await hand.press("tab")
        await hand.sees("/ @stuck")
        await hand.sees_no("no saved filter")


async def test_a_saved_filter_is_removed_by_saving_nothing() -> None:
    async with dashboard(ListClient(ROWS), SMALL) as hand:
        hand.app.filters.save("stuck", "status:waiting")
        await opened(hand)
        await hand.press("ctrl+s")
        await hand.sees("remove saved @", "saved: stuck")
        await hand.type("stuck")
        await hand.press("enter")
        await hand.sees("√ @stuck is removed")
        assert dict(hand.app.filters.saved) == {}

        await narrower(hand, 70)
        assert "√ @stuck is removed" in hand.screen, "what was done is told until the next key"
        await hand.type("a")
        await hand.sees_no("√ @stuck is removed")


async def test_names_that_carry_escapes_reach_the_screen_without_them() -> None:
    rows = [found("r-1", session_id="evil\x1b]52;c;aGk=\x07[@click=app.quit]x\u202e")]
    async with dashboard(ListClient(rows), WIDE) as hand:
        await hand.press("i")
        await hand.sees("Requests  1")
        await hand.press("slash")
        await hand.sees("esc leave")
        await hand.type("session:evil")
        await hand.until(lambda: "]52;c;aGk=[@click=app.quit]x" in bar(hand)[1])
        assert not set("\x1b\x07\u202e") & set(hand.screen)


async def test_the_palette_recalls_a_saved_filter_from_any_screen() -> None:
    settings = {"stuck": "status:waiting", "odd": "[@click=app.quit] [/nope]"}
    async with dashboard(ListClient(ROWS), WIDE, filters=settings) as hand:
        await hand.press("colon")
        await hand.until(lambda: "alette" in str(hand.app.screen))
        await hand.type("filter @")
        await hand.sees("Filter @stuck", "status:waiting", "[@click=app.quit] [/nope]")
        await hand.type("stuck")
        await hand.sees_no("Filter @odd")
        await hand.press("enter")
        await hand.sees("filter: @stuck · 1 of 3 · esc goes back", "► r-81")
