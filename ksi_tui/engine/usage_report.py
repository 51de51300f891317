"""Answers `completion:token_usage`: what was used, what it cost, and what of it was in vain.

Reads only, from the store's sums. How sums are kept is the store's business.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ksi_tui.engine.clock import iso
from ksi_tui.engine.payloads import TokenUsage
from ksi_tui.engine.store.base import Reader
from ksi_tui.engine.store.records import UsageQuery, UsageTotals


async def usage_report(
    store: Reader, data: TokenUsage, now: float, active_sessions: int
) -> dict[str, Any]:
    """Return the reply. A name that nothing is known of has zeros; it is no error.

    `hours` reach back from `now`, widened to the whole minutes that the sums are kept by (whole
    hours or days where only those are kept). `trend` leaves out buckets in which no call ended.
    """
    query = usage_query(data, now)
    selectors = {
        "agent_id": data.agent_id,
        "model": data.model,
        "session_id": data.session_id,
        "provider": data.provider,
    }
    chosen = {name: value for name, value in selectors.items() if value is not None}
    totals = dict(await store.usage(query)).get("", UsageTotals())
    reply: dict[str, Any] = {**chosen, "usage": sums_reply(totals)}
    if not chosen:
        reply |= await _everybody(store, query.since, totals)
        reply["active_sessions"] = active_sessions
    if data.bucket_minutes is not None:
        buckets = await store.usage(replace(query, bucket_s=data.bucket_minutes * 60))
        reply["trend"] = [{"at": iso(float(at)), **sums_reply(sums)} for at, sums in buckets]
    return reply


def usage_query(data: TokenUsage, now: float) -> UsageQuery:
    """Return the question to the store for what is selected, over the time that is asked for."""
    return UsageQuery(
        agent_id=data.agent_id,
        model=data.model,
        session_id=data.session_id,
        provider=data.provider,
        since=None if data.hours is None else max(0.0, now - data.hours * 3600),
    )


async def _everybody(store: Reader, since: float | None, totals: UsageTotals) -> dict[str, Any]:
    agents = await store.usage(UsageQuery(by="agent", since=since))
    models = await store.usage(UsageQuery(by="model", since=since))
    return {
        "active_agents": sum(1 for name, _ in agents if name),
        "active_models": sum(1 for name, _ in models if name),
        "mcp_statistics": mcp_statistics(totals),
        "waste": waste_reply(totals),
    }


def waste_reply(totals: UsageTotals) -> dict[str, Any]:
    """Return what did not become an answer, as `completion:token_usage` gives it."""
    return {
        "tokens": totals.waste_tokens,
        "cost": waste_cost_of(totals),
        "calls": totals.waste_calls,
        "seconds": round(totals.waste_s, 3),
    }


def sums_reply(totals: UsageTotals) -> dict[str, Any]:
    """Return sums as `completion:token_usage` gives them."""
    usage = totals.usage
    return {
        "input_tokens": usage.input,
        "cache_read_tokens": usage.cache_read,
        "cache_write_tokens": usage.cache_write,
        "output_tokens": usage.output,
        "reasoning_tokens": usage.reasoning,
        "total_tokens": usage.total,
        "request_count": totals.requests,
        "avg_tokens_per_request": round(usage.total / totals.requests, 1) if totals.requests else 0,
        "cost": cost_of(totals),
        "unpriced": totals.unpriced,
        "estimated": totals.estimated,
    }


def mcp_statistics(totals: UsageTotals) -> dict[str, Any]:
    """Return what MCP and caches come to, as `completion:token_usage` gives it.

    A request is one with MCP when it asks for it (`extra_body.ksi.mcp_config_path`) or brings
    `tools`; as everywhere in usage, answered requests count. `share` is their part of all, 0
    to 1. `tool_schema_tokens` are the schemas of those tools in every call with a known usage,
    also in calls that failed; per request they are divided by the requests with MCP, as the
    tokens per request are. They are counted by litellm's tokenizer where it made the call, else
    four characters of compact JSON are a token. `cache_savings` are dollars: cache reads times
    how much cheaper than input they were, by litellm's map or `[prices]`; a lower bound where
    some have no price, null where none has.
    """
    requests, schemas = totals.mcp_requests, totals.tool_schema_tokens
    return {
        "requests": totals.requests,
        "mcp_requests": requests,
        "share": round(requests / totals.requests, 4) if totals.requests else 0.0,
        "tool_schema_tokens": schemas,
        "tool_schema_tokens_per_request": round(schemas / requests, 1) if requests else 0,
        "cache_read_tokens": totals.usage.cache_read,
        "cache_savings": savings_of(totals),
    }


def cost_of(totals: UsageTotals) -> float | None:
    """Return the dollars of all calls; None when no price of them is known."""
    return _dollars(totals.cost, totals.unpriced)


def waste_cost_of(totals: UsageTotals) -> float | None:
    """Return the dollars that wasted calls cost; None when no price of them is known."""
    return _dollars(totals.waste_cost, totals.unpriced_waste)


def savings_of(totals: UsageTotals) -> float | None:
    """Return the dollars that cache reads have saved; None when no price of them is known."""
    return _dollars(totals.cache_savings, totals.unpriced_savings)


def _dollars(amount: float, unpriced: int) -> float | None:
    return None if unpriced and not amount else round(amount, 8)
