"""Support: "session acme-42 hangs", then "customer globex hangs"."""

from __future__ import annotations

from collections.abc import AsyncIterator

from tests.scenes.user import User, gives_reason

FINDS = "types /acme-42"
READS = "reads the why and what happens if nobody acts, and opens the chain"
FREES = "sees which key frees it, what that hits and what the customer will see"
SENDS = "sends the request elsewhere"
CUSTOMER = "types /meta.customer:globex and reads the why"
STOPS = "stops it with partial text kept"
RECEIPT = "reads the receipt"
TICKET = "copies a plain-language timeline into a ticket"


async def play(user: User) -> AsyncIterator[str]:
    """Play it."""
    await user.sees("acme-42", "DEGRADED")
    await user.press("slash")
    await user.type("acme-42")
    await user.press("enter")
    await user.sees("filter: acme-42", "3 of ", "r-81", "r-95", "lock held by a7")
    yield FINDS

    await user.press("enter")
    await user.sees("acme-42 > r-81", "lock held by a7", "If nobody acts")
    await user.press("w")
    await user.sees("r-81 > why", "needs the lock of", "r-77", "openai", "oves by itself in ")
    yield READS

    await user.sees("What frees it", "► n ", "send r-77 to ", "gpt-4o answers, not")
    await user.press("n")
    await user.sees("Send r-77 elsewhere?", "They see", "Undo", "Send it to anthropic")
    yield FREES

    await gives_reason(user, "ticket 9001")
    await user.sees("r-77 leaves openai: next attempt at anthropic")
    yield SENDS

    await user.press("escape", "escape", "escape", "slash")
    await user.type("meta.customer:globex")
    await user.press("enter")
    await user.sees("filter: meta.customer:globex", "5 of ", "r-1042", "► no token", "r-1051")
    await user.press("w")
    await user.sees("r-1042 > why", "no token for", "If nobody acts", "idle clock")
    await user.sees("stop r-1042", "r-1047", "41 tokens kept")
    yield CUSTOMER

    await user.press("c")
    await user.sees("Stop 1 request", "They see", "close stream, keep text")
    await gives_reason(user, "ticket 8841, customer asked")
    await user.sees("Receipt", "1 of 1 stopped", "× cancelled", "confirmed", "41 tok")
    yield STOPS

    await user.sees("Recorded as", 'by op1: "ticket 8841, customer asked"', "y copy for the ticket")
    yield RECEIPT

    await user.press("y")
    await user.copied("op1 stopped", "globex-7", "(ticket 8841, customer asked)", "41 tokens")
    await user.press("escape", "escape", "slash")
    await user.press("ctrl+a", "ctrl+k")
    await user.type("r-1042")
    await user.press("enter")
    await user.sees("filter: r-1042", "× cancelled")
    await user.press("enter")
    await user.sees("globex-7 > r-1042", "ticket 8841, customer asked")
    await user.press("y", "l")
    await user.copied("UTC", "r-1042", "op1", "ticket 8841, customer asked", "anthropic")
    yield TICKET
