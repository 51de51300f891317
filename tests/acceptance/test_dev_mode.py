"""Python's own development mode finds nothing that a life of the service leaves open."""

from __future__ import annotations

import signal

from tests.acceptance.conftest import BOUND_S, Machine, lines_of
from tests.acceptance.test_listen import URL, ask

DEV = {"PYTHONDEVMODE": "1", "PYTHONWARNINGS": "default"}


def test_from_start_to_end_nothing_is_warned_of(machine: Machine) -> None:
    machine.configure(grace_s=0.1)
    tokens = machine.home / "tokens.json"
    token = machine.run("token", "new", "--role", "operate", "--tokens", tokens).out.strip()
    machine.template = None  # what a fork has was loaded without the mode
    process = machine.start(
        *("serve", "--listen", "127.0.0.1:0", "--tokens", tokens), env={**machine.environ, **DEV}
    )
    assert process.stderr is not None
    said = lines_of(process.stderr, 2)
    found = URL.search(said[-1])
    assert found, said
    url = found[0]
    asked = {"model": "sim/echo", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    assert ask(f"{url}/v1/chat/completions", asked, token)[0] == 200
    assert ask(f"{url}/metrics", token=token)[0] == 200
    assert ask(f"{url}/nowhere", token=token)[0] == 404
    hangs = {"prompt": "never", "model": "sim/hang"}
    assert ask(f"{url}/events/completion:async", hangs, token)[0] == 200
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=BOUND_S)
    assert process.returncode in (0, 130)
    log = (machine.home / "state" / "ksi-tui" / "logs" / "ksi-tui.log").read_text()
    for told in (*said, out, err, log):
        assert "Warning" not in told
        assert "never retrieved" not in told
        assert "was destroyed but it is pending" not in told
