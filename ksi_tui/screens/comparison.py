"""Several models' answers to the same request: what was planned, what came, and what differs.

Pure, and the view-model's edge of the comparison: texts of replies are cleaned here.
"""

from __future__ import annotations

import difflib
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ksi_tui.engine.views import Live, Phase
from ksi_tui.screens.draft import Draft
from ksi_tui.screens.report.record import moment, phase_of
from ksi_tui.screens.report.texts import TEXT_LIMIT
from ksi_tui.widgets import fit, formats
from ksi_tui.widgets.clean import clean, clean_block
from ksi_tui.widgets.rows import name_of
from ksi_tui.widgets.spans import Line, Span, Tone, line

MOST_MODELS = 4
MOST_TIMES = 10
MOST_WORDS = 2_000
"""Words of each answer that are compared; finding the difference takes their square."""
_WORDS = re.compile(r"\n|[^\S\n]+|\S+")
_FINAL = (Phase.COMPLETED, Phase.FAILED, Phase.CANCELLED)
_MEASURES: tuple[tuple[str, int], ...] = (("TTFT", 16), ("TOK/S", 13), ("TOKENS", 17), ("TIME", 17))
_NAME_CELLS = 28


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Which models are asked, how often each, and whether with the session's earlier turns."""

    draft: Draft
    models: tuple[str, ...]
    times: int
    history: bool

    def requests(self, asked: Mapping[str, Any], operator: str, name: str) -> list[dict[str, Any]]:
        """Return the requests, one model after the other, each in a session of its own.

        `asked` is the prompt, or the messages, that all of them get; `name` marks them all.
        """
        own = replace(self.draft, session="", history=True, context=(), as_json=False)
        common = {k: v for k, v in own.request(operator).items() if k not in ("prompt", "system")}
        marked = {**(self.draft.extra.get("metadata") or {}), "side_by_side": name}
        return [
            {**common, **asked, "model": model, "metadata": marked}
            for _ in range(self.times)
            for model in self.models
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One request of the comparison, as far as it is known. `number` counts from 1."""

    model: str
    number: int
    request_id: str | None = None
    phase: Phase = Phase.QUEUED
    text: str = ""
    said: str = ""
    provider: str | None = None
    answered_by: str | None = None
    ttft_s: float | None = None
    tokens: int | None = None
    tokens_per_s: float | None = None
    latency_s: float | None = None
    cost: float | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more comes."""
        return self.phase in _FINAL


def refused(run: Run, error: str) -> Run:
    """Return a run whose request the engine did not take."""
    return replace(run, phase=Phase.FAILED, said=clean(error, 300))


def live_run(run: Run, live: Live) -> Run:
    """Return a run as its live view has it."""
    return replace(
        run,
        phase=live.phase,
        said=live.why,
        text=live.text or run.text,
        provider=live.provider,
        answered_by=live.model,
        ttft_s=live.ttft_s,
        tokens=live.tokens,
        tokens_per_s=live.tokens_per_s,
    )


def told_run(run: Run, report: Mapping[str, Any]) -> Run:
    """Return a run as its record has it: the end's own numbers stand over the live ones."""
    phase = phase_of(report, None)
    if phase not in _FINAL:
        return replace(run, phase=phase, said=str(report.get("why") or ""))
    usage = report.get("usage") or {}
    tokens = int(usage.get("output") or 0) + int(usage.get("reasoning") or 0) if usage else None
    began, ended = (moment(report.get(k)) for k in ("started_at", "finished_at"))
    latency = ended - began if began is not None and ended is not None else None
    ttft = report["ttft_ms"] / 1000 if report.get("ttft_ms") is not None else None
    writing = latency - ttft if latency is not None and ttft is not None else None
    error = report.get("error") or {}
    return replace(
        run,
        phase=phase,
        said=f"{error.get('kind')}: {error.get('message')}" if error else "",
        text=str(report.get("text") or ""),
        provider=report.get("provider"),
        answered_by=report.get("model"),
        ttft_s=ttft,
        tokens=tokens,
        tokens_per_s=tokens / writing if tokens and writing else None,
        latency_s=latency,
        cost=report.get("cost"),
    )


# --- the summary ----------------------------------------------------------------------------


def summary(runs: Sequence[Run], models: Sequence[str], width: int) -> list[Line]:
    """Return a row a model: median and range of what its finished runs took."""
    name_cells = min(_NAME_CELLS, max(14, width - 70))
    heads = [f"{head:>{cells}}" for head, cells in _shown(width)]
    lines = [
        line(Span(f"{fit.pad('MODEL', name_cells)}  DONE{''.join(heads)}{'COST':>10}", Tone.DIM))
    ]
    for model in models:
        own = [run for run in runs if run.model == model]
        good = [run for run in own if run.phase is Phase.COMPLETED]
        bad = sum(1 for run in own if run.over) - len(good)
        spreads = [
            (_spread(_measured(good, head), _FORMATS[head], short=width < 100), size)
            for head, size in _shown(width)
        ]
        cells = [fit.pad(text, size, right=True) for text, size in spreads]
        lines.append(
            line(
                fit.pad(fit.middle(name_of(model), name_cells), name_cells),
                f"  {len(good)}/{len(own)}"[:6].ljust(6),
                *cells,
                f"{_costs(good):>10}",
                Span(f"  ! {bad} not answered", Tone.BAD) if bad else Span(""),
            )
        )
    return lines


def _shown(width: int) -> list[tuple[str, int]]:
    return [(head, cells if width >= 100 else 9) for head, cells in _MEASURES]


def _measured(runs: Iterable[Run], head: str) -> list[float]:
    of: Mapping[str, Callable[[Run], float | None]] = {
        "TTFT": lambda run: run.ttft_s,
        "TOK/S": lambda run: run.tokens_per_s,
        "TOKENS": lambda run: run.tokens,
        "TIME": lambda run: run.latency_s,
    }
    return [value for run in runs if (value := of[head](run)) is not None]


_FORMATS: Mapping[str, Callable[[float], str]] = {
    "TTFT": lambda value: formats.latency(value * 1000),
    "TOK/S": formats.rate,
    "TOKENS": formats.count,
    "TIME": lambda value: formats.latency(value * 1000),
}


def _spread(values: Sequence[float], form: Callable[[float], str], *, short: bool) -> str:
    """Return the median, and with room the least and most: `0.7s 0.6s–0.9s`."""
    if not values:
        return formats.NOTHING
    middle = form(statistics.median(values))
    if short or len(values) == 1:
        return middle
    return f"{middle} {form(min(values))}–{form(max(values))}"


def _costs(runs: Sequence[Run]) -> str:
    if not runs:
        return formats.NOTHING
    known = [run.cost for run in runs if run.cost is not None]
    return formats.money(statistics.median(known)) if known else "unpriced"


# --- one answer, and what differs -----------------------------------------------------------


def head(run: Run) -> tuple[Line, str]:
    """Return what stands above an answer: its model and state, and its numbers."""
    other = run.answered_by and run.answered_by != run.model
    named = name_of(run.model) + (f" → {name_of(run.answered_by)}" if other else "")
    numbers = [
        formats.latency(run.ttft_s * 1000) + " ttft" if run.ttft_s is not None else "",
        f"{formats.count(run.tokens)} tok" if run.tokens is not None else "",
        f"{formats.rate(run.tokens_per_s)} tok/s" if run.tokens_per_s is not None else "",
        formats.latency(run.latency_s * 1000) if run.latency_s is not None else "",
    ]
    if run.phase is Phase.COMPLETED:
        numbers.append(formats.money(run.cost))
    numbers.append(name_of(run.provider) if run.provider else "")
    return line(Span(named), "  ", formats.phase(run.phase)), " · ".join(n for n in numbers if n)


def answer(run: Run, width: int, *, shown: bool) -> list[Line]:
    """Return an answer so far, or why there is none."""
    if not shown:
        return [line(Span(f"{len(run.text):,} characters, hidden", Tone.DIM))]
    text = clean_block(run.text, TEXT_LIMIT)
    lines = [line(part) for part in fit.wrapped(text, width)] if text else []
    if run.said and run.phase is not Phase.COMPLETED:
        tone = Tone.BAD if run.phase is Phase.FAILED else Tone.DIM
        said = fit.wrapped(clean(run.said, 300), width)
        lines += [*([Line()] if lines else []), *(line(Span(part, tone)) for part in said)]
    return lines or [line(Span("nothing yet", Tone.DIM))]


Marked = tuple[str, Tone]
"""A piece of a difference: text, and whether it is the one's (BAD), the other's (OK) or both's."""


def difference(one: str, other: str) -> list[Marked]:
    """Return what two answers share and what only one of them has, in words.

    Joined, what is not the other's alone is the one, and what is not the one's alone the
    other, each cut to MOST_WORDS. Blocks: for long answers it takes a part of a second.
    """
    left, right = (_WORDS.findall(text)[:MOST_WORDS] for text in (one, other))
    pieces: list[Marked] = []
    matcher = difflib.SequenceMatcher(None, left, right, autojunk=False)
    for _, start, stop, start_other, stop_other in matcher.get_opcodes():
        gone, come = "".join(left[start:stop]), "".join(right[start_other:stop_other])
        if gone == come:
            pieces.append((gone, Tone.PLAIN))
            continue
        pieces += [(text, tone) for text, tone in ((gone, Tone.BAD), (come, Tone.OK)) if text]
    return pieces


def difference_lines(pieces: Sequence[Marked], width: int) -> list[Line]:
    """Return a difference as lines: `[-only the one's-]`, `{+only the other's+}`."""
    marks = {Tone.BAD: ("[-", "-]"), Tone.OK: ("{+", "+}")}
    lines: list[list[Span]] = [[]]
    room = width
    for text, tone in pieces:
        before, after = marks.get(tone, ("", ""))
        for word in _WORDS.findall(f"{before}{clean_block(text, TEXT_LIMIT)}{after}"):
            size = fit.width_of(line(word))
            if word == "\n" or (size > room and room < width):
                lines.append([])
                room = width
            if word == "\n" or (word.isspace() and room == width):
                continue
            lines[-1].append(Span(fit.end(word, width), tone))
            room -= min(size, width)
    return [Line(tuple(spans)) for spans in lines]


def alike(pieces: Sequence[Marked]) -> float:
    """Return the share of words that both have, 0 to 1."""
    count = {Tone.PLAIN: 0, Tone.BAD: 0, Tone.OK: 0}
    for text, tone in pieces:
        count[tone] += len(text.split())
    whole = 2 * count[Tone.PLAIN] + count[Tone.BAD] + count[Tone.OK]
    return 2 * count[Tone.PLAIN] / whole if whole else 1.0
