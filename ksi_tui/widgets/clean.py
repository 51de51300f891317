"""The one sanitiser: whatever came from outside passes here before a widget sees it.

Control characters move cursors and write clipboards, bidi and zero-width characters
make two different ids look the same, piled-up combining marks bleed into the lines
above. Nothing else belongs here; cutting a text to a column's width is `fit`'s.
"""

from __future__ import annotations

import re
import unicodedata

_SPACES = re.compile("[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]+")
_LINE_ENDS = re.compile("\r\n|[\r\v\f\x85\u2028\u2029]")
_UNSAFE_CLASS = (
    "\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"  # invisible, by script
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f"  # zero-width, bidi, separators
    "\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff"  # blanks, selectors, specials
    "\ud800-\udfff"  # lone surrogates
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff"  # musical formatting, tags
)
UNSAFE = re.compile(f"[{_UNSAFE_CLASS}]")
"""Any one character that must never reach a terminal from outside."""

_MAX_MARKS = 2
ELLIPSIS = "…"


def clean(text: str, limit: int) -> str:
    """Return `text` as one safe line of at most `limit` characters, a cut one ending in `…`.

    Line ends and tabs become single spaces. What is removed leaves nothing behind, and
    at most two combining marks follow one character.
    """
    cut = text[: limit * 4 + 64]
    if not (cut.isascii() and cut.isprintable()):
        cut = _without_unsafe(_SPACES.sub(" ", cut))
    return _capped(cut, limit, longer=len(cut) < limit and len(text) > limit * 4 + 64)


def clean_block(text: str, limit: int) -> str:
    """As `clean`, but lines stay lines: every kind of end becomes a newline, a tab four spaces."""
    cut = text[: limit * 4 + 64]
    lines = _LINE_ENDS.sub("\n", cut).replace("\t", "    ").split("\n")
    joined = "\n".join(
        line if line.isascii() and line.isprintable() else _without_unsafe(line) for line in lines
    )
    return _capped(joined, limit, longer=len(joined) < limit and len(text) > limit * 4 + 64)


def _capped(text: str, limit: int, *, longer: bool) -> str:
    if len(text) <= limit and not longer:
        return text
    return text[: max(0, limit - 1)] + ELLIPSIS


def _without_unsafe(text: str) -> str:
    text = UNSAFE.sub("", text)
    return text if text.isascii() else _thin_marks(text)


def _thin_marks(text: str) -> str:
    marks = 0
    kept: list[str] = []
    for char in text:
        category = unicodedata.category(char)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if marks <= _MAX_MARKS and category[0] != "C":
            kept.append(char)
    return "".join(kept)
