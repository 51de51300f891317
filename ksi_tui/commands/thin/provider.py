"""`ksi-tui provider open|close|reset|probe`: what somebody does to a provider's circuit."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from typing import Any, Final

from ksi_tui.commands.thin.line import TEXT_CHARS, answered, conversed
from ksi_tui.engine.deeds import deed
from ksi_tui.engine.errors import InputError
from ksi_tui.remote.call import Call
from ksi_tui.widgets.clean import clean

_FOR: Final = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def execute(options: argparse.Namespace) -> int:
    """Do it, and say how the circuit is then."""
    data: dict[str, Any] = {"provider": options.name}
    if getattr(options, "reason", None) is not None:
        data["reason"] = options.reason
    if getattr(options, "for_s", None) is not None:
        data["for_s"] = seconds(options.for_s)
    return conversed(options, lambda call: _act(call, options, data))


def seconds(text: str) -> float:
    """Return a duration as typed, `90s`, `5m`, `2h`, in seconds; raises InputError."""
    found = _FOR.fullmatch(text)
    if found is None:
        raise InputError(f"--for {text}: give a time such as 90s, 5m, 2h or 1d")
    return float(found[1]) * _SECONDS[found[2]]


async def _act(call: Call, options: argparse.Namespace, data: Mapping[str, Any]) -> int:
    reply = await call.emit(f"provider:{options.deed}", data)
    return answered(reply, _told, as_json=options.json)


def _told(reply: Mapping[str, Any]) -> str:
    circuit = reply.get("circuit_breaker") or {}
    state = str(circuit.get("state")).replace("_", "-")
    said = f"{reply.get('provider')}: {state}"
    if circuit.get("forced"):
        said += f", {deed('forced', circuit.get('forced_by'), circuit.get('reason'))}"
        until = circuit.get("forced_until")
        said += f", until {until}" if until else ""
    if "taken" in reply:
        taker = reply.get("request_id")
        said += f"; the probe is {taker}" if taker else "; nobody waits to be the probe"
    return f"{clean(said, TEXT_CHARS)}\n"
