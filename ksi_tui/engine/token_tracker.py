"""What the live screen says of tokens and money, and what a call costs.

In memory, for now and today only: the store's rollups answer every question about the
past, and seed this at a start. Prices from the settings win over a worker's; a call
without a price stays unpriced and is never counted as free. Pure: no clock, no I/O.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ksi_tui.config import PriceSettings
from ksi_tui.engine.call_totals import CallSums
from ksi_tui.engine.meter import Meter, Ring
from ksi_tui.engine.models import CallRecord, Message, Usage
from ksi_tui.engine.store.records import UsageTotals
from ksi_tui.engine.views import TokenRow, TokenView

TREND_S = 15 * 60
"""Span of the live trend, seconds."""
SPENDING_S = 60 * 60
"""How far back the dollars an hour may look, seconds."""
SETTINGS_VERSION = "settings"
"""Price version of a cost that came from `[prices]`."""
_CHARS_PER_TOKEN = 4
_PER_MESSAGE = 4
"""Tokens that roles and separators add to a message, about."""
_DAY_S = 86_400


class _Today:
    """Sums of one provider over the running UTC day; or of all of them together."""

    __slots__ = (
        "cache_read",
        "cache_write",
        "cost",
        "estimated",
        "input",
        "output",
        "reasoning",
        "unpriced",
        "unpriced_waste",
        "waste_calls",
        "waste_cost",
        "waste_s",
        "waste_tokens",
    )

    def __init__(self) -> None:
        self.input = self.cache_read = self.cache_write = self.output = self.reasoning = 0
        self.unpriced = self.estimated = self.waste_tokens = self.waste_calls = 0
        self.unpriced_waste = 0
        self.cost = self.waste_cost = self.waste_s = 0.0

    def book(self, call: CallRecord) -> None:
        """Add one call."""
        usage = call.usage
        if usage is not None:
            self.input += usage.input
            self.cache_read += usage.cache_read
            self.cache_write += usage.cache_write
            self.output += usage.output
            self.reasoning += usage.reasoning
            self.estimated += usage.estimated
        self.unpriced += call.unpriced
        self.cost += call.cost or 0.0
        if call.waste:
            self.waste(call)

    def waste(self, call: CallRecord) -> None:
        """Count a call among those that did not become the answer."""
        self.waste_calls += 1
        self.waste_tokens += call.usage.total if call.usage is not None else 0
        self.waste_cost += call.cost or 0.0
        self.unpriced_waste += call.cost is None and call.usage is not None
        self.waste_s += max(0.0, call.finished_at - call.started_at)

    def add(self, totals: UsageTotals) -> None:
        """Add what the store summed up."""
        usage = totals.usage
        self.input += usage.input
        self.cache_read += usage.cache_read
        self.cache_write += usage.cache_write
        self.output += usage.output
        self.reasoning += usage.reasoning
        self.cost += totals.cost
        self.unpriced += totals.unpriced
        self.estimated += totals.estimated
        self.waste_calls += totals.waste_calls
        self.waste_tokens += totals.waste_tokens
        self.waste_cost += totals.waste_cost
        self.unpriced_waste += totals.unpriced_waste
        self.waste_s += totals.waste_s

    @property
    def total(self) -> int:
        """All tokens."""
        return self.input + self.cache_read + self.cache_write + self.output + self.reasoning

    def row(self, provider: str) -> TokenRow:
        """Return the provider's line of the screen."""
        taken_in = self.input + self.cache_read + self.cache_write
        caches = self.cache_read + self.cache_write > 0
        return TokenRow(
            provider=provider,
            input=taken_in,
            output=self.output + self.reasoning,
            cache_share=self.cache_read / taken_in if caches else None,
            cost=None if self.unpriced and not self.cost else self.cost,
            unpriced=self.unpriced,
            estimated=self.estimated > 0,
        )


class _Spending:
    """One provider's dollars and unpriced calls minute by minute over an hour."""

    __slots__ = ("cost", "since", "unpriced")

    def __init__(self, now: float) -> None:
        self.since = now
        self.cost = Ring(SPENDING_S // 60, 60)
        self.unpriced = Ring(SPENDING_S // 60, 60)


class TokenTracker:
    """Live rate and trend, today's totals by provider, and prices. O(1) a call and in memory.

    `calls` sums up all since the engine began.
    """

    def __init__(self, prices: Mapping[str, PriceSettings]) -> None:
        self._prices = prices
        self._meter = Meter(TREND_S + 60)
        self._day = 0
        self._today: dict[str, _Today] = {}
        self._spending: dict[str, _Spending] = {}
        self.calls = CallSums()

    # --- prices -------------------------------------------------------------------------

    def price(
        self, model: str, usage: Usage, cost: float | None, version: str | None
    ) -> tuple[float | None, str | None]:
        """Return a call's cost in dollars and the name of its price list; (None, None) is unpriced.

        `cost` and `version` are the worker's; one that is no amount of money is none. `[prices]`
        wins, found by the model's name with or without its route prefix; a bucket without a
        price of its own costs what input (cache) or output (reasoning) does.
        """
        prices = self.prices_of(model)
        if prices is None:
            known = cost is not None and math.isfinite(cost) and cost >= 0
            return (cost, version) if known else (None, None)
        reading = prices.input if prices.cache_read is None else prices.cache_read
        writing = prices.input if prices.cache_write is None else prices.cache_write
        thinking = prices.output if prices.reasoning is None else prices.reasoning
        micro_dollars = (
            usage.input * prices.input
            + usage.cache_read * reading
            + usage.cache_write * writing
            + usage.output * prices.output
            + usage.reasoning * thinking
        )
        return micro_dollars / 1_000_000, SETTINGS_VERSION

    def expected_cost(self, provider: str, model: str, usage: Usage) -> float | None:
        """Return what so much would cost at a provider: by `[prices]`, else as its day went.

        None where neither is known: nothing priced there today, or something unpriced.
        """
        cost, _ = self.price(model, usage, None, None)
        if cost is not None:
            return cost
        today = self._today.get(provider)
        if today is None or not today.cost or not today.total or today.unpriced:
            return None
        return today.cost / today.total * usage.total

    def savings(self, model: str, usage: Usage, savings: float | None) -> float | None:
        """Return the dollars that a call's cache reads were cheaper than input; None: no price.

        `savings` are the worker's; `[prices]` wins as for the cost.
        """
        if not usage.cache_read:
            return 0.0
        prices = self.prices_of(model)
        if prices is None:
            return savings if savings is not None and math.isfinite(savings) else None
        reading = prices.input if prices.cache_read is None else prices.cache_read
        return usage.cache_read * (prices.input - reading) / 1_000_000

    def prices_of(self, model: str) -> PriceSettings | None:
        """Return the prices that `[prices]` has for a model, None when it has none."""
        name = model if self._prices else ""
        while name:
            if name in self._prices:
                return self._prices[name]
            name = name.partition("/")[2]
        return None

    # --- booking ------------------------------------------------------------------------

    def stream(self, tokens: int, now: float) -> None:
        """Count tokens that have just arrived."""
        self._meter.add(tokens, now)

    def book(self, call: CallRecord, streamed: int, now: float) -> None:
        """Book a call that ended, of which `streamed` tokens were counted live.

        The live count is corrected to what the usage says; without usage it stands.
        """
        self._roll(now)
        if call.usage is not None:
            surplus = call.usage.output + call.usage.reasoning - streamed
            if surplus:
                began = call.first_token_at or call.started_at
                self._meter.correct(surplus, start=began, end=now)
        self._today_of(call.provider).book(call)
        self.calls.book(call)
        spending = self._spending_of(call.provider, now)
        if call.cost is not None:
            spending.cost.add(call.cost, now)
        elif call.unpriced:
            spending.unpriced.add(1, now)

    def wasted(self, call: CallRecord) -> None:
        """Count a call as waste that was booked as the answer and did not become it."""
        self._today_of(call.provider).waste(call)
        self.calls.wasted(call)

    def seed(
        self,
        now: float,
        *,
        today: Iterable[tuple[str, UsageTotals]],
        minutes: Mapping[str, Iterable[tuple[str, UsageTotals]]],
    ) -> None:
        """Take over from the store at a start.

        `today` are the sums since the UTC midnight by provider, `minutes` those of the last
        hour by provider, in buckets of 60 s keyed by their epoch second, as `Reader.usage`
        answers.
        """
        self._roll(now)
        for provider, totals in today:
            self._today_of(provider).add(totals)
        for provider, buckets in minutes.items():
            for key, totals in buckets:
                if now - SPENDING_S < float(key) <= now:
                    self._seed_minute(provider, float(key), totals, now)

    def _seed_minute(self, provider: str, start: float, totals: UsageTotals, now: float) -> None:
        tokens = totals.usage.output + totals.usage.reasoning
        if tokens and now - TREND_S < start + 60:
            self._meter.correct(tokens, start=start, end=min(start + 59, now))
        spending = self._spending_of(provider, start)
        spending.since = min(spending.since, start)
        spending.cost.add(totals.cost, start)
        spending.unpriced.add(totals.unpriced, start)

    def _roll(self, now: float) -> None:
        """Begin a new UTC day; a clock set back across midnight does not wipe the day's sums."""
        day = int(now // _DAY_S)
        if day > self._day or day < self._day - 1:
            self._day = day
            self._today.clear()

    def _today_of(self, provider: str) -> _Today:
        found = self._today.get(provider)
        if found is None:
            found = self._today[provider] = _Today()
        return found

    def _spending_of(self, provider: str, now: float) -> _Spending:
        found = self._spending.get(provider)
        if found is None:
            found = self._spending[provider] = _Spending(now)
        return found

    # --- reading ------------------------------------------------------------------------

    def rate(self, now: float) -> float:
        """Return output tokens per second over the last 5 s."""
        return self._meter.rate(now)

    def cost_today(self, now: float) -> float:
        """Return dollars since the UTC midnight; a lower bound while `unpriced_today`."""
        self._roll(now)
        return sum(each.cost for each in self._today.values())

    def unpriced_today(self, now: float) -> int:
        """Return how many calls since the UTC midnight have no price."""
        self._roll(now)
        return sum(each.unpriced for each in self._today.values())

    def cost_per_h(self, provider: str, now: float, minutes: int = 15) -> tuple[float | None, bool]:
        """Return dollars an hour over the last `minutes` (1 to 60), and whether some are unpriced.

        None: all of it is unpriced. Less than a minute of history counts as a minute.
        """
        spending = self._spending.get(provider)
        if spending is None:
            return 0.0, False
        cost = sum(spending.cost.recent(now, minutes))
        unpriced = any(spending.unpriced.recent(now, minutes))
        if unpriced and not cost:
            return None, True
        covered_s = (minutes - 1) * 60 + now % 60
        return cost * 3600 / max(60.0, min(covered_s, now - spending.since)), unpriced

    def view(self, now: float, points: int) -> TokenView:
        """Return the token pane: the trend in `points` (1 to 900) steps and today's totals.

        Providers with the most tokens first.
        """
        self._roll(now)
        points = min(max(1, points), TREND_S)
        ordered = sorted(self._today.items(), key=lambda item: (-item[1].total, item[0]))
        total = sum(each.total for each in self._today.values())
        waste = sum(each.waste_tokens for each in self._today.values())
        cost = sum(each.waste_cost for each in self._today.values())
        unknown = not cost and any(each.unpriced_waste for each in self._today.values())
        return TokenView(
            trend=self._meter.trend(now, points=points, span_s=TREND_S),
            step_s=TREND_S / points,
            rows=tuple(each.row(name) for name, each in ordered),
            waste_tokens=waste,
            waste_share=waste / total if total else None,
            waste_cost=None if unknown else cost,
        )

    def waste_today(self, now: float) -> tuple[int, float]:
        """Return today's calls that did not become the answer: how many, and their seconds."""
        self._roll(now)
        every = self._today.values()
        return sum(each.waste_calls for each in every), sum(each.waste_s for each in every)


def estimate(messages: Sequence[Message] = (), text: str = "", tools: Sequence[Any] = ()) -> Usage:
    """Return a crude count, marked estimated: a token is four characters.

    For when no tokenizer can be asked. `messages` and `tools` are the input, `text` the output.
    """
    characters = sum(_length(message.get("content")) for message in messages)
    return Usage(
        input=_tokens(characters) + _PER_MESSAGE * len(messages) + schema_tokens(tools),
        output=_tokens(len(text)),
        estimated=True,
    )


def schema_tokens(tools: Sequence[Any]) -> int:
    """Return a crude count of tool schemas: a token is four characters of their compact JSON."""
    if not tools:
        return 0
    return _tokens(len(json.dumps(tools, separators=(",", ":"), ensure_ascii=False)))


def _tokens(characters: int) -> int:
    return -(-characters // _CHARS_PER_TOKEN)


def _length(content: Any) -> int:
    """Return the characters of a message's content, which is a text or a list of parts."""
    if isinstance(content, str):
        return len(content)
    if not isinstance(content, Sequence):
        return 0
    parts = (part.get("text") for part in content if isinstance(part, Mapping))
    return sum(len(text) for text in parts if isinstance(text, str))
