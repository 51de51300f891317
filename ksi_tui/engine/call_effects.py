"""Says in words what a failed call did to its provider: counted, opened the circuit, cooled down.

Read right after the failure was booked; decides nothing.
"""

from __future__ import annotations

from ksi_tui.engine.circuit import Permit
from ksi_tui.engine.circuit_memory import CircuitState
from ksi_tui.engine.errors import POLICY, CircuitEffect, ProviderFault, circuit_effect
from ksi_tui.engine.provider_entry import Entry


def effect(entry: Entry, permit: Permit, fault: ProviderFault, fail_max: int, now: float) -> str:
    """Return what a failure under a permit that stood until then has done; empty for nothing.

    `counts 2 of 5`, `opened its circuit`, `cooling for 88 s`.
    """
    wait_s = entry.wait_s(fault)
    if POLICY[fault.kind].cools_down and wait_s:
        return f"cooling for {wait_s:.0f} s"
    look = entry.circuit.look(now)
    if circuit_effect(fault.kind, fault.status) is CircuitEffect.NEUTRAL or look.forced is not None:
        return ""
    if look.state is CircuitState.OPEN:
        return "the probe failed" if permit.probe else "opened its circuit"
    return f"counts {look.failures} of {fail_max}"
