"""Models, sessions and previews in words, for the form. Pure; the view-model's edge of it.

Every name and text of a reply is cleaned here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ksi_tui.widgets import fit, formats
from ksi_tui.widgets.clean import clean, clean_block
from ksi_tui.widgets.rows import name_of
from ksi_tui.widgets.spans import Line, Span, Tone, line

Reply = Mapping[str, Any]
TEXT_LIMIT = 20_000
"""Characters of one message that a preview shows."""
HIDDEN = 'hidden: ui.text is "never"'
_NAME_CELLS = 34
_WARN_SHARE = 0.9
_VERDICT_TONES = {"taken": Tone.OK, "not_reached": Tone.DIM}


def fitting(models: Sequence[Reply], typed: str) -> list[Reply]:
    """Return the models that hold every word typed, in their name or a provider's."""
    words = typed.lower().split()
    return [
        row
        for row in models
        if all(word in f"{row['model']} {' '.join(row['providers'])}".lower() for word in words)
    ]


def model_line(row: Reply, width: int) -> Line:
    """Return a model of the list: its name, and what is known of it."""
    name = fit.middle(name_of(row["model"]), min(_NAME_CELLS, max(12, width // 3)))
    tone = Tone.DIM if row.get("pattern") else Tone.PLAIN
    return line(
        Span(fit.pad(name, min(_NAME_CELLS, max(12, width // 3))), tone),
        Span(f"  {model_facts(row)}", Tone.DIM),
    )


def model_facts(row: Reply) -> str:
    """Return a model's prices per million tokens, its window and, cut first, its providers."""
    if row.get("pattern"):
        return f"{_providers(row)} · any name that fits"
    prices = "unpriced"
    if row.get("input_price") is not None:
        prices = f"{_price(row, 'input_price')} in {_price(row, 'output_price')} out /M"
    window = f" · {formats.count(row['window'])} window" if row.get("window") else ""
    default = " · default" if row.get("default") else ""
    return f"{prices}{window} · {_providers(row)}{default}"


def _price(row: Reply, name: str) -> str:
    """Return a price without cents where it has none."""
    return "?" if row.get(name) is None else formats.money(row[name]).removesuffix(".00")


def _providers(row: Reply) -> str:
    names = [name_of(name) for name in row.get("providers") or ()]
    return ", ".join(names) or "nobody"


# --- preview --------------------------------------------------------------------------------


def summary(reply: Reply) -> Line:
    """Return in one line what goes along, how much it is, and who would take it."""
    size = f"{'~' if reply.get('estimated') else ''}{int(reply.get('tokens') or 0):,} tokens"
    window = reply.get("window")
    share = int(reply.get("tokens") or 0) / window if window else None
    tone = Tone.WARN if share is not None and share > _WARN_SHARE else Tone.PLAIN
    of = f", {formats.percent(share)} of {formats.count(window)}" if share is not None else ""
    return line(_turns(reply), " · ", Span(f"{size}{of}", tone), " · ", _taker(reply))


def _turns(reply: Reply) -> str:
    turns, trimmed = int(reply.get("turns") or 0), int(reply.get("trimmed_turns") or 0)
    said = "no earlier turn" if not turns else f"{turns} earlier turn{'' if turns == 1 else 's'}"
    left_out = f", {trimmed} left out (window)" if trimmed else ""
    injected = int(reply.get("injections") or 0)
    return f"{said}{left_out}{f', {injected} injected' if injected else ''}"


def _taker(reply: Reply) -> Span:
    for each in reply.get("candidates") or ():
        if each.get("verdict") == "taken":
            detail = f" {clean(str(each['detail']), 60)}" if each.get("detail") else ""
            return Span(f"to {name_of(each.get('provider'))}{detail}", Tone.OK)
    return Span("nobody can take it now, so it would wait", Tone.WARN)


def preview_lines(reply: Reply, width: int, *, shown: bool) -> list[Line]:
    """Return the messages as they would be sent, then what routing says of each candidate."""
    lines: list[Line] = []
    for message in reply.get("messages") or ():
        lines += _message(message, width, shown=shown)
    lines += [Line(), line(Span("routing now", Tone.DIM))]
    for each in reply.get("candidates") or ():
        verdict = str(each.get("verdict") or "")
        name = name_of(each.get("provider"))
        detail = clean(str(each.get("detail") or verdict.replace("_", " ")), 120)
        detail = detail.removeprefix(f"{name} ")
        word = "taken" if verdict == "taken" else "next" if verdict == "not_reached" else "skipped"
        said = "" if detail in (word, "not reached") else f" {detail}"
        lines.append(
            line(
                f"  {fit.pad(fit.middle(name, 14), 15)}",
                Span(f"{word}{said}", _VERDICT_TONES.get(verdict, Tone.WARN)),
            )
        )
    if reply.get("why_estimated"):
        said = f"tokens are estimated: {clean(str(reply['why_estimated']), 200)}"
        lines += [Line(), *(line(Span(part, Tone.DIM)) for part in fit.wrapped(said, width))]
    return lines


def _message(message: Reply, width: int, *, shown: bool) -> list[Line]:
    role = clean(str(message.get("role", "")), 10)
    content = message.get("content")
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    said = clean_block(text or "", TEXT_LIMIT) if shown else f"{len(text or ''):,} characters"
    return [
        line(Span(f"{role if not index else '':<10}{'>' if not index else ' '} ", Tone.DIM), part)
        for index, part in enumerate(fit.wrapped(said, max(10, width - 12)))
    ]
