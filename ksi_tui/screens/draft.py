"""A request that is being written: what the form holds, and what it becomes.

Pure. A draft is made empty, or of a request that was sent before (`draft_of`), of which it
keeps what the form has no field for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ksi_tui.engine.call_params import CALL_PARAMS

PRIORITIES = ("critical", "high", "normal", "low", "background")
_KEPT_PARAMS = ("temperature", "max_tokens", "tools", "extra_body")


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What is in the form.

    `context` are messages that stand between system and prompt, of a request that was sent as
    messages. With `as_json` the prompt is such a request's whole list of messages. `extra`
    holds what else the request had, under the names of `completion:async`. An empty `agent`
    is the operator, an empty `model` the default one, an empty `session` one of its own.
    """

    prompt: str = ""
    system: str = ""
    model: str = ""
    session: str = ""
    agent: str = ""
    priority: str = "normal"
    stream: bool | None = None
    history: bool = True
    context: tuple[Mapping[str, Any], ...] = ()
    as_json: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def blank(self) -> bool:
        """Whether nothing was written."""
        return not self.prompt.strip()

    @property
    def sent_as_messages(self) -> bool:
        """Whether it is sent as given, without the session's history."""
        return self.as_json or bool(self.context)

    def asked(self) -> dict[str, Any]:
        """Return prompt or messages as events take them; ValueError where the JSON is none."""
        if self.as_json:
            return {"messages": _messages(self.prompt)}
        if self.context:
            first = [{"role": "system", "content": self.system}] if self.system else []
            last = {"role": "user", "content": self.prompt}
            return {"messages": [*first, *map(dict, self.context), last]}
        return {"prompt": self.prompt, **({"system": self.system} if self.system else {})}

    def request(self, operator: str) -> dict[str, Any]:
        """Return the data of `completion:async`; ValueError where the JSON is none."""
        named = {"model": self.model.strip(), "session_id": self.session.strip()}
        return {
            **self.extra,
            **self.asked(),
            "priority": self.priority,
            "agent_id": self.agent.strip() or operator,
            **{key: value for key, value in named.items() if value},
            **({} if self.stream is None else {"stream": self.stream}),
            **({} if self.history else {"history": "none"}),
        }

    def preview(self) -> dict[str, Any]:
        """Return the data of `completion:preview`; ValueError where the JSON is none."""
        known = self.request("operator")
        return {key: value for key, value in known.items() if key not in ("agent_id", "priority")}


def draft_of(report: Mapping[str, Any]) -> Draft:
    """Return the draft of a new request like the one that a report tells of."""
    own = report.get("session_id") == report.get("request_id")
    params = report.get("params") or {}
    extra = {name: params[name] for name in _KEPT_PARAMS if name in params}
    if others := {name: value for name, value in params.items() if name in CALL_PARAMS}:
        extra["params"] = others
    if report.get("metadata"):
        extra["metadata"] = report["metadata"]
    priority = str(report.get("priority") or "")
    common: dict[str, Any] = {
        "model": str(report.get("requested_model") or ""),
        "session": "" if own else str(report.get("session_id") or ""),
        "agent": str(report.get("agent_id") or ""),
        "priority": priority if priority in PRIORITIES else "normal",
        "history": report.get("history") != "none",
        "extra": extra,
    }
    messages = report.get("messages")
    if not messages:
        return Draft(
            prompt=str(report.get("prompt") or ""),
            system=str(report.get("system") or ""),
            **common,
        )
    return _of_messages(messages, common)


def _of_messages(messages: Sequence[Mapping[str, Any]], common: Mapping[str, Any]) -> Draft:
    """Return a draft whose last message is the prompt, where it is a plain one of the user."""
    *before, last = messages
    if not _plain(last, "user"):
        text = json.dumps(list(messages), ensure_ascii=False, indent=2)
        return Draft(prompt=text, as_json=True, **common)
    system = str(before.pop(0)["content"]) if before and _plain(before[0], "system") else ""
    return Draft(prompt=str(last["content"]), system=system, context=tuple(before), **common)


def _plain(message: Mapping[str, Any], role: str) -> bool:
    named = message.get("role") == role and set(message) == {"role", "content"}
    return named and isinstance(message.get("content"), str)


def _messages(text: str) -> list[Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the messages are no JSON: {error}") from None
    if not isinstance(found, list):
        raise ValueError("the messages are a JSON list of {role, content}")  # noqa: TRY004
    return found
