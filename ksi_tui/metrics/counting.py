"""What happened, counted from the engine's notifications.

One subscription a name, emptied now and then: the engine pays for a push and no more, and where
so much happened at once that some were lost, their number still counts under the right name.
What is, instead of what happened, is `picture`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram

from ksi_tui.client import EngineClient, Event
from ksi_tui.engine import events
from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.states import CircuitLook
from ksi_tui.metrics.labels import OTHER, Bounded, OneOf

DURATION_S: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600)
FIRST_TOKEN_S: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60)
"""Upper bounds of the histograms' buckets, in seconds."""
MOST_PROVIDERS: Final = 50
MOST_MODELS: Final = 50
_OF_THIS_LIFE: Final = "since the listener began"

Data = Mapping[str, Any]
Count = Callable[[Data], None]


class Labels:
    """The labels that all metrics share."""

    def __init__(self) -> None:
        self.provider = Bounded(MOST_PROVIDERS)
        self.model = Bounded(MOST_MODELS)
        self.kind = OneOf(ErrorKind)
        self.state = OneOf(CircuitLook)


class Counting:
    """Counters and histograms in a registry, fed by an engine's notifications."""

    def __init__(self, client: EngineClient, registry: CollectorRegistry, labels: Labels) -> None:
        self._labels = labels
        self._make(registry)
        counts: dict[str, tuple[Count, Callable[[int], None]]] = {
            events.QUEUED: (self._queued, self._accepted.inc),
            events.RESULT: (self._completed, lambda n: self._ended.labels("completed", "").inc(n)),
            events.ERROR: (self._failed, lambda n: self._ended.labels("failed", OTHER).inc(n)),
            events.CANCELLED: (
                self._cancelled,
                lambda n: self._ended.labels("cancelled", "").inc(n),
            ),
            events.RETRYING: (self._retried, lambda n: self._retries.labels(OTHER).inc(n)),
            events.PROGRESS: (self._progressed, lambda _: None),
            events.CIRCUIT: (self._changed, lambda n: self._changes.labels(OTHER, OTHER).inc(n)),
            events.WORKER_LOST: (lambda _: self._workers.inc(), self._workers.inc),
        }
        self._counts = counts
        self._subscriptions = {name: client.subscribe(name) for name in counts}
        for subscription in self._subscriptions.values():
            subscription.drain(1)  # the snapshot would be counted among what is lost

    def _make(self, registry: CollectorRegistry) -> None:
        self._accepted = Counter(
            "ksi_requests_accepted_total", f"Requests taken in {_OF_THIS_LIFE}.", registry=registry
        )
        self._ended = Counter(
            "ksi_requests_total",
            f"Requests that came to their end {_OF_THIS_LIFE}; kind is that of the error.",
            ["outcome", "kind"],
            registry=registry,
        )
        self._duration = Histogram(
            "ksi_completion_duration_seconds",
            "From the start of the call that answered to its end.",
            ["provider", "model"],
            buckets=DURATION_S,
            registry=registry,
        )
        self._first_token = Histogram(
            "ksi_first_token_seconds",
            "From the start of the call that answered to its first token, streams only.",
            ["provider", "model"],
            buckets=FIRST_TOKEN_S,
            registry=registry,
        )
        self._retries = Counter(
            "ksi_retries_total",
            f"Attempts to be made again {_OF_THIS_LIFE}.",
            ["kind"],
            registry=registry,
        )
        self._failovers = Counter(
            "ksi_failovers_total",
            f"Calls made because another provider had failed {_OF_THIS_LIFE}, by who took over.",
            ["provider"],
            registry=registry,
        )
        self._changes = Counter(
            "ksi_circuit_changes_total",
            f"Changes of a provider's circuit {_OF_THIS_LIFE}.",
            ["provider", "state"],
            registry=registry,
        )
        self._workers = Counter(
            "ksi_workers_lost_total",
            f"Provider workers that died {_OF_THIS_LIFE}.",
            registry=registry,
        )
        self._lost = Counter(
            "ksi_events_lost_total",
            "Notifications that came too many at once: counted by outcome, not in histograms.",
            registry=registry,
        )

    def catch_up(self) -> None:
        """Count all that happened until now."""
        for name, subscription in self._subscriptions.items():
            for event in subscription.drain():
                self._count(name, event)

    def end(self) -> None:
        """Count no more."""
        for subscription in self._subscriptions.values():
            subscription.end()

    def _count(self, name: str, event: Event) -> None:
        count, count_lost = self._counts[name]
        if event.name == name:
            count(event.data)
        elif event.name == events.LOST:
            lost = int(event.data["lost"])
            count_lost(lost)
            self._lost.inc(lost)

    def _queued(self, data: Data) -> None:
        if not data.get("again"):
            self._accepted.inc()

    def _completed(self, data: Data) -> None:
        self._ended.labels("completed", "").inc()
        told = data["result"]["ksi"]
        named = self._labels.provider(told["provider"]), self._labels.model(told["model"])
        self._duration.labels(*named).observe(told["duration_ms"] / 1000)
        if told["ttft_ms"] is not None:
            self._first_token.labels(*named).observe(told["ttft_ms"] / 1000)

    def _failed(self, data: Data) -> None:
        self._ended.labels("failed", self._labels.kind(data["kind"])).inc()

    def _cancelled(self, _: Data) -> None:
        self._ended.labels("cancelled", "").inc()

    def _retried(self, data: Data) -> None:
        self._retries.labels(self._labels.kind(data["kind"])).inc()

    def _progressed(self, data: Data) -> None:
        if data["status"] == "failing_over":
            self._failovers.labels(self._labels.provider(data["provider"])).inc()

    def _changed(self, data: Data) -> None:
        state = self._labels.state(str(data["to"]).replace("_", "-"))
        self._changes.labels(self._labels.provider(data["provider"]), state).inc()
