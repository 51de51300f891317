"""What the tests from afar share: the quick pilot of the dashboard's own tests."""

from collections.abc import Iterator

import pytest

from tests.ui.piloting import quick_pilot


@pytest.fixture(scope="session", autouse=True)
def _quick_pilot() -> Iterator[None]:
    with quick_pilot():
        yield
