"""`GET /metrics`: the counts and the picture in Prometheus's formats, by its own library.

What is counted is `counting`'s, what is looked up `picture`'s; here is when, and the answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Self

import prometheus_client
from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder

from ksi_tui.client import EngineClient
from ksi_tui.metrics.counting import Counting, Labels
from ksi_tui.metrics.picture import Picture

log = logging.getLogger(__name__)

COUNT_EVERY_S: Final = 0.25
"""How long notifications gather before they are counted."""


class Metrics:
    """The metrics of one engine, as an async context manager: it counts while it is entered.

    Counters begin at 0 with it, as after any restart; `rate()` understands that.
    """

    def __init__(self, client: EngineClient, attached: Callable[[], int] = int) -> None:
        self._client = client
        self._attached = attached
        self._registry = CollectorRegistry()
        self._counting: Counting | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        # As many series again, for nobody.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        labels = Labels()
        self._counting = Counting(self._client, self._registry, labels)
        self._registry.register(Picture(self._client, labels, self._attached))
        ProcessCollector(registry=self._registry)
        self._task = asyncio.create_task(self._count(self._counting), name="metrics")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._counting is not None and self._task is not None:
            self._counting.end()
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _count(self, counting: Counting) -> None:
        while True:
            await asyncio.sleep(COUNT_EVERY_S)
            try:
                counting.catch_up()
            except Exception:  # the task's boundary: recorded, and counted on
                log.exception("a notification could not be counted")

    def exposed(self, accept: str = "") -> tuple[bytes, str]:
        """Return the metrics of now and their content type, in a format that `accept` takes."""
        if self._counting is not None:
            self._counting.catch_up()
        try:
            encode, kind = choose_encoder(accept)
        except (TypeError, ValueError):  # a version that is no number
            encode, kind = choose_encoder("")
        return encode(self._registry), kind

    def routes(self) -> list[web.RouteDef]:
        """Return the route of the metrics."""
        return [web.get("/metrics", self._respond)]

    async def _respond(self, request: web.Request) -> web.Response:
        body, kind = self.exposed(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": kind})
