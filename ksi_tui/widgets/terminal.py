"""The last station before the terminal: filters over every painted line.

`SafeFilter` is the backstop behind `clean`: whatever a stock widget let through is taken
out here. `AsciiFilter` spells the glyphs for terminals without them. Both rest on how
Textual applies its line filters (pinned by a test on the real byte stream).
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from ksi_tui.widgets.clean import UNSAFE

_SPELLED = str.maketrans(
    {
        "🔎": "/ ",  # the palette's, two cells wide
        **dict(zip("►○·√×●▲■▼–—…≥≤→•‖“”‘’", ">o.+x*^#v--~><>*|\"\"''", strict=True)),
        **dict(zip("▁▂▃▄▅▆▇█", "..::--=#", strict=True)),
        **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╰╯┏┓┗┛╔╗╚╝╸╺", "+"),
        **dict.fromkeys("─━═▔╌┄", "-"),
        **dict.fromkeys("│┃║▎▌▐▕▏▊┆┊¦", "|"),
    }
)


def without_unsafe(text: str) -> str:
    """Return `text` with the same width in cells and no character that acts on a terminal."""
    return UNSAFE.sub(lambda found: "?" * cell_len(found.group()), text)


class SafeFilter(LineFilter):
    """Takes control, bidi and invisible characters out of painted lines."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:  # noqa: ARG002
        """Return the segments; only those that need it are replaced."""
        if not any(control or UNSAFE.search(text) for text, _, control in segments):
            return segments
        return [Segment(without_unsafe(text), style) for text, style, _ in segments]


@lru_cache(maxsize=8192)
def spelled(text: str) -> str:
    """Return `text` with our glyphs in ASCII, and what a terminal may draw two cells wide too."""
    if text.isascii():
        return text
    text = text.translate(_SPELLED)
    return "".join(map(_narrow, text))


def _narrow(char: str) -> str:
    if char.isascii() or unicodedata.east_asian_width(char) != "A":
        return char
    plain = unicodedata.normalize("NFKD", char)[:1]
    return plain if plain.isascii() else "?" * cell_len(char)


class AsciiFilter(LineFilter):
    """Spells every glyph of the screen with one ASCII character, for `--ascii`."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:  # noqa: ARG002
        """Return the segments in ASCII."""
        return [Segment(spelled(text), style, control) for text, style, control in segments]
