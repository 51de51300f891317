"""Which columns of a live table have room, and how wide they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.widgets import rows
from ksi_tui.widgets.table import Column, laid_out

TABLES = {
    "active": rows.ACTIVE,
    "queues": rows.QUEUES,
    "providers": rows.PROVIDERS,
    "locks": rows.LOCKS,
}


def shown(columns: tuple[Column, ...], width: int) -> list[str]:
    return [columns[index].name for index, _ in laid_out(columns, width)]


def test_all_columns_show_at_140() -> None:
    assert shown(rows.ACTIVE, 138) == [column.name for column in rows.ACTIVE]
    assert shown(rows.PROVIDERS, 138) == [column.name for column in rows.PROVIDERS]


def test_at_80_the_columns_of_the_target_picture_remain() -> None:
    assert shown(rows.ACTIVE, 78) == [
        "REQUEST",
        "SESSION",
        "PROVIDER",
        "PHASE",
        "AGE",
        "TOK/S",
        "WHY",
    ]


@pytest.mark.parametrize("columns", TABLES.values(), ids=TABLES.keys())
@given(width=st.integers(49, 300))
def test_the_last_column_never_goes_and_the_line_is_filled(
    columns: tuple[Column, ...], width: int
) -> None:
    laid = laid_out(columns, width)
    assert columns[laid[-1][0]].width == 0
    used = 2 + sum(size for _, size in laid) + len(laid) - 1
    assert used == width or laid[-1][1] == 0


@pytest.mark.parametrize("columns", TABLES.values(), ids=TABLES.keys())
@given(width=st.integers(58, 300))
def test_why_keeps_room_to_be_read_at_every_size_that_is_supported(
    columns: tuple[Column, ...], width: int
) -> None:
    assert laid_out(columns, width)[-1][1] >= 8
