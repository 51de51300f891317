"""The operator, at 3 a.m., with a provider half dead."""

from __future__ import annotations

from collections.abc import AsyncIterator

from tests.scenes.user import User, gives_reason

LOOKS = "sees which provider, since when, what error, what moved where, the next probe, the cost"
FORCES = "forces the circuit open with a reason for 30 minutes"
HEADER = "sees in the header that it is forced, by whom, until when"
PAUSES = "pauses a queue"
SCROLLS = "later scrolls back what happened"


async def play(user: User) -> AsyncIterator[str]:
    """Play it."""
    await user.sees("DEGRADED", "openai open 4m", "waits", "probe in ", "acme-42")
    if user.wide:
        await user.sees("provider_error", "moved to anthropic", "/h, probe in", "nightly-eval")
    else:
        await user.press("3")
        await user.sees("openai", "■ open", "anthropic")
    yield LOOKS

    await user.press("exclamation_mark", "g", "B")
    await user.sees("Force the circuit of openai open?", "(•) 30 min", "o4-mini: nobody else serv")
    await user.sees("anthropic as claude-sonnet-4-5", "gpt-4o-mini: azure-eu")
    await gives_reason(user, "status page: 2 h")
    await user.sees("circuit of openai forced open for 30 min; u takes that back")
    yield FORCES

    await user.sees("openai forced open by op1 until ", "■ forced")
    yield HEADER

    await user.press("1", "g", "j", "j", "p")
    await user.sees("Pause: session acme-42?", "3 requests that wait")
    await gives_reason(user, "until openai is back")
    await user.sees("session acme-42 is paused; u takes that back")
    await user.sees("= paused", "by op1: until openai is back")
    yield PAUSES

    await user.press("exclamation_mark", "g", "enter")
    await user.sees("overview > openai", "forced open by op1", "was closed: 5 failures in a row")
    await user.press("escape", "l", "slash")
    await user.type("provider:*")
    await user.press("enter")
    await user.sees("filter: provider:*", "Events  2", "forced open by op1 until ")
    await user.press("G")
    await user.sees("open, was closed: 5 failures in a")
    await user.press("slash", "ctrl+u")
    await user.type("queue:*")
    await user.press("enter")
    await user.sees("filter: queue:*", "acme-42 paused by op1: until openai")
    await user.press("G")
    await user.sees("nightly-eval paused by op2: budget")
    yield SCROLLS
