"""Text as the line widgets take it: spans with a tone, never markup and never colours.

A tone is a name; which colour it has is the theme's. Leaf module.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Tone(StrEnum):
    """What a piece of text means to the eye. A state is always glyph and word as well."""

    PLAIN = "plain"
    DIM = "dim"
    STRONG = "strong"
    OK = "ok"
    WARN = "warn"
    BAD = "bad"
    BUSY = "busy"
    KEY = "key"
    FRAME = "frame"
    FOCUS = "focus"


class Span(NamedTuple):
    """A piece of one line in one tone."""

    text: str
    tone: Tone = Tone.PLAIN


class Line(NamedTuple):
    """One line of spans; `cursor` lights the whole of it."""

    spans: tuple[Span, ...] = ()
    cursor: bool = False

    @property
    def text(self) -> str:
        """The line without its tones."""
        return "".join(span.text for span in self.spans)


def line(*parts: str | Span, cursor: bool = False) -> Line:
    """Return a line of the given parts; a bare string is plain."""
    return Line(
        tuple(part if isinstance(part, Span) else Span(part) for part in parts if part), cursor
    )
