"""Themes: every tone can be read, with 16 colours too, and without colour nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rich.color import Color as RichColor
from rich.color import ColorSystem
from textual.color import Color
from textual.filter import ANSIToTruecolor, Monochrome, NoColor
from textual.theme import Theme

from ksi_tui import theme
from ksi_tui.app import KsiApp
from ksi_tui.ui_settings import FirstUi
from ksi_tui.widgets.spans import Tone
from ksi_tui.widgets.tones import cursor_style, tone_styles
from tests.ui.scripted import ScriptedClient, busy

SHADED = [known for known in theme.THEMES if not known.ansi]
LEAST = 4.5
"""The contrast that WCAG 2.2 asks of text (1.4.3, level AA)."""


def variables(chosen: Theme) -> dict[str, str]:
    named = ("primary", "accent", "foreground", "background", "success", "warning", "error")
    return {name: str(getattr(chosen, name)) for name in named} | chosen.variables


def texts(chosen: Theme) -> Iterator[tuple[Tone, RichColor]]:
    """Every tone that text has; a frame is none."""
    for tone, style in tone_styles(variables(chosen)).items():
        if tone is not Tone.FRAME:
            yield tone, style.color or RichColor.parse(str(chosen.foreground))


def luminance(colour: RichColor) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    parts = (part / 255 for part in colour.get_truecolor())
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: RichColor, other: RichColor) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("chosen", SHADED, ids=lambda chosen: chosen.name)
def test_every_tone_is_readable(chosen: Theme) -> None:
    background = RichColor.parse(str(chosen.background))
    for tone, colour in texts(chosen):
        assert contrast(colour, background) >= LEAST, tone


@pytest.mark.parametrize("chosen", SHADED, ids=lambda chosen: chosen.name)
def test_every_tone_is_readable_in_16_colours_too(chosen: Theme) -> None:
    background = RichColor.parse(str(chosen.background)).downgrade(ColorSystem.STANDARD)
    for tone, colour in texts(chosen):
        assert colour.downgrade(ColorSystem.STANDARD).number != background.number, tone


@pytest.mark.parametrize("chosen", SHADED, ids=lambda chosen: chosen.name)
def test_the_cursors_row_is_readable(chosen: Theme) -> None:
    style = cursor_style(variables(chosen))
    if style.reverse:
        return
    assert style.bgcolor is not None
    for tone, colour in texts(chosen):
        assert contrast(colour, style.bgcolor) >= 3, tone


def test_the_terminals_own_theme_uses_no_shade_and_marks_the_cursor_without_a_colour() -> None:
    colours = variables(theme.TERMINAL)
    assert all(
        value.startswith("ansi_") for name, value in colours.items() if name != "cursor-style"
    )
    assert cursor_style(colours).reverse
    for tone, style in tone_styles(colours).items():
        assert style.color is None or style.color.is_default or style.color.number is not None, tone


def app(**ui: object) -> KsiApp:
    settings = FirstUi(operator="op1", **ui)  # type: ignore[arg-type]
    return KsiApp(ScriptedClient(busy()).connect, ui=settings, name="ksi")


@pytest.mark.parametrize(
    ("environ", "named", "expected"),
    [
        ({"TERM": "xterm-256color"}, None, "ksi-dark"),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, None, "ksi-dark"),
        ({"TERM": "linux"}, None, "ksi-terminal"),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, None, "ksi-terminal"),
        ({"TERM": "linux"}, "ksi-light", "ksi-light"),
        ({"TERM": "xterm-256color"}, "ksi-contrast", "ksi-contrast"),
    ],
)
def test_what_is_chosen_where_the_settings_name_none(
    environ: dict[str, str], named: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "COLORTERM", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert app(theme=named).theme == expected


def test_no_color_means_none_not_greys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    filters = app()._filters
    assert any(isinstance(found, NoColor) for found in filters)
    assert not any(isinstance(found, Monochrome) for found in filters)


@pytest.mark.parametrize("chosen", theme.THEMES, ids=lambda chosen: chosen.name)
async def test_the_chosen_theme_is_what_is_drawn_from_the_first_frame_on(chosen: Theme) -> None:
    running = app(theme=chosen.name)
    async with running.run_test() as pilot:
        await pilot.pause()
        expected = Color.parse(variables(chosen)["background"])
        assert running.screen.styles.background.rgb == expected.rgb
        assert running.theme_variables["error"] == running.get_css_variables()["error"]
        assert running.has_class("-dark-mode") == chosen.dark
        kept = any(isinstance(f, ANSIToTruecolor) and f.enabled for f in running._filters)
        assert kept == (not chosen.ansi)
        await running.close_engine()
