"""The committed table of faults says what the contract asks for, fault by fault."""

from __future__ import annotations

from tests.faults.document import CHAPTERS, COLUMNS, DOCUMENT, expected, rows
from tests.faults.matrix import FAULTS

WANTED = [expected(fault, streamed=streamed) for fault in FAULTS for streamed in fault.ends]


def test_every_fault_has_its_row_and_the_row_is_right() -> None:
    assert list(rows(DOCUMENT.read_text(encoding="utf-8"))) == WANTED


def test_every_row_is_told_apart_and_has_all_its_cells() -> None:
    assert len({cells[:2] for cells in WANTED}) == len(WANTED)
    assert {len(cells) for cells in WANTED} == {len(COLUMNS) - 1}
    assert [fault for faults in CHAPTERS.values() for fault in faults] == list(FAULTS)
