"""`ksi-tui cancel`, `retry`, `pause` and `resume`: what somebody does to requests and queues."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from ksi_tui.commands.output import pauses_told, say
from ksi_tui.commands.thin.line import NAME_CHARS, TEXT_CHARS, answered, conversed
from ksi_tui.engine.errors import InputError
from ksi_tui.exits import OK, SOME_FAILED
from ksi_tui.remote.call import Call
from ksi_tui.widgets.clean import clean

Reply = Mapping[str, Any]


def execute(options: argparse.Namespace) -> int:
    """Act; returns 1 where it could not be done to some."""
    about = {"reason": options.reason} if options.reason is not None else {}
    if options.command in ("pause", "resume"):
        data = {**about, "scope": options.scope}
        if options.id is not None:
            data["id"] = options.id
        return conversed(options, lambda call: _queue(call, options, data))
    data = {**about, **_whom(options)}
    if options.command == "retry":
        data |= {
            name: value
            for name in ("avoid", "model")
            if (value := getattr(options, name)) is not None
        }
    return conversed(options, lambda call: _requests(call, options, data))


def _whom(options: argparse.Namespace) -> dict[str, Any]:
    if bool(options.requests) == (options.session is not None):
        raise InputError(f"{options.command}: give the ids of requests, or --session ID")
    if options.session is not None:
        return {"session_id": options.session}
    if len(options.requests) == 1:
        return {"request_id": options.requests[0]}
    return {"request_ids": options.requests}


async def _queue(call: Call, options: argparse.Namespace, data: Reply) -> int:
    reply = await call.emit(f"queue:{options.command}", data)
    return answered(reply, _queue_told(options.command), as_json=options.json)


def _queue_told(deed: str) -> Callable[[Reply], str]:
    def told(reply: Reply) -> str:
        what = reply["scope"] if reply.get("id") is None else f"{reply['scope']} {reply['id']}"
        done = {"pause": "paused", "resume": "resumed"}[deed]
        already = {"pause": "was paused already", "resume": "was not paused"}[deed]
        now = pauses_told(reply.get("paused") or ()) or "nothing"
        head = f"{what} {done if reply.get('changed') else already}"
        return f"{clean(f'{head}; paused now: {now}', TEXT_CHARS)}\n"

    return told


async def _requests(call: Call, options: argparse.Namespace, data: Reply) -> int:
    key = "cancelled" if options.command == "cancel" else "retried"
    reply = await call.emit(f"completion:{options.command}", data)
    code = answered(reply, lambda found: _each_told(found, key), as_json=options.json)
    if code != OK:
        return code
    failed = [each for each in reply.get(key) or () if each.get("error")]
    for each in failed:
        say(f"{each.get('request_id')}: {each['error']}")
    return SOME_FAILED if failed else OK


def _each_told(reply: Reply, key: str) -> str:
    done = [each for each in reply.get(key) or () if not each.get("error")]
    if not done and not reply.get(key):
        return "nothing was there to do\n"
    return "".join(f"{_told(each, key)}\n" for each in done)


def _told(each: Reply, key: str) -> str:
    was = each.get("was")
    done = f"{key}, was {was}" if each.get("changed") else f"unchanged: {was} already"
    return clean(f"{each.get('request_id')}  {done}", NAME_CHARS * 2)
