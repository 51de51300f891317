"""The developer: a prompt, what became of it, one word changed, and models compared."""

from __future__ import annotations

from collections.abc import AsyncIterator

from tests.scenes.user import User

WRITES = "writes a multi-line prompt with a system prompt"
PICKS = "picks model (with its provider, price and window), session, priority"
HISTORY = "sees the history that will be sent"
WATCHES = "sends it, watches the text arrive with time to first token and tokens/s"
ROUTING = "sees what routing decided and why and what was really sent"
CHANGES = "changes one word and sends as new"
EDITOR = "or in $EDITOR"
COMPARES = "sends the same to two models side by side, three times each, and reads the difference"
COPIES = "copies the answer and the equivalent command"
TOMORROW = "earlier prompts are there tomorrow"


async def play(user: User) -> AsyncIterator[str]:
    """Play it."""
    for act in (_writes, _sends, _changes, _compares):
        async for step in act(user):
            yield step


async def _writes(user: User) -> AsyncIterator[str]:
    await user.sees("DEGRADED")
    await user.press("s")
    await user.sees("Submit a prompt")
    await user.type("Why did invoice 2231 double?")
    await user.press("ctrl+j")
    await user.type("Show the lines that changed.")
    await user.press("tab")
    await user.type("You are the billing assistant.")
    yield WRITES

    await user.press("tab")
    await user.type("gpt-4o")
    await user.sees("$2.50 in $10 out /M")
    await user.press("tab")
    await user.type("invoices")
    await user.sees("invoices-dev")
    await user.press("down", "enter")
    await user.sees("goes on")
    await user.press("tab", "tab", "left")
    await user.sees("(•) high")
    yield PICKS


async def _sends(user: User) -> AsyncIterator[str]:
    if not user.wide:
        await user.press("ctrl+o")
    await user.sees("system    > You are the billing", "Show me invoice 2231.", "routing now")
    await user.sees("anthropic", "taken as claude-sonnet-4-5", "2 earlier turns")
    if not user.wide:
        await user.press("ctrl+o")
    yield HISTORY

    await user.press("tab", "shift+tab", "enter")
    await user.sees("► streaming", "invoices-dev > r-")
    await user.sees("√ completed", "first token", "tok/s")
    yield WATCHES

    await user.sees("skipped: open", "as claude-sonnet-4-5")
    await user.press("3")
    await user.sees("system > You are the billing assistant.", "tok with 2 earlier turns")
    yield ROUTING


async def _changes(user: User) -> AsyncIterator[str]:
    await user.press("e")
    await user.sees("Edit and send as new")
    await user.press(*["backspace"] * 8)
    await user.type("vanished.")
    await user.press("enter")
    await user.sees("√ completed")
    await user.press("3")
    await user.sees("Show the lines that vanished.")
    yield CHANGES

    await user.press("E")
    await user.sees("Edit and send as new", "Show the lines that stayed.")
    await user.press("enter")
    await user.sees("√ completed")
    await user.press("3")
    await user.sees("Show the lines that stayed.")
    yield EDITOR


async def _compares(user: User) -> AsyncIterator[str]:
    await user.press("d")
    await user.sees("The same request to several models", "Times     3")
    await user.press("tab")
    await user.type("claude-h")
    await user.sees("claude-haiku-4-5")
    await user.press("down", "enter")
    await user.press("tab", "tab", "enter")
    await user.sees("side by side", "run 1 of 3", "6 of 6 over")
    await user.press("v")
    await user.sees("[-", "{+")
    yield COMPARES

    await user.press("v", "y")
    await user.copied(".")
    await user.press("escape", "y", "c")
    await user.copied("ksi-tui", "run", "invoices-dev")
    yield COPIES

    await user.restarts()
    await user.press("s")
    await user.sees("Submit a prompt")
    await user.press("ctrl+up")
    await user.sees("Show the lines that stayed.")
    await user.press("ctrl+up")
    await user.sees("Show the lines that vanished.")
    yield TOMORROW
