"""A chain in plain language, for a ticket: what happened, who waits, what becomes of it.

Times of day are UTC; ids are as the engine knows them. Sentences only, no lists, no jargon
where a plain word does.
"""

from __future__ import annotations

from ksi_tui.engine.clock import time_of_day
from ksi_tui.engine.core import Core
from ksi_tui.engine.models import Cause, CauseKind
from ksi_tui.engine.views import Chain, Link, Outlook
from ksi_tui.engine.why.causes import DATABASE, ENDING, seconds

_OPENED = {
    "auth_error": "refused its key",
    "quota_exceeded": "said that its quota is used up",
    "timeout": "stopped answering",
    "network_error": "could not be reached",
}
_ENGINE = {
    DATABASE: "The database cannot be written: {text}.",
    ENDING: "The engine is ending.",
}
_ROOTS = {
    CauseKind.COOLDOWN: "{target} said that it gets too many calls and wants no more{until}.",
    CauseKind.RATE: "{target} has had what is allowed of this minute ({text}).",
    CauseKind.SLOT: "{target} answers as many requests at a time as it may ({text}).",
    CauseKind.ENGINE: "As many requests run as may run at a time ({text}).",
    CauseKind.BACKOFF: "{name} failed and waits{until} before it is tried again ({text}).",
    CauseKind.RUNNING: "{name} is being answered by {target}.",
    CauseKind.NO_TOKEN: "{target} fell silent while it answered {name} ({text}).",
    CauseKind.WORKER: "The process that calls {target} is not ready: {text}.",
    CauseKind.NEXT: "{name} is about to go on.",
}


def in_plain_words(core: Core, chain: Chain, moves: tuple[Outlook, ...], now: float) -> str:
    """Return the paragraph about the first request of a chain."""
    if len(chain.links) == 1 and chain.links[0].cause.kind is CauseKind.RUNNING:
        return f"{_root(core, chain, now)} {_own(core, chain, now)} Nothing has to be done."
    sentences = [_root(core, chain, now), *_locks(chain, now), _own(core, chain, now)]
    if chain.cycle:
        sentences.append("Each of them waits for another one of them: nobody can go first.")
    sentences += ["Nothing is lost.", _end(moves)]
    return " ".join(sentence for sentence in sentences if sentence)


def _root(core: Core, chain: Chain, now: float) -> str:
    last = chain.links[-1]
    cause, name = last.cause, last.request_id
    if cause.kind is CauseKind.CIRCUIT:
        return _circuit(core, cause.target or "", now)
    if cause.kind is CauseKind.PAUSE:
        return _paused(core, cause)
    if cause.kind is CauseKind.LOCK:
        held = f"Agent {cause.target} holds session {last.session_id} locked"
        return "" if chain.cycle else f"{held} and has nothing running."
    if cause.kind is CauseKind.ENGINE and cause.target in _ENGINE:
        return _ENGINE[cause.target].format(text=cause.text.removeprefix("database: "))
    until = "" if cause.until is None else f" until {time_of_day(cause.until)}"
    form = _ROOTS.get(cause.kind, "")
    return form.format(target=cause.target, name=name, text=cause.text, until=until)


def _paused(core: Core, cause: Cause) -> str:
    pause = next((each for each in core.pauses if each.target == cause.target), None)
    since = "" if pause is None else f" since {time_of_day(pause.since)}"
    _, _, name = (cause.target or "").partition(":")
    return f"{name or 'The engine'} is {cause.text}{since}."


def _circuit(core: Core, name: str, now: float) -> str:
    entry = core.providers.get(name)
    if entry is None:
        return ""
    look = entry.circuit.look(now)
    began = look.outage_since or look.since
    since = f" at {time_of_day(began)}" if began else ""
    if look.forced is not None:
        who = f" by {look.forced_by}" if look.forced_by else ""
        return (
            f"{name} was taken out of use{who}{since}{f' ({look.reason})' if look.reason else ''}."
        )
    what = _OPENED.get(str(look.opened_by), "kept failing")
    return f"{name} {what}{since} ({look.reason})." if look.reason else f"{name} {what}{since}."


def _locks(chain: Chain, now: float) -> list[str]:
    """Return who keeps which session locked meanwhile, from the root upwards."""
    told = []
    for place in range(len(chain.links) - 2, -1, -1):
        link, onward = chain.links[place], chain.links[place + 1]
        if link.cause.kind is CauseKind.LOCK:
            likely = "" if onward.certain else "probably "
            since = time_of_day(now - onward.queued_s)
            told.append(
                f"Agent {link.cause.target} has waited {likely}for that since {since} "
                f"(with {onward.request_id}) and keeps {link.session_id} locked meanwhile."
            )
    return told


def _own(core: Core, chain: Chain, now: float) -> str:
    first: Link = chain.links[0]
    ticket = core.tickets[first.request_id]
    if ticket.run is not None:
        since = time_of_day(now if ticket.started_at is None else ticket.started_at)
        return f"{first.request_id} of session {first.session_id} has run since {since}."
    depth = core.queue.depth(first.session_id)
    others = f", as do {depth - 1} more of {first.session_id}" if depth > 1 else ""
    since = time_of_day(now - first.queued_s)
    return f"So {first.request_id} waits, for {seconds(first.queued_s)} since {since}{others}."


def _end(moves: tuple[Outlook, ...]) -> str:
    dated = [move for move in moves if move.at is not None]
    if not dated:
        return "It does not go on by itself: somebody has to act."
    return f"It should move by itself at about {time_of_day(dated[0].at or 0.0)}."
