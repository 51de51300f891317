"""Fitting text into a number of terminal cells; widths are cells, never characters."""

from __future__ import annotations

from functools import lru_cache

from rich.cells import cell_len, set_cell_size

from ksi_tui.widgets.clean import ELLIPSIS
from ksi_tui.widgets.spans import Line, Span

_MOST_KEPT = 0.7
"""The share of a cut text that must stand before a word for the word to go as a whole."""

_STUMP = 12
"""Cells of a cut item that say nothing."""


def width_of(line: Line) -> int:
    """Return the cells that a line takes."""
    return sum(cell_len(span.text) for span in line.spans)


def cells(text: str) -> int:
    """Return the cells that a text takes."""
    return cell_len(text)


def end(text: str, width: int) -> str:
    """Return `text` in at most `width` cells, its end replaced by `…` when it is longer.

    A word that would be cut goes as a whole, unless that took much of the text along.
    """
    if cell_len(text) <= width:
        return text
    if width <= 1:
        return ELLIPSIS[:width]
    taken = _take(text, width - 1)
    if text[len(taken)] != " " and taken.rfind(" ") >= len(taken) * _MOST_KEPT:
        taken = taken[: taken.rfind(" ")]
    return taken.rstrip(" ,;:") + ELLIPSIS


def items(text: str, width: int) -> str:
    """Return as much of `a · b · c` as has room in `width` cells; no item is cut to a stump."""
    shown = end(text, width)
    kept, dot, last = shown.rpartition(" · ")
    whole = shown == text or not dot or cell_len(last) > _STUMP
    return shown if whole else kept


def middle(text: str, width: int) -> str:
    """Return an id in at most `width` cells, its middle replaced by `…` when it is longer."""
    if cell_len(text) <= width:
        return text
    if width < 5:
        return end(text, width)
    tail = max(2, min(3, (width - 1) // 3))
    return _take(text, width - 1 - tail) + ELLIPSIS + _take_last(text, tail)


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Return `text` in exactly `width` cells, aligned left or `right`."""
    gap = width - cell_len(text)
    if gap < 0:
        return set_cell_size(text, width)
    return " " * gap + text if right else text + " " * gap


def clip(line: Line, width: int) -> Line:
    """Return a line of at most `width` cells; a cut one ends in `…`."""
    if width_of(line) <= width:
        return line
    spans: list[Span] = []
    left = width
    for span in line.spans:
        size = cell_len(span.text)
        if size >= left:
            text = span.text if size < left else end(span.text + " ", left)
            spans.append(Span(text, span.tone))
            break
        spans.append(span)
        left -= size
    return Line(tuple(spans), line.cursor)


def both_ends(left: Line, right: Line, width: int) -> Line:
    """Return `left` and `right` at the two ends of `width` cells; `left` is cut where they meet."""
    room = width - width_of(right)
    if room <= 0:
        return clip(right, width)
    left = clip(left, room - 1)
    gap = Span(" " * (room - width_of(left)))
    return Line((*left.spans, gap, *right.spans), left.cursor)


@lru_cache(maxsize=2048)
def wrap(text: str, width: int) -> tuple[str, ...]:
    """Return one paragraph as lines of at most `width` cells, broken at spaces where it can be.

    Leading blanks stay, since listings are indented with them.
    """
    if cell_len(text) <= width or width < 1:
        return (text,)
    lines: list[str] = []
    rest = text
    while cell_len(rest) > width:
        head = _take(rest, width) or rest[0]
        cut = head.rfind(" ") if len(rest) > len(head) and rest[len(head)] != " " else len(head)
        if cut <= len(head) - len(head.lstrip(" ")):
            cut = len(head)
        lines.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip(" ")
    if rest:
        lines.append(rest)
    return tuple(lines)


def wrapped(block: str, width: int) -> list[str]:
    """Return a text of several paragraphs as lines of at most `width` cells."""
    return [line for paragraph in block.split("\n") for line in wrap(paragraph, width)]


def _take(text: str, width: int) -> str:
    if text.isascii():
        return text[: max(0, width)]
    used = 0
    for index, char in enumerate(text):
        used += cell_len(char)
        if used > width:
            return text[:index]
    return text


def _take_last(text: str, width: int) -> str:
    used = 0
    for index in range(len(text) - 1, -1, -1):
        used += cell_len(text[index])
        if used > width:
            return text[index + 1 :]
    return text
