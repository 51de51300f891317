"""Colours as a theme; every state is also a glyph and a word, so none depends on them."""

from __future__ import annotations

from typing import Any

from textual.app import App
from textual.theme import Theme

DARK = Theme(
    name="ksi-dark",
    primary="#5aa9e6",
    secondary="#7f8fa6",
    accent="#e6b450",
    foreground="#d5dbe3",
    background="#101418",
    surface="#161b21",
    panel="#1e252d",
    success="#7fc97f",
    warning="#e6b450",
    error="#f07178",
    dark=True,
    variables={"frame": "#3b4652", "quiet": "#8793a1", "cursor-row": "#24405a"},
)
LIGHT = Theme(
    name="ksi-light",
    primary="#1f5f99",
    secondary="#5b6674",
    accent="#8a5a00",
    foreground="#1c2126",
    background="#f6f7f8",
    surface="#ffffff",
    panel="#e7eaee",
    success="#216b2c",
    warning="#8a5a00",
    error="#b3261e",
    dark=False,
    variables={"frame": "#b3bcc6", "quiet": "#5b6674", "cursor-row": "#cfe2f3"},
)
THEMES = (DARK, LIGHT)
DEFAULT = DARK.name
"""The theme when the settings name none."""

FALLBACK_VARIABLES = {"frame": "#5b6674", "quiet": "#8793a1", "cursor-row": "#3a4a5a"}
"""Variables of ours that a stock theme does not define."""


def install(app: App[Any], wanted: str | None) -> None:
    """Register our themes and choose one, before the styles are parsed so that it happens once.

    An unknown name leaves the default; the caller compares and says so.
    """
    for known in THEMES:
        app.register_theme(known)
    chosen = wanted if wanted in app.available_themes else DEFAULT
    app.set_reactive(App.theme, chosen)
