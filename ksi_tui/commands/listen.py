"""`--listen` and `--tokens` of the commands in which an engine runs: takes the place they name."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ksi_tui.access.listening import Place


def place_of(options: argparse.Namespace) -> Place | None:
    """Take the place that was asked for; None where none was. Raises ConfigError; blocks."""
    if getattr(options, "listen", None) is None:
        return None
    from ksi_tui.access.listening import Place  # noqa: PLC0415 - brings aiohttp

    return Place.take(options.listen, options.tokens)


@contextmanager
def taken_place(options: argparse.Namespace) -> Iterator[Place | None]:
    """Hold the place that was asked for, from before the engine starts until it has ended."""
    place = place_of(options)
    try:
        yield place
    finally:
        if place is not None:
            place.close()
