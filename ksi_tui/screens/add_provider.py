"""How to add a real provider: text only; keys come from the environment, never through here."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from ksi_tui.screens.dialog import Box, Dialog, Sheet
from ksi_tui.widgets.clean import clean
from ksi_tui.widgets.spans import Line, Span, Tone, line

_VARIABLES = (
    "OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY,",
    "MISTRAL_API_KEY, DEEPSEEK_API_KEY",
)
EXAMPLE = (
    "[[providers]]",
    'name = "openai"',
    'models = ["gpt-*"]',
    'model = "openai/{model}"',
    'api_key_env = "OPENAI_API_KEY"',
    "max_concurrency = 16",
)
"""A provider as the settings file holds it; checked against the settings by a test."""


class AddProvider(Dialog[None]):
    """Says which variables are looked at and what the settings file holds."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter,q", "keep", show=False)]

    def __init__(self, config_hint: str) -> None:
        super().__init__()
        self._config_hint = clean(config_hint, 300)

    def compose(self) -> ComposeResult:
        with Box():
            yield Sheet(id="question")

    def on_mount(self) -> None:
        super().on_mount()
        self.set_heading("How to add a provider")
        path = self._config_hint or "ksi-tui config path names it"
        self.query_one("#question", Sheet).show(
            line("  With a key in the environment, at the next start:"),
            *(line("    ", Span(names, Tone.KEY)) for names in _VARIABLES),
            Line(),
            line("  Or in the settings file (ksi-tui config init writes a commented one):"),
            line("    ", Span(path, Tone.DIM)),
            Line(),
            *(line("    ", Span(text, Tone.BUSY)) for text in EXAMPLE),
            Line(),
            line("  A key itself never goes into the file: it is read from the"),
            line("  environment, and neither stored nor shown."),
            Line(),
            line(Span("  esc", Tone.KEY), " close"),
        )
