"""Colours as a theme; every state is also a glyph and a word, so none depends on them."""

from __future__ import annotations

import os
from typing import Any

from textual.app import App
from textual.filter import Monochrome, NoColor
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
CONTRAST = Theme(
    name="ksi-contrast",
    primary="#5cd6ff",
    secondary="#ffffff",
    accent="#ffff00",
    foreground="#ffffff",
    background="#000000",
    surface="#000000",
    panel="#000000",
    success="#00ff00",
    warning="#ffff00",
    error="#ff8080",
    dark=True,
    variables={
        "frame": "#ffffff",
        "quiet": "#ffffff",
        "cursor-row": "#0000aa",
        "cursor-style": "reverse",
    },
)
TERMINAL = Theme(
    name="ksi-terminal",
    ansi=True,
    primary="ansi_cyan",
    secondary="ansi_default",
    accent="ansi_magenta",
    foreground="ansi_default",
    background="ansi_default",
    surface="ansi_default",
    panel="ansi_default",
    boost="ansi_default",
    success="ansi_green",
    warning="ansi_yellow",
    error="ansi_red",
    dark=True,
    variables={
        "frame": "ansi_default",
        "quiet": "ansi_default",
        "cursor-row": "ansi_blue",
        "cursor-style": "reverse",
        # what stock widgets ask of a theme of the terminal's own colours
        "ansi-background": "ansi_default",
        "ansi-foreground": "ansi_default",
        "border": "ansi_default",
        "border-blurred": "ansi_default",
        "block-cursor-foreground": "ansi_black",
        "block-cursor-background": "ansi_cyan",
        "input-cursor-foreground": "ansi_black",
        "input-cursor-background": "ansi_cyan",
        "input-selection-foreground": "ansi_black",
        "input-selection-background": "ansi_cyan",
        "screen-selection-foreground": "ansi_black",
        "screen-selection-background": "ansi_cyan",
        "scrollbar": "ansi_cyan",
        "scrollbar-hover": "ansi_cyan",
        "scrollbar-active": "ansi_cyan",
        "scrollbar-background": "ansi_default",
        "scrollbar-background-hover": "ansi_default",
        "scrollbar-background-active": "ansi_default",
        "scrollbar-corner-color": "ansi_default",
    },
)
"""The terminal's own colours, whatever they are; nothing in it is told apart by shade."""
THEMES = (DARK, LIGHT, CONTRAST, TERMINAL)
DEFAULT = DARK.name
"""The theme when the settings name none and the terminal has more than 16 colours."""

FALLBACK_VARIABLES = {"frame": "#5b6674", "quiet": "#8793a1", "cursor-row": "#3a4a5a"}
"""Variables of ours that a stock theme does not define."""


def install(app: App[Any], wanted: str | None) -> None:
    """Register our themes and choose one, before the styles are parsed so that it happens once.

    An unknown name leaves the default; the caller compares and says so. With 16 colours, or
    NO_COLOR, shades would be lost: then the default is the terminal's own colours.
    """
    for known in THEMES:
        app.register_theme(known)
    few = app.no_color or (os.environ.get("TERM") and app.console.color_system == "standard")
    default = TERMINAL.name if few and wanted is None else DEFAULT
    app.set_reactive(App.theme, wanted if wanted in app.available_themes else default)
    _apply(app)
    if app.no_color:  # greys would be colours still, and bold and reverse are all that is needed
        app._filters = [NoColor() if isinstance(f, Monochrome) else f for f in app._filters]


def _apply(app: App[Any]) -> None:
    """Do what a change of theme does, before there is anything to refresh: no watcher has run."""
    chosen = app.current_theme
    app.stylesheet.set_variables(app.get_css_variables())
    app.set_class(chosen.dark, "-dark-mode", update=False)
    app.set_class(not chosen.dark, "-light-mode", update=False)
    app._refresh_truecolor_filter(app.ansi_theme)
