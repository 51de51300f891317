"""The metrics, read by Prometheus's own parser, are what the engine did and how it is."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from ksi_tui import __version__
from ksi_tui.config import Config
from ksi_tui.engine import CompletionEngine, events
from ksi_tui.engine.errors import ErrorKind
from ksi_tui.engine.events import Router
from ksi_tui.metrics.counting import MOST_MODELS
from ksi_tui.metrics.exposition import Metrics
from ksi_tui.metrics.labels import OTHER, Bounded, OneOf
from tests.engine.engine_fixtures import Rig, answers, fails, held, provider, running, until

Series = Mapping[str, float]


def scrape(metrics: Metrics) -> dict[str, dict[str, float]]:
    """Return every sample by name and then by its labels, as `a=1,b=2`."""
    body, _ = metrics.exposed()
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            of = found.setdefault(sample.name, {})
            assert labels not in of, f"{sample.name} has {labels} twice"
            of[labels] = sample.value
    return found
