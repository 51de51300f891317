"""The footer: the keys that work here and now, as many as there is room for; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from ksi_tui.actions import RIGHT, Action, shown_key
from ksi_tui.widgets import fit
from ksi_tui.widgets.spans import Line, Span, Tone

_FOOTER_GAPS = 4
"""A blank at either end of the footer, and two at least between its halves."""


def footer_line(
    actions: Sequence[Action],
    keymap: Mapping[str, str],
    width: int,
    *,
    kept: frozenset[str] = frozenset(),
) -> Line:
    """Return the keys that work here; where they don't fit, the last that are not `kept` go first.

    Then all but the first of the right end, which help lists, and at last those that are kept.
    """
    hints = [(shown_key(a, keymap), a) for a in actions]
    left = tuple((k, a.label, a.id in kept) for k, a in hints if k and a.footer < RIGHT)
    right = tuple((k, a.label) for k, a in hints if k and a.footer >= RIGHT)
    return _fitted(left, right, width)


@lru_cache(maxsize=64)  # measured: composing the same footer 10 times a second was 0.7 % of a core
def _fitted(
    left: tuple[tuple[str, str, bool], ...], right: tuple[tuple[str, str], ...], width: int
) -> Line:
    shown, ends = list(left), list(right)
    while shown and not _fits(shown, ends, width):
        spare = [hint for hint in shown if not hint[2]]
        if spare:
            shown.remove(spare[-1])
        elif len(ends) > 1:
            ends.pop()
        else:
            shown.pop()
    ending = Line((*key_hints(*ends).spans, Span(" ")))
    return fit.both_ends(Line((Span(" "), *_hints(shown).spans)), ending, width)


def _fits(
    left: Sequence[tuple[str, str, bool]], right: Sequence[tuple[str, str]], width: int
) -> bool:
    used = fit.width_of(_hints(left)) + fit.width_of(key_hints(*right))
    return used + _FOOTER_GAPS <= width


def _hints(hints: Sequence[tuple[str, str, bool]]) -> Line:
    return key_hints(*((key, label) for key, label, _ in hints))


def key_hints(*pairs: tuple[str, str]) -> Line:
    """Return keys and what they do in one line."""
    spans: list[Span] = []
    for key, label in pairs:
        spans += [Span("  " if spans else ""), Span(key, Tone.KEY), Span(f" {label}")]
    return Line(tuple(span for span in spans if span.text))
