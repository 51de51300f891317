"""Fitting and spelling text: indents stay, two ends never meet, ascii is ascii."""

from __future__ import annotations

from ksi_tui.widgets import fit
from ksi_tui.widgets.spans import line
from ksi_tui.widgets.terminal import spelled


def test_a_word_too_long_for_its_indented_line_is_cut_and_keeps_the_indent() -> None:
    assert fit.wrap("    abcdefghij", 8) == ("    abcd", "efghij")


def test_the_left_end_gives_way_where_both_do_not_fit() -> None:
    shown = fit.both_ends(line("a" * 20), line("right"), 12)
    assert shown.text == "aaaaa… right"
    assert fit.both_ends(line("left"), line("right"), 12).text == "left   right"


def test_in_ascii_what_a_terminal_may_draw_two_cells_wide_is_spelled_too() -> None:
    assert spelled("± 5 § ½ ► done") == "? 5 ? 1 > done"
    assert spelled("日本 ok") == "日本 ok"
