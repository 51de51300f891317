"""How the engine is at the moment of a scrape, read off one snapshot.

Nothing is kept between two scrapes. What happened in between is `counting`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ksi_tui import __version__
from ksi_tui.client import EngineClient, Snapshot, SnapshotQuery
from ksi_tui.engine.models import Outcome
from ksi_tui.engine.states import CircuitLook, Level
from ksi_tui.engine.views import CallTotals
from ksi_tui.metrics.counting import Labels

QUERY: Final = SnapshotQuery(
    active_limit=0,
    queue_limit=1,
    lock_limit=0,
    pause_limit=0,
    trend_points=1,
    attention_limit=0,
    call_totals=True,
)
DIRECTIONS: Final = ("input", "cache_read", "cache_write", "output", "reasoning")
_PAIR: Final = ("provider", "model")


class Picture(Collector):
    """Gauges and totals of an engine; `attached` says how many dashboards look on."""

    def __init__(
        self, client: EngineClient, labels: Labels, attached: Callable[[], int] = int
    ) -> None:
        self._client = client
        self._labels = labels
        self._attached = attached

    def describe(self) -> Iterable[Metric]:
        """Name nothing ahead: a scrape tells, and registering must not look at the engine."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics of this moment."""
        snapshot = self._client.snapshot(QUERY)
        yield _labelled(
            "ksi_build_info", "The program that runs.", ("version",), [((__version__,), 1)]
        )
        yield from _totals(snapshot, self._attached())
        yield from self._providers(snapshot)
        yield from self._calls(snapshot.call_totals)

    def _providers(self, snapshot: Snapshot) -> Iterator[Metric]:
        views = [(self._labels.provider(view.name), view) for view in snapshot.providers]
        yield _labelled(
            "ksi_provider_in_flight",
            "Calls that a provider answers now.",
            ("provider",),
            [((name,), view.in_flight) for name, view in views],
        )
        yield _labelled(
            "ksi_provider_concurrency_limit",
            "The most calls at once that a provider is given; none where there is no limit.",
            ("provider",),
            [
                ((name,), view.max_concurrency)
                for name, view in views
                if view.max_concurrency is not None
            ],
        )
        yield _labelled(
            "ksi_circuit_state",
            "1 for the state that a provider's circuit is in, 0 for the others.",
            ("provider", "state"),
            [((name, look), view.circuit is look) for name, view in views for look in CircuitLook],
        )

    def _calls(self, totals: Iterable[CallTotals]) -> Iterator[Metric]:
        calls, tokens = _Sums((*_PAIR, "outcome")), _Sums((*_PAIR, "direction"))
        cost, unpriced = _Sums(_PAIR), _Sums(_PAIR)
        waste_tokens, waste_cost = _Sums(_PAIR), _Sums(_PAIR)
        for each in totals:
            pair = self._labels.provider(each.provider), self._labels.model(each.model)
            ended = {count.outcome: count.count for count in each.ended}
            for outcome in Outcome:
                calls.add((*pair, outcome), ended.get(outcome, 0))
            for direction in DIRECTIONS:
                tokens.add((*pair, direction), getattr(each, direction))
            cost.add(pair, each.cost)
            unpriced.add(pair, each.unpriced)
            waste_tokens.add(pair, each.waste_tokens)
            waste_cost.add(pair, each.waste_cost)
        yield calls.family("ksi_calls_total", "Calls of providers that ended, by how.")
        yield tokens.family("ksi_tokens_total", "Tokens of all calls, by direction.")
        yield cost.family("ksi_cost_dollars_total", "Dollars of all calls that have a price.")
        yield unpriced.family("ksi_calls_unpriced_total", "Calls that no price is known for.")
        yield waste_tokens.family(
            "ksi_wasted_tokens_total", "Tokens of calls that did not become an answer."
        )
        yield waste_cost.family(
            "ksi_wasted_cost_dollars_total", "Dollars of calls that did not become an answer."
        )


class _Sums:
    """A counter's values by its labels: several that are `other` become one."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self._labels = labels
        self._of: dict[tuple[str, ...], float] = {}

    def add(self, labels: tuple[str, ...], value: float) -> None:
        self._of[labels] = self._of.get(labels, 0.0) + value

    def family(self, name: str, said: str) -> CounterMetricFamily:
        """Return the counter; its help says when it began."""
        found = CounterMetricFamily(
            name, f"{said[:-1]}, since the engine began.", labels=self._labels
        )
        for labels, value in self._of.items():
            found.add_metric(labels, value)
        return found


def _totals(snapshot: Snapshot, attached: int) -> Iterator[Metric]:
    totals = snapshot.totals
    oldest_s = max((view.oldest_s for view in snapshot.queues), default=0.0)
    level = snapshot.verdict.level
    yield _gauge("ksi_requests_queued", "Requests that wait for their first call.", totals.queued)
    yield _gauge("ksi_requests_retrying", "Requests that wait to be tried again.", totals.retrying)
    yield _gauge("ksi_requests_in_flight", "Requests that run.", totals.active)
    yield _gauge("ksi_concurrency_limit", "The most requests that run at once.", totals.capacity)
    yield _gauge(
        "ksi_queue_oldest_wait_seconds",
        "How long the request has waited that waits longest, 0 where none does.",
        oldest_s,
    )
    yield _gauge(
        "ksi_sessions_queued", "Sessions with unfinished requests.", totals.queued_sessions
    )
    yield _gauge(
        "ksi_conversation_locks", "Conversation locks that are held.", snapshot.locks_total
    )
    yield _gauge("ksi_pauses", "Pauses that are in force.", snapshot.pauses_total)
    yield _gauge("ksi_attention_items", "Things that need a person.", snapshot.attention_total)
    yield _gauge("ksi_attached_clients", "Dashboards attached to this engine.", attached)
    yield _labelled(
        "ksi_engine_state",
        "1 for the state that the engine is in, 0 for the others.",
        ("state",),
        [((each.lower(),), each is level) for each in Level if each is not Level.STALE],
    )


def _gauge(name: str, said: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, said, value=value)


def _labelled(
    name: str,
    said: str,
    labels: tuple[str, ...],
    values: Iterable[tuple[tuple[str, ...], float]],
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, said, labels=labels)
    for of, value in dict(values).items():  # two providers may both be `other`
        family.add_metric(of, float(value))
    return family
