"""Settings that are wrong end the dashboard with the error on stderr, never a screen that hangs."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import BOUND_S, Machine
from tests.acceptance.test_dashboard import (
    CURSOR_ON,
    LEFT_ALTERNATE_SCREEN,
    MOUSE_OFF,
    Terminal,
    start,
)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("[ui]\ntext = 'sometimes'\n", b"ui.text"),  # told before there is a screen
        ("[circuit]\nfail_max = 0\n", b"circuit.fail_max"),  # told once the screen is left
        ("[ui\n", b"not valid TOML"),
    ],
)
def test_they_are_an_error_on_a_clean_terminal(machine: Machine, more: str, told: bytes) -> None:
    machine.configure(more=more)
    terminal = Terminal(80, 24)
    process = start(machine, terminal)
    assert process.wait(BOUND_S) == 2
    seen = terminal.everything()
    assert told in seen
    assert b"Traceback" not in seen
    if LEFT_ALTERNATE_SCREEN in seen:
        assert seen.rindex(told) > seen.rindex(LEFT_ALTERNATE_SCREEN)
        assert MOUSE_OFF in seen
        assert CURSOR_ON in seen
    assert not machine.database.exists()
