"""What colour a tone has: read from the theme's variables, once per theme.

Component classes would do the same per widget and tone; resolving those cost a third of
the first frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from rich.color import Color as RichColor
from rich.style import Style
from textual.color import Color

from ksi_tui.widgets.spans import Tone

_VARIABLE: Mapping[Tone, str] = {
    Tone.DIM: "quiet",
    Tone.OK: "success",
    Tone.WARN: "warning",
    Tone.BAD: "error",
    Tone.BUSY: "primary",
    Tone.KEY: "accent",
    Tone.FRAME: "frame",
    Tone.FOCUS: "accent",
}
_BOLD = frozenset({Tone.STRONG, Tone.BAD, Tone.KEY, Tone.FOCUS})
_CURSOR_VARIABLE = "cursor-row"
_CURSOR_STYLE = "cursor-style"
"""Says "reverse" in a theme whose background colours cannot be relied on."""


def tone_styles(variables: Mapping[str, str]) -> Mapping[Tone, Style]:
    """Return the style of every tone under a theme's variables."""
    return _styles(tuple((tone, variables.get(name, "")) for tone, name in _VARIABLE.items()))


@lru_cache(maxsize=16)
def _styles(colours: tuple[tuple[Tone, str], ...]) -> Mapping[Tone, Style]:
    named = dict(colours)
    return {
        tone: Style(color=_colour(named.get(tone, "")), bold=True if tone in _BOLD else None)
        for tone in Tone
    }


def _colour(text: str) -> RichColor | None:
    return Color.parse(text).rich_color if text else None


def cursor_style(variables: Mapping[str, str]) -> Style:
    """Return the style of the cursor's row under a theme's variables."""
    return _cursor(variables.get(_CURSOR_VARIABLE, ""), variables.get(_CURSOR_STYLE, ""))


@lru_cache(maxsize=16)
def _cursor(colour: str, how: str) -> Style:
    return Style(reverse=True) if how == "reverse" else Style(bgcolor=_colour(colour))
