"""`ksi-tui usage`: tokens and cost, also while an engine runs."""

from __future__ import annotations

import argparse
import asyncio
import csv
import io
import json
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ksi_tui.commands.database import reading
from ksi_tui.commands.output import columns, write
from ksi_tui.commands.settings import settings
from ksi_tui.engine.errors import InputError
from ksi_tui.engine.models import CallRecord, Usage
from ksi_tui.engine.store.base import Reader
from ksi_tui.engine.store.records import UsageQuery, UsageTotals
from ksi_tui.engine.store.usage import less
from ksi_tui.engine.usage_report import cost_of, savings_of, waste_cost_of
from ksi_tui.exits import OK
from ksi_tui.widgets import formats
from ksi_tui.widgets.clean import clean

_PAGE = 1_000
SESSIONS_SHOWN = 100
"""How many sessions a person is shown, those with the most tokens."""
_OTHERS = "others"
_NAME_CHARS = 60
_AGO = re.compile(r"(\d+(?:\.\d+)?)([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

Row = dict[str, Any]


def execute(options: argparse.Namespace) -> int:
    """Print sums, or with --records every single call."""
    if options.records and options.by:
        raise InputError("--records prints every call; it does not go with --by")
    query = UsageQuery(since=since(options.since, datetime.now(UTC)), by=options.by)
    asyncio.run(_print(options, query))
    return OK


def since(text: str | None, now: datetime) -> float | None:
    """Return the moment that `--since` names, in epoch seconds; None when it was not given."""
    if text is None:
        return None
    if ago := _AGO.fullmatch(text):
        try:
            return (now - timedelta(**{_UNITS[ago[2]]: float(ago[1])})).timestamp()
        except OverflowError:
            return 0.0
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(
            f"--since {text}: give 30m, 24h, 7d or 2w, or a date or time like "
            "2026-11-22 or 2026-11-22T03:12 (UTC)"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


async def _print(options: argparse.Namespace, query: UsageQuery) -> None:
    async with reading(options, settings(options)) as reader:
        if options.records:
            form = _form(options, _record_cells, right=frozenset(range(7, 13)))
            async for page in _records(reader, query):
                write(form(page))
        else:
            form = _form(options, _sum_cells, right=frozenset(range(1, 10)))
            for_eyes = not (options.json or options.csv)
            rows = await _sums(reader, query, for_eyes=for_eyes)
            write(form(rows))
            if for_eyes:
                write(_notes(rows))


def _form(
    options: argparse.Namespace, cells: Callable[[Row], dict[str, str]], right: frozenset[int]
) -> Callable[[list[Row]], str]:
    """Return what turns pages of rows into text; only the first page has a heading."""
    first = True

    def text(rows: list[Row]) -> str:
        nonlocal first
        heading, first = first, False
        if options.json:
            return "".join(f"{json.dumps(row)}\n" for row in rows)
        if options.csv:
            return _as_csv(rows, heading=heading)
        shown = [cells(row) for row in rows]
        table = columns([tuple(shown[0]), *(tuple(row.values()) for row in shown)], right=right)
        return table if heading else table.partition("\n")[2]

    return text


def _notes(rows: list[Row]) -> str:
    """Return what is said under a table of sums."""
    lines = [mcp_line(rows[-1])]
    if any(row["by"] is None and row["key"] == _OTHERS for row in rows):
        lines.append(
            f"listed are the {SESSIONS_SHOWN} sessions with most tokens; --json or --csv has all"
        )
    return "".join(f"{line}\n" for line in lines if line)


async def _sums(reader: Reader | None, query: UsageQuery, *, for_eyes: bool) -> list[Row]:
    """Return the groups and, last, the sum of all.

    Nobody reads twenty thousand sessions: `for_eyes` there are those with the most tokens, and
    one row for the others.
    """
    few = for_eyes and query.by == "session"
    if few:
        query = replace(query, largest=SESSIONS_SHOWN + 1)
    groups = list(await reader.usage(query)) if reader else []
    whole = UsageTotals()
    if reader and query.by:
        plain = UsageQuery(since=query.since)
        whole = next((totals for _, totals in await reader.usage(plain)), whole)
        rows = [sums_row(query.by, key, totals) for key, totals in groups]
        if few and len(groups) > SESSIONS_SHOWN:
            shown = [totals for _, totals in groups[:SESSIONS_SHOWN]]
            rows[SESSIONS_SHOWN:] = [sums_row(None, _OTHERS, less(whole, shown))]
        return [*rows, sums_row(None, "all", whole)]
    return [sums_row(None, "all", groups[0][1] if groups else whole)]


def sums_row(by: str | None, key: str, totals: UsageTotals) -> Row:
    """Return sums as plain data. `cost` is null when nothing in it has a price."""
    return {
        "by": by,
        "key": key,
        "requests": totals.requests,
        "calls": totals.calls,
        **_buckets(totals.usage),
        "estimated": totals.estimated,
        "cost": cost_of(totals),
        "unpriced": totals.unpriced,
        "waste_tokens": totals.waste_tokens,
        "waste_cost": waste_cost_of(totals),
        "unpriced_waste": totals.unpriced_waste,
        "waste_calls": totals.waste_calls,
        "waste_s": round(totals.waste_s, 3),
        "mcp_requests": totals.mcp_requests,
        "tool_schema_tokens": totals.tool_schema_tokens,
        "cache_savings": savings_of(totals),
        "unpriced_savings": totals.unpriced_savings,
    }


def _buckets(usage: Usage) -> Row:
    return {
        "input": usage.input,
        "cache_read": usage.cache_read,
        "cache_write": usage.cache_write,
        "output": usage.output,
        "reasoning": usage.reasoning,
        "total": usage.total,
    }


def _sum_cells(row: Row) -> dict[str, str]:
    tilde = "~" if row["estimated"] else ""
    return {
        (row["by"] or "").upper() or "SUM": clean(row["key"], _NAME_CHARS) or formats.NOTHING,
        "REQUESTS": f"{row['requests']:,}",
        "CALLS": f"{row['calls']:,}",
        "INPUT": f"{row['input']:,}",
        "CACHE READ": f"{row['cache_read']:,}",
        "CACHE WRITE": f"{row['cache_write']:,}",
        "OUTPUT": f"{row['output']:,}",
        "REASONING": f"{row['reasoning']:,}",
        "TOTAL": f"{tilde}{row['total']:,}",
        "COST": formats.cost(row["cost"], row["unpriced"]),
        "WASTE": _waste(row),
    }


def _waste(row: Row) -> str:
    if not row["waste_calls"]:
        return "none"
    cost = formats.cost(row["waste_cost"], row["unpriced_waste"])
    return f"{row['waste_tokens']:,} tok, {cost}, {formats.age(row['waste_s'])}"


def mcp_line(row: Row) -> str:
    """Return what MCP and caches come to in a sum, as one line; "" when there is nothing."""
    parts = []
    if requests := row["mcp_requests"]:
        share = formats.percent(requests / row["requests"])
        each = formats.count(row["tool_schema_tokens"] / requests)
        parts.append(f"MCP in {requests:,} requests ({share}), {each} tokens of tool schemas each")
    if row["cache_read"]:
        saved = formats.cost(row["cache_savings"], row["unpriced_savings"])
        parts.append(f"{row['cache_read']:,} tokens read from caches, saved {saved}")
    return "; ".join(parts)


async def _records(reader: Reader | None, query: UsageQuery) -> AsyncIterator[list[Row]]:
    after = 0
    while reader and (page := await reader.usage_records(query, after, _PAGE)):
        after = page[-1][0]
        yield [record_row(call) for _, call in page]


def record_row(call: CallRecord) -> Row:
    """Return one call as plain data; token counts are null when nothing is known."""
    started = datetime.fromtimestamp(call.started_at, UTC)
    return {
        "started_at": started.isoformat(timespec="milliseconds"),
        "request_id": call.request_id,
        "session_id": call.session_id,
        "agent_id": call.agent_id,
        "attempt": call.attempt,
        "provider": call.provider,
        "model": call.model,
        "outcome": call.outcome.value,
        "error_kind": call.error_kind.value if call.error_kind else None,
        **(_buckets(call.usage) if call.usage else dict.fromkeys(_buckets(Usage()))),
        "estimated": bool(call.usage and call.usage.estimated),
        "cost": call.cost,
        "price_version": call.price_version,
        "mcp": call.mcp,
        "tool_schema_tokens": call.tool_schema_tokens,
        "cache_savings": call.cache_savings,
        "duration_ms": round((call.finished_at - call.started_at) * 1000, 1),
    }


def _record_cells(row: Row) -> dict[str, str]:
    def tokens(bucket: str) -> str:
        return formats.exact(row[bucket])

    return {
        "STARTED (UTC)": row["started_at"][:19].replace("T", " "),
        "REQUEST": clean(row["request_id"], _NAME_CHARS),
        "SESSION": clean(row["session_id"], _NAME_CHARS),
        "AGENT": clean(row["agent_id"] or formats.NOTHING, _NAME_CHARS),
        "PROVIDER": clean(row["provider"], _NAME_CHARS),
        "MODEL": clean(row["model"], _NAME_CHARS),
        "OUTCOME": row["outcome"],
        "INPUT": tokens("input"),
        "CACHE READ": tokens("cache_read"),
        "CACHE WRITE": tokens("cache_write"),
        "OUTPUT": tokens("output"),
        "REASONING": tokens("reasoning"),
        "COST": formats.money(row["cost"]),
    }


def _as_csv(rows: Iterable[Mapping[str, Any]], *, heading: bool) -> str:
    out = io.StringIO()
    for row in rows:
        writer = csv.DictWriter(out, fieldnames=list(row), lineterminator="\n")
        if heading:
            writer.writeheader()
            heading = False
        writer.writerow({key: _csv_cell(value) for key, value in row.items()})
    return out.getvalue()


def _csv_cell(value: Any) -> Any:
    # Ids come from outside, and a spreadsheet runs a cell that begins like a formula.
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
