"""Designed states without data: first start, starting, a failed start, a screen too small."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ksi_tui.screens.layouts import LEAST
from ksi_tui.widgets import fit
from ksi_tui.widgets.clean import clean_block
from ksi_tui.widgets.spans import Line, Span, Tone, line

if TYPE_CHECKING:
    from ksi_tui.client import Snapshot

_FAULT_LIMIT = 4000


def too_small(width: int, height: int) -> list[Line]:
    """Return what a terminal below the least size shows."""
    return [
        line(Span(f"{width}x{height} is too small", Tone.WARN)),
        line(f"{LEAST[0]}x{LEAST[1]} shows the tabs,"),
        line("120x36 every pane."),
        line("The engine goes on."),
        line(Span("q", Tone.KEY), " quits"),
    ]


def active(
    snapshot: Snapshot | None, fault: str | None, width: int, *, attached: bool = False
) -> list[Line]:
    """Return what stands in Active while nothing runs; `attached`: in another's engine."""
    if fault is not None:
        return failed_start(fault, width, attached=attached)
    if snapshot is None and attached:
        return _block("Attaching to the engine: asking its door for the first picture.")
    if snapshot is None:
        return _block(
            "Starting the engine: opening the database, finding what was left unfinished."
        )
    if snapshot.simulated_only and not (snapshot.totals.queued or snapshot.totals.active):
        return first_start()
    return [Line(), line("  Nothing is running.  ", Span("s", Tone.KEY), "  submit a prompt")]


def first_start() -> list[Line]:
    """Return the first steps, for an engine without a real provider."""
    return [
        Line(),
        line("  Nothing is running. No provider key was found, so the simulated provider"),
        line("  answers: no network, no cost."),
        Line(),
        _step("s", "submit a prompt", "enter in the form sends it"),
        _step("D", "start demo load with faults", "stops with D"),
        _step("K", "how to add a real provider", "OPENAI_API_KEY, ANTHROPIC_API_KEY,"),
        _step(" ", "", "or a settings file"),
        _step("?", "every key of this screen", ""),
    ]


def _step(key: str, what: str, note: str) -> Line:
    return line("  ", Span(key, Tone.KEY), f"   {what:<31}", Span(note, Tone.DIM))


def failed_start(fault: str, width: int, *, attached: bool = False) -> list[Line]:
    """Return why the engine could not start or be attached to, and what can be done."""
    what = "! Not attached to the engine" if attached else "! The engine could not start"
    lines = [Line(), line("  ", Span(what, Tone.BAD)), Line()]
    lines += [
        line("  ", text)
        for text in fit.wrapped(clean_block(fault, _FAULT_LIMIT), max(20, width - 8))
    ]
    return [*lines, Line(), line("  Nothing was changed.  ", Span("q", Tone.KEY), "  quit")]


def _block(text: str) -> list[Line]:
    return [Line(), line(f"  {text}")]
