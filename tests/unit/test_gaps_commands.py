"""What every command owes the process it runs in, and secrets that begin alike."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from ksi_tui.cli import _calm_the_collector
from ksi_tui.redaction import HIDDEN, redacted, secrets_of


@pytest.fixture
def _collector() -> Iterator[None]:
    threshold = gc.get_threshold()
    yield
    gc.set_threshold(*threshold)
    gc.enable()


@pytest.mark.usefixtures("_collector")
def test_only_the_dashboard_puts_the_collector_off_until_its_first_frame() -> None:
    _calm_the_collector(before_a_screen=False)
    assert gc.isenabled()
    _calm_the_collector(before_a_screen=True)
    assert not gc.isenabled()


def test_of_two_secrets_that_begin_alike_nothing_is_left() -> None:
    secrets = secrets_of({"A_KEY": "0123456789", "B_KEY": "0123456789-and-more"})
    assert redacted("refused: 0123456789-and-more", secrets) == f"refused: {HIDDEN}"
