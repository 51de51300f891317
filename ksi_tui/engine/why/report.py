"""A request's why as plain JSON: cause, chain, root and outlook as replies give them.

Shapes only; what they say is worked out in `causes`, `chain` and `outlook`.
"""

from __future__ import annotations

from typing import Any

from ksi_tui.engine.clock import iso
from ksi_tui.engine.models import Cause
from ksi_tui.engine.views import Chain, Link, Next, Outlook, Root


def why_reply(chain: Chain, outlook: Outlook) -> dict[str, Any]:
    """Return what `completion:request_status` says of an unfinished request's why."""
    first = chain.links[0]
    return {
        "why": first.why,
        "cause": cause_reply(first.cause),
        "chain": [_link(link) for link in chain.links],
        "root": None if chain.root is None else _root(chain.root),
        "cycle": chain.cycle,
        "chain_text": chain.text,
        "if_nobody_acts": outlook.text,
        "outlook": outlook_reply(outlook),
    }


def left_behind() -> dict[str, Any]:
    """Return the same of a request that an earlier run left and nobody resumes."""
    text = "nothing, until an engine resumes it"
    return {
        "why": "left by an earlier run; goes on when an engine resumes it",
        "if_nobody_acts": text,
        "outlook": outlook_reply(Outlook(what=Next.NEXT_START, at=None, text=text)),
    }


def cause_reply(cause: Cause) -> dict[str, Any]:
    """Return a cause as the replies give it."""
    return {
        "kind": str(cause.kind),
        "target": cause.target,
        "until": iso(cause.until),
        "certain": cause.certain,
        "text": cause.text,
    }


def _link(link: Link) -> dict[str, Any]:
    return {
        "request_id": link.request_id,
        "session_id": link.session_id,
        "agent_id": link.agent_id,
        "status": link.status,
        "phase": str(link.phase),
        "why": link.why,
        "cause": cause_reply(link.cause),
        "queued_s": round(link.queued_s, 3),
        "via": link.via,
        "certain": link.certain,
        "omitted": link.omitted,
    }


def _root(root: Root) -> dict[str, Any]:
    return {
        "kind": root.kind,
        "target": root.target,
        "until": iso(root.until),
        "certain": root.certain,
        "text": root.text,
        "occupied_by": root.occupied_by,
    }


def outlook_reply(outlook: Outlook) -> dict[str, Any]:
    """Return an outlook as the replies give it."""
    return {
        "what": str(outlook.what),
        "at": iso(outlook.at),
        "text": outlook.text,
        "request_id": outlook.request_id,
    }
