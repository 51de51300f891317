"""The lists of requests and of what failed: paged, ordered, marked, and never in anyone's way."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from ksi_tui.engine.views import Live, Phase
from ksi_tui.widgets.table import LiveTable
from tests.ui.harness import SMALL, WIDE, Hand, dashboard
from tests.ui.request_list import ListClient, failed, found, many, waiting
from tests.ui.scripted import AT, busy

SIZES = pytest.mark.parametrize("size", [SMALL, WIDE], ids=["80x24", "140x45"])
STORY = [
    waiting("r-81", session_id="acme-42", metadata={"customer": "globex", "vip": True}),
    failed("r-90", session_id="acme-51", asked_model="gpt-4o", finished_at=AT - 72),
    found("r-91", cost=None, unpriced=1, estimated=True, ttft_ms=None),
    found("r-92", status="cancelled", phase="cancelled", by="op2", reason="ticket 7", cost=None),
]


def table(hand: Hand) -> LiveTable:
    return hand.app.screen.query_one("#requests", LiveTable)


async def listing(hand: Hand, key: str = "i") -> None:
    await hand.press(key)
    await hand.until(lambda: hand.app.screen.query("#requests") and table(hand).total)
    await hand.pilot.pause()


def live(request_id: str, outlook: str) -> Live:
    return Live(
        request_id=request_id,
        phase=Phase.WAITING,
        why="lock held by a7, 0:40 left",
        provider=None,
        model="claude-sonnet-4-5",
        attempt=0,
        max_attempts=3,
        tokens=0,
        ttft_s=None,
        tokens_per_s=None,
        text="",
        text_length=0,
        if_nobody_acts=outlook,
    )


async def test_wide_shows_every_column_of_every_state() -> None:
    async with dashboard(ListClient(STORY), WIDE) as hand:
        await listing(hand)
        await hand.sees("Requests  4", "overview > requests")
        heads = hand.screen.splitlines()[2].split()
        assert heads == ["│", *["REQUEST", "SESSION", "AGENT", "MODEL", "PROVIDER", "STATUS"],
                         *["AGE↑", "LATENCY", "TTFT", "TOK", "COST", "WHY/ERROR", "│"]]  # fmt: skip
        await hand.sees(
            "○ waiting      4m00s       –     –     –        – lock held by a7",
            "→ claude-sonnet-4-5 anthropic  ! failed",
            "timeout: no first token",
            "4.2s     –   412    unpr. –",
            "× cancelled    4m00s    4.2s  0.7s   412        – by op2: ticket 7",
        )


async def test_small_keeps_why_and_tells_the_hidden_columns() -> None:
    async with dashboard(ListClient(STORY), SMALL) as hand:
        await listing(hand)
        heads = hand.screen.splitlines()[2].split()[1:-1]
        assert heads == ["REQUEST", "SESSION", "PROVIDER", "STATUS", "AGE↑", "WHY/ERROR"]
        await hand.sees("r-81: customer=globex · vip=true · claude-sonnet-4-5 · agent a3")
        await hand.press("j")
        await hand.sees("r-90: asked gpt-4o, gets claude-sonnet-4-5 · agent a3 · took 4.2s")


@SIZES
async def test_below_the_table_stand_the_why_and_what_happens_if_nobody_acts(
    size: tuple[int, int],
) -> None:
    client = ListClient(STORY)
    client.lives["r-81"] = live("r-81", "the lock of a7 expires in 0:40, then r-81 starts")
    async with dashboard(client, size) as hand:
        await listing(hand)
        await hand.sees(
            "r-81  ○ waiting  lock held by a7, 0:40 left",
            "If nobody acts: the lock of a7 expires in 0:40, then r-81 starts",
        )
        await hand.press("j")
        await hand.sees("r-90  ! failed  timeout: no first token in 30 s")
        await hand.sees_no("If nobody acts")
        assert client.queries[-1].request_id is None


@pytest.mark.parametrize("size", [SMALL, WIDE, (100, 30), (200, 60), (60, 16)])
@pytest.mark.parametrize("key", ["i", "x"])
async def test_every_line_fills_the_terminal_exactly(size: tuple[int, int], key: str) -> None:
    async with dashboard(ListClient(STORY), size) as hand:
        await listing(hand, key)
        await hand.press("slash")
        await hand.type("acme")
        await hand.sees("filter: acme")
        lines = hand.screen.splitlines()
        assert len(lines) == size[1]
        assert {cell_len(shown) for shown in lines} == {size[0]}


async def test_a_long_story_is_cut_with_a_sign() -> None:
    client = ListClient(STORY)
    client.lives["r-81"] = live("r-81", "a clock fires and much follows from it, " * 8)
    async with dashboard(client, SMALL) as hand:
        await listing(hand)
        await hand.sees("If nobody acts: a clock fires")
        last = hand.screen.splitlines()[-3].rstrip()
        assert last.endswith("…")


async def test_resizing_and_too_small_lose_nothing() -> None:
    async with dashboard(ListClient(STORY), SMALL) as hand:
        await listing(hand)
        await hand.press("j")
        await hand.pilot.resize_terminal(50, 12)
        await hand.sees("50x12 is too small")
        await hand.pilot.resize_terminal(*WIDE)
        await hand.sees("► r-90", "MODEL")


# --- a hundred thousand ------------------------------------------------------------------


@SIZES
async def test_a_hundred_thousand_are_paged_by_window(size: tuple[int, int]) -> None:
    client = ListClient(many(100_000))
    async with dashboard(client, size) as hand:
        await listing(hand)
        await hand.sees("Requests  100k", "► r-99999")
        assert max(sent["limit"] for sent in client.sent("completion:requests")) <= 200
        await hand.press("G")
        await hand.sees("► r-0 ", "s-0 ")
        await hand.press("g")
        await hand.sees("► r-99999")
        for _ in range(7):
            await hand.press("pagedown")
        await hand.until(lambda: table(hand).cursor_key is not None)
        key = table(hand).cursor_key
        await hand.press("j")
        await hand.until(lambda: table(hand).cursor_key not in (None, key))
        assert len(client.sent("completion:requests")) < 20


async def test_scrolling_within_what_is_held_asks_nothing() -> None:
    client = ListClient(many(1000))
    async with dashboard(client, SMALL) as hand:
        await listing(hand)
        asked = len(client.sent("completion:requests"))
        await hand.press(*"jjjjjkk")
        await hand.pilot.pause()
        assert len(client.sent("completion:requests")) == asked


@SIZES
async def test_while_it_waits_it_says_so_and_keeps_the_old_rows(size: tuple[int, int]) -> None:
    client = ListClient(many(10_000))
    async with dashboard(client, size) as hand:
        await listing(hand)
        client.gate.clear()
        await hand.press("slash")
        await hand.type("s-77")
        await hand.sees("searching…", "filter: s-77", "r-9999")
        client.gate.set()
        await hand.sees("filter: s-77 · 110 of 10k")
        await hand.sees_no("searching…", "r-9999")


async def test_the_newest_question_wins_and_none_pile_up() -> None:
    client = ListClient(many(10_000))
    async with dashboard(client, SMALL) as hand:
        await listing(hand)
        client.gate.clear()
        before = len(client.sent("completion:requests"))
        await hand.press("slash")
        await hand.type("session:s-7")
        await hand.press("enter")
        await hand.pilot.pause()
        assert client.most_open <= 2  # the list, and how many there are in all
        # One question that was under way, then the newest: none for the letters between.
        client.gate.set()
        await hand.sees("filter: session:s-7 · 1.1k of 10k")
        asked = [sent["filter"] for sent in client.sent("completion:requests")[before:]]
        assert [text for text in asked if text][-1] == "session:s-7"
        assert len([text for text in asked if text]) <= 2


async def test_an_answer_to_another_filter_is_never_shown() -> None:
    client = ListClient(many(1000))
    async with dashboard(client, SMALL) as hand:
        await listing(hand)
        client.gate.clear()
        await hand.press("slash")
        await hand.type("s-7")
        await hand.until(lambda: client.open_questions)
        await hand.type("77")
        await hand.sees("filter: s-777", "searching…")
        seen: list[str] = []
        client.gate.set()
        for _ in range(30):
            await hand.pilot.pause()
            seen.append(hand.screen)
        await hand.sees("filter: s-777 · 1 of 1.0k")
        assert not any("s-77 " in screen or "s-7 " in screen for screen in seen)


@SIZES
async def test_a_narrower_list_starts_at_its_top(size: tuple[int, int]) -> None:
    async with dashboard(ListClient(many(10_000)), size) as hand:
        await listing(hand)
        await hand.press("G")
        await hand.sees("► r-0 ")
        await hand.press("slash")
        await hand.type("status:failed")
        await hand.press("enter")
        await hand.sees("► r-9990", "filter: status:failed · 900 of 10k")


async def test_no_more_fit_a_filter_than_there_are() -> None:
    client = ListClient([waiting(f"x{n}", queued_at=AT - 1000 + n) for n in range(20)])
    async with dashboard(client, SMALL) as hand:
        await listing(hand)
        await hand.press("slash")
        await hand.type("acme")
        await hand.press("enter")
        await hand.sees("filter: acme · 20 of 20")
        client.rows += [waiting(f"y{n}", queued_at=AT) for n in range(30)]
        client.rows += [waiting(f"z{n}", session_id="globex-7") for n in range(5)]
        client.gate.clear()
        hand.clock.advance(2)
        await hand.until(lambda: client.open_questions)
        client.gate.set()
        await hand.until(lambda: "· 50 of" in hand.screen)
        assert "· 50 of 20" not in hand.screen
        hand.clock.advance(2)
        await hand.sees("filter: acme · 50 of 55")


# --- live --------------------------------------------------------------------------------


async def test_rows_are_read_again_each_second_while_unfinished_ones_are_in_view() -> None:
    client = ListClient(STORY)
    async with dashboard(client, SMALL) as hand:
        await listing(hand)
        asked = len(client.sent("completion:requests"))
        client.rows[0] = found("r-81", session_id="acme-42")
        hand.clock.advance(0.9)
        await hand.pilot.pause(0.1)
        assert len(client.sent("completion:requests")) == asked
        hand.clock.advance(0.2)
        await hand.sees("r-81    acme-42     anthropic  √ completed")
        # Nothing unfinished is in view any more.
        asked = len(client.sent("completion:requests"))
        hand.clock.advance(1.5)
        await hand.pilot.pause(0.1)
        assert len(client.sent("completion:requests")) == asked
        hand.clock.advance(4)
        await hand.until(lambda: len(client.sent("completion:requests")) > asked)


async def test_a_slow_answer_is_not_asked_for_again_at_once() -> None:
    client = ListClient(STORY)
    async with dashboard(client, SMALL) as hand:
        await listing(hand)
        client.gate.clear()
        hand.clock.advance(2)
        await hand.until(lambda: client.open_questions == 1)
        hand.clock.advance(3)
        client.gate.set()
        await hand.until(lambda: not client.open_questions)
        asked = len(client.sent("completion:requests"))
        hand.clock.advance(14)
        await hand.pilot.pause(0.1)
        assert len(client.sent("completion:requests")) == asked
        hand.clock.advance(2)
        await hand.until(lambda: len(client.sent("completion:requests")) > asked)


async def test_one_comes_back_to_a_list_that_was_read_after_that() -> None:
    client = ListClient(STORY)
    async with dashboard(client, SMALL) as hand:
        await listing(hand)
        client.gate.clear()
        hand.clock.advance(2)
        await hand.until(lambda: client.open_questions == 1)
        asked = len(client.sent("completion:requests"))
        await hand.press("question_mark", "escape")
        client.gate.set()
        await hand.until(lambda: len(client.sent("completion:requests")) == asked + 1)


async def test_the_cursor_follows_its_request_when_new_ones_come() -> None:
    client = ListClient(STORY)
    async with dashboard(client, SMALL) as hand:
        await listing(hand)
        await hand.press("j", "j")
        await hand.sees("► r-91")
        client.rows.append(waiting("r-99", queued_at=AT))
        hand.clock.advance(2)
        await hand.sees("Requests  5", "r-99", "► r-91")


@SIZES
async def test_the_cursor_follows_its_request_out_of_the_page(size: tuple[int, int]) -> None:
    rows = [waiting(f"x{number}", queued_at=AT - 1000 + number) for number in range(10)]
    client = ListClient(rows)
    async with dashboard(client, size) as hand:
        await listing(hand)
        await hand.press("j", "j", "j")
        await hand.sees("► x6 ")
        for burst in range(3):
            client.rows += [waiting(f"y{burst}-{n}", queued_at=AT + burst) for n in range(150)]
            hand.clock.advance(2)
            await hand.sees(f"Requests  {10 + 150 * (burst + 1)}", "► x6 ", " x6  ○ waiting")
            assert table(hand).cursor_key == "x6"
        await hand.press("k")
        await hand.sees("► x7 ")


async def test_a_request_that_cannot_be_followed_leaves_no_other_under_the_cursor() -> None:
    client = ListClient([waiting(f"x{n}", queued_at=AT - 1000 + n) for n in range(10)])
    async with dashboard(client, SMALL) as hand:
        await listing(hand)
        await hand.press("j", "j", "j")
        await hand.sees("► x6 ")
        client.rows += [waiting(f"y{n}", queued_at=AT) for n in range(5000)]
        hand.clock.advance(2)
        await hand.sees("the row under the cursor is another one")
        await hand.sees_no("►")
        await hand.press("c")
        await hand.sees("cancel needs a request")
        assert not client.sent("completion:cancel")
        await hand.press("j")
        await hand.sees("► y")


async def test_frozen_nothing_is_read() -> None:
    client = ListClient(STORY)
    async with dashboard(client, SMALL) as hand:
        await listing(hand)
        await hand.press("f")
        await hand.sees("frozen, f goes on")
        asked = len(client.sent("completion:requests"))
        hand.clock.advance(60)
        await hand.pilot.pause(0.1)
        assert len(client.sent("completion:requests")) == asked
        await hand.press("f")
        await hand.until(lambda: len(client.sent("completion:requests")) > asked)


# --- designed states ---------------------------------------------------------------------


@SIZES
async def test_before_the_first_answer_it_reads_and_then_there_is_none(
    size: tuple[int, int],
) -> None:
    client = ListClient([])
    client.gate.clear()
    async with dashboard(client, size) as hand:
        await hand.press("i")
        await hand.sees("Requests", "reading…")
        client.gate.set()
        await hand.sees("There is none.", "s   submit a prompt")


async def test_a_refusal_is_a_state_and_the_old_rows_stay() -> None:
    client = ListClient(STORY)
    async with dashboard(client, SMALL) as hand:
        await listing(hand)
        client.refusal = "the disk is full"
        hand.clock.advance(2)
        await hand.sees("! the disk is full", "r-91")
        client.refusal = None
        hand.clock.advance(2)
        await hand.sees_no("the disk is full")


async def test_what_comes_from_outside_is_clean() -> None:
    evil = "x\x1b[31m\x1b]52;c;aGk=\x07\u202e[bold]"
    error = {"kind": "timeout", "message": evil}
    rows = [
        failed("r-1" + evil, session_id=evil, agent_id=evil, model=evil, error=error),
        waiting("r-2", why=evil, metadata={evil: evil}),
        found("r-3", status="cancelled", phase="cancelled", by=evil, reason=evil),
    ]
    async with dashboard(ListClient(rows), WIDE) as hand:
        for key in ("i", "x"):
            await listing(hand, key)
            for _ in rows:
                await hand.press("j")
                await hand.pilot.pause()
                assert not set("\x1b\x07\u202e") & set(hand.screen)
            await hand.sees("[bold]")


# --- order -------------------------------------------------------------------------------


@SIZES
async def test_the_order_is_chosen_and_turned_round(size: tuple[int, int]) -> None:
    client = ListClient(many(500))
    async with dashboard(client, size) as hand:
        await listing(hand)
        await hand.press("o")
        await hand.sees("Order by", "► AGE        now oldest first", "TOK        most first")
        edge = next(shown for shown in hand.screen.splitlines() if "Order by" in shown)
        assert edge.index("┐", edge.index("Order by")) - edge.index("┌─ Order by") == 51
        await hand.press("j", "j", "j", "enter")
        await hand.until(lambda: client.sent("completion:requests")[-1]["sort"] == "tokens")
        await hand.sees("► r-499 ")
        await hand.press("o", "enter")
        await hand.sees("► r-0 ")
        asked = client.sent("completion:requests")[-1]
        assert (asked["sort"], asked["descending"]) == ("tokens", False)


async def test_the_age_rises_where_the_time_of_queueing_falls() -> None:
    client = ListClient(many(500))
    async with dashboard(client, WIDE) as hand:
        await listing(hand)
        assert client.sent("completion:requests")[-1]["descending"] is True
        await hand.sees("AGE↑", "► r-499")
        await hand.press("o", "enter")
        await hand.sees("AGE↓", "► r-0 ")


async def test_a_click_on_a_head_orders_by_it() -> None:
    client = ListClient(many(500))
    async with dashboard(client, WIDE) as hand:
        await listing(hand)
        heads = hand.screen.splitlines()[2]
        await hand.pilot.click("#requests", offset=(heads.index("TOK"), 1))
        await hand.sees(" TOK↓", "► r-499")
        await hand.pilot.click("#requests", offset=(heads.index("TOK"), 1))
        await hand.sees(" TOK↑", "► r-0 ")
        await hand.pilot.click("#requests", offset=(heads.index("WHY"), 1))
        await hand.sees("rows have no order by WHY/ERROR")


# --- marks and keys ----------------------------------------------------------------------


async def test_space_marks_and_the_star_marks_all_that_match_also_out_of_sight() -> None:
    client = ListClient(many(5000))
    async with dashboard(client, SMALL) as hand:
        await listing(hand)
        await hand.press("space", "space")
        await hand.sees("* r-4999", "* r-4998", "2 marked")
        assert hand.app.screen.marked() == ("r-4999", "r-4998")  # type: ignore[attr-defined]
        await hand.press("asterisk")
        await hand.sees_no("marked ─┐")
        await hand.press("slash")
        await hand.type("status:failed")
        await hand.press("enter")
        await hand.sees("· 450 of 5.0k")
        await hand.press("asterisk")
        await hand.sees("450 marked; * again marks none")
        marked = hand.app.screen.marked()  # type: ignore[attr-defined]
        assert len(marked) == 450
        assert {int(key[2:]) % 10 for key in marked} == {0}
        assert {"filter": "status:failed", "ids_only": True} in client.sent("completion:requests")


async def test_more_than_can_be_marked_is_said() -> None:
    async with dashboard(ListClient(many(12_000)), WIDE) as hand:
        await listing(hand)
        await hand.press("asterisk")
        await hand.sees("the first 10,000 of 12,000 are marked: more at once is not possible")


async def test_marks_of_a_list_that_was_left_meanwhile_are_not_made() -> None:
    client = ListClient(many(1000))
    async with dashboard(client, WIDE) as hand:
        await listing(hand)
        client.gate.clear()
        await hand.press("asterisk", "slash")
        await hand.type("s-7")
        await hand.press("enter")
        client.gate.set()
        await hand.sees("filter: s-7 · ", "not marked: another list was asked for meanwhile")
        assert hand.app.screen.marked() == ()  # type: ignore[attr-defined]


async def test_enter_and_a_double_click_open_and_back_comes_back_to_the_row() -> None:
    client = ListClient(STORY)
    client.replies["completion:request_status"] = {"request_id": "r-90", "session_id": "acme-51"}
    async with dashboard(client, WIDE) as hand:
        await listing(hand)
        await hand.press("j", "enter")
        await hand.sees("overview > requests > acme-51 > r-90")
        await hand.press("escape")
        await hand.sees("► r-90", "Requests  4")
        await hand.pilot.click("#requests", offset=(8, 4), times=2)
        await hand.until(lambda: "requests >" in hand.screen.splitlines()[0])


async def test_the_footer_offers_what_the_row_allows() -> None:
    async with dashboard(ListClient(STORY), WIDE) as hand:
        await listing(hand)
        await hand.sees("w why", "c cancel", "n elsewhere")
        assert "r retry" not in hand.screen.splitlines()[-1]
        await hand.press("j")
        await hand.sees("r retry")
        assert "w why" not in hand.screen.splitlines()[-1]
        assert "c cancel" not in hand.screen.splitlines()[-1]


async def test_copy_takes_the_marked_ids() -> None:
    async with dashboard(ListClient(STORY), WIDE) as hand:
        await listing(hand)
        await hand.press("space", "space", "y")
        await hand.sees("2 ids, ", "offered to the terminal")
        assert hand.app.clipboard == "r-81\nr-90"


# --- failed ------------------------------------------------------------------------------


@SIZES
async def test_failed_is_the_dead_set_its_error_first(size: tuple[int, int]) -> None:
    rows = [*STORY, failed("r-95", finished_at=AT - 10, error={"kind": "quota_exceeded"})]
    client = ListClient(rows)
    async with dashboard(client, size) as hand:
        await listing(hand, "x")
        await hand.sees("overview > failed", "Failed  2", "► ! quota_exceeded", "! timeout")
        heads = hand.screen.splitlines()[2].split()[1:-1]
        assert heads[:3] == ["ERROR", "REQUEST", "SESSION"]
        assert {"ENDED↑", "TRIES", "MESSAGE"} < set(heads)
        await hand.sees("1m12s   3/3")
        await hand.press("slash")
        await hand.type("timeout")
        await hand.press("enter")
        await hand.sees("filter: timeout · 1 of 2 · esc clears", "► ! timeout")
        assert client.sent("completion:requests")[-1]["filter"] != "timeout"
        assert "status:failed timeout" in [
            sent["filter"] for sent in client.sent("completion:requests")
        ]
        await hand.press("asterisk")
        await hand.sees("1 marked")
        assert hand.app.screen.marked() == ("r-90",)  # type: ignore[attr-defined]


async def test_one_that_failed_goes_again_from_there() -> None:
    client = ListClient(STORY)
    client.replies["completion:retry"] = {"retried": [{"request_id": "r-90", "changed": True}]}
    async with dashboard(client, SMALL) as hand:
        await listing(hand, "x")
        await hand.press("r")
        await hand.until(lambda: client.sent("completion:retry"))
        assert client.sent("completion:retry")[0]["request_id"] == "r-90"


# --- from the overview -------------------------------------------------------------------


@SIZES
@pytest.mark.parametrize("typed", ["acme-42", "meta.customer:globex"])
async def test_support_types_a_name_on_the_overview_and_reads_why(
    size: tuple[int, int], typed: str
) -> None:
    client = ListClient(STORY)
    client.lives["r-81"] = live("r-81", "the lock of a7 expires in 0:40, then r-81 starts")
    client.replies["completion:request_status"] = {"request_id": "r-81", "session_id": "acme-42"}
    async with dashboard(client, size) as hand:
        await hand.press("slash")
        await hand.sees("enter keep  esc leave", "2 Active")
        await hand.type(typed)
        await hand.press("enter")
        await hand.sees(
            f"filter: {typed} · 1 of 4 · esc goes back",
            "► r-81",
            "lock held by a7, 0:40 left",
            "If nobody acts: the lock of a7 expires in 0:40",
        )
        assert client.sent("completion:requests")[-1]["sort"] in ("worst", "queued")
        assert "worst" in [sent["sort"] for sent in client.sent("completion:requests")]
        await hand.press("enter")
        await hand.sees("overview > requests > acme-42 > r-81")
        await hand.press("escape", "escape")
        await hand.sees("2 Active")


@SIZES
async def test_the_bar_on_the_overview_goes_without_a_trace(size: tuple[int, int]) -> None:
    async with dashboard(ListClient(STORY), size) as hand:
        await hand.press("slash")
        await hand.sees("esc leave")
        await hand.type("acme age:5")
        await hand.sees("^ age is compared")
        await hand.press("escape")
        await hand.sees_no("esc leave", "acme age:5")
        await hand.press("slash", "enter")
        await hand.sees_no("esc leave")
        assert hand.app.screen.WHERE == "overview"  # type: ignore[attr-defined]


async def test_an_order_on_the_overview_leads_to_the_rows_of_the_pane() -> None:
    client = ListClient([*STORY, waiting("r-96", status="processing", phase="streaming")])
    async with dashboard(client, WIDE) as hand:
        await hand.press("o")
        await hand.sees("Order by", "WORST")
        await hand.press("j", "enter")
        await hand.sees("filter: status:processing,retrying · 1 of 5 · esc goes back", "r-96")
        await hand.press("escape", "3", "o")
        await hand.sees("only rows of requests can be ordered")


async def test_marks_on_the_overview_are_requests() -> None:
    rows = [
        found(view.request_id, status="processing", phase="streaming") for view in busy().active
    ]
    async with dashboard(ListClient([*STORY, *rows]), WIDE) as hand:
        await hand.press("space")
        await hand.sees("* r-1042")
        assert hand.app.screen.marked() == ("r-1042",)  # type: ignore[attr-defined]
        await hand.press("asterisk", "asterisk")
        await hand.sees("8 marked")
        assert set(hand.app.screen.marked()) == {  # type: ignore[attr-defined]
            view.request_id for view in busy().active
        }
        await hand.press("1", "space")
        await hand.sees("marks are for requests")


async def test_the_engine_still_starting_is_said() -> None:
    client = ListClient(STORY)
    async with dashboard(client, SMALL) as hand:
        hand.app.client = None
        await hand.press("i")
        await hand.sees("the engine is starting")
        hand.app.client = client
        await hand.sees("Requests  4")
