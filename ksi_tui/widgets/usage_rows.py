"""The table of usage, and the lines of totals, as clean cells: the view-model's edge for sums."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from ksi_tui.widgets import formats
from ksi_tui.widgets.rows import name_of
from ksi_tui.widgets.spans import Line, Span, Tone, line
from ksi_tui.widgets.table import Column, Row

GROUPS: Final = ("provider", "model", "agent", "session", "minute", "hour", "day")
"""What the table may be by, in the order in which `o` goes through them."""
_TIMES: Final = ("minute", "hour")


def columns(by: str) -> tuple[Column, ...]:
    """Return the columns of the table by something."""
    return (
        Column(name=by.upper(), width=24, narrow=16, elide_middle=True),
        Column(name="REQ", width=6, right=True),
        Column(name="ERRORS", width=6, right=True, drop=6),
        Column(name="IN", width=6, right=True, drop=7),
        Column(name="OUT", width=6, right=True),
        Column(name="CACHE", width=5, right=True, drop=4),
        Column(name="LATENCY", width=7, right=True, drop=5),
        Column(name="TTFT", width=6, right=True, drop=2),
        Column(name="COST", width=20, narrow=17, right=True),
        Column(name="WASTE", width=6, right=True, drop=3),
        Column(name="WASTED $", width=10, right=True, drop=1),
    )


def row_of(by: str, group: Mapping[str, Any]) -> Row:
    """Return the row of a group of `completion:token_usage`."""
    usage, waste, errors = group["usage"], group["waste"], int(group.get("errors") or 0)
    name = str(group[by] or "")
    return Row(
        key=name,
        cells=(
            Span(_named(by, name)),
            Span(formats.count(usage["request_count"])),
            Span(formats.count(errors), Tone.BAD if errors else Tone.DIM),
            Span(_sign(usage) + formats.count(taken_in(usage))),
            Span(_sign(usage) + formats.count(usage["output_tokens"] + usage["reasoning_tokens"])),
            Span(formats.percent(cache_share(usage))),
            Span(formats.latency(group.get("latency_ms"))),
            Span(formats.latency(group.get("ttft_ms"))),
            Span(formats.cost(usage["cost"], usage["unpriced"], word="unpr.")),
            Span(formats.count(waste["tokens"]), Tone.WARN if waste["tokens"] else Tone.DIM),
            Span(_wasted(waste)),
        ),
    )


def _named(by: str, name: str) -> str:
    if by in _TIMES and name:
        moment = datetime.fromisoformat(name)
        return f"{moment.day:>2} {moment:%b %H:%M}"
    return name_of(name) if name else f"no {by}"


def _sign(usage: Mapping[str, Any]) -> str:
    return "~" if usage["estimated"] else ""


def _wasted(waste: Mapping[str, Any]) -> str:
    if not waste["calls"]:
        return formats.NOTHING
    bound = "≥ " if waste["unpriced"] and waste["cost"] else ""
    return bound + formats.money(waste["cost"])


def taken_in(usage: Mapping[str, Any]) -> int:
    """Return all tokens that were sent, cached ones too."""
    parts = ("input_tokens", "cache_read_tokens", "cache_write_tokens")
    return sum(int(usage[part]) for part in parts)


def cache_share(usage: Mapping[str, Any]) -> float | None:
    """Return which part of what was sent came from a cache; None where no cache had a part."""
    cached = usage["cache_read_tokens"] + usage["cache_write_tokens"]
    return usage["cache_read_tokens"] / taken_in(usage) if cached else None


def totals_lines(reply: Mapping[str, Any]) -> list[Line]:
    """Return the whole of a time in a few lines: tokens, cost, waste, MCP."""
    usage, waste, mcp = reply["usage"], reply["waste"], reply["mcp_statistics"]
    share = waste["tokens"] / usage["total_tokens"] if usage["total_tokens"] else None
    wasted = [formats.percent(share), f"{formats.count(waste['tokens'])} tok"]
    if waste["cost"] is not None:
        wasted.append(formats.money(waste["cost"]))
    return [
        _pair("requests", f"{usage['request_count']:,}"),
        _pair("in", f"{_sign(usage)}{formats.count(taken_in(usage))}"),
        _pair("out", f"{_sign(usage)}{formats.count(_out(usage))}"),
        _pair("cache", formats.percent(cache_share(usage))),
        _pair("cost", formats.cost(usage["cost"], usage["unpriced"], word="unpr.")),
        _pair("waste", ", ".join(wasted) if waste["calls"] else "none", bad=bool(waste["calls"])),
        *([_pair("", _in_vain(waste), bad=True)] if waste["calls"] else []),
        *_mcp(mcp),
    ]


def _in_vain(waste: Mapping[str, Any]) -> str:
    word = "call" if waste["calls"] == 1 else "calls"
    return f"{formats.count(waste['calls'])} {word}, {formats.age(waste['seconds'])} in vain"


def _out(usage: Mapping[str, Any]) -> int:
    return int(usage["output_tokens"] + usage["reasoning_tokens"])


def _mcp(mcp: Mapping[str, Any]) -> list[Line]:
    lines = []
    if mcp["mcp_requests"]:
        schemas = formats.count(mcp["tool_schema_tokens_per_request"])
        share = formats.percent(mcp["share"])
        lines.append(_pair("MCP", f"{share}, {schemas} tok of schemas each"))
    if mcp["cache_savings"]:
        lines.append(_pair("saved", f"{formats.money(mcp['cache_savings'])} by caches"))
    return lines


def _pair(name: str, text: str, *, bad: bool = False) -> Line:
    return line(Span(f"{name:<9}", Tone.DIM), Span(text, Tone.WARN if bad else Tone.PLAIN))
