"""What all tests of the dashboard share: a pilot that waits for the app and not for time."""

from collections.abc import Iterator

import pytest

from tests.ui.piloting import quick_pilot


@pytest.fixture(scope="session", autouse=True)
def _quick_pilot() -> Iterator[None]:
    with quick_pilot():
        yield
