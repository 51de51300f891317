"""Choosing a model or a session by typing a part of its name; each asks the engine itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from ksi_tui.client import SnapshotQuery
from ksi_tui.screens import offers
from ksi_tui.screens.fields import Picker
from ksi_tui.screens.host import Host, ask, refusal
from ksi_tui.widgets.rows import name_of
from ksi_tui.widgets.spans import line

_SESSIONS = 20
"""How many sessions are offered."""
_IN_SIGHT = 100


class ModelPicker(Picker):
    """Offers models with their providers, prices and window.

    Left empty it stands for the default model, unless `without` says what else it means.
    """

    def __init__(self, value: str, *, id: str, label: str = "Model", without: str = "") -> None:
        super().__init__(label, value, without or "the default model", id=id)
        self._optional = bool(without)
        self._models: Sequence[Mapping[str, Any]] = ()

    def on_mount(self) -> None:
        self._learn()

    def _learn(self) -> None:
        self.start(self._ask, name="models", group="models", exclusive=True)

    async def _ask(self) -> None:
        reply = await ask(cast(Host, self.app), "completion:models")
        self._models = () if refusal(reply) else reply.get("models") or ()
        self._offer()

    @property
    def named(self) -> str:
        """The model that is meant: what was typed, else the default one; empty if unknown."""
        default = next((str(row["model"]) for row in self._models if row.get("default")), "")
        return self.value or default

    def typed(self) -> None:
        """Offer what fits; ask again while patterns stand for what a worker will know."""
        self._offer()
        if any(row.get("pattern") for row in self._models):
            self._learn()

    def _offer(self) -> None:
        typed = self.value
        named = next((row for row in self._models if row["model"] == typed), None)
        default = next((row for row in self._models if row.get("default")), None)
        if named is not None:
            self.tell(offers.model_facts(named))
        elif default is not None and not typed and not self._optional:
            self.tell(f"{name_of(default['model'])}: {offers.model_facts(default)}")
        else:
            self.tell("")
        rows = [] if named is not None else offers.fitting(self._models, typed)
        self.offer([(str(r["model"]), offers.model_line(r, self.list_width)) for r in rows])


class SessionPicker(Picker):
    """Offers sessions that there are; any other name begins one."""

    def __init__(self, value: str, *, id: str) -> None:
        super().__init__("Session", value, "a session of its own", id=id)

    def typed(self) -> None:
        """Look for sessions of this name."""
        self.start(self._find, name="sessions", group="sessions", exclusive=True)

    async def _find(self) -> None:
        host, typed = cast(Host, self.app), self.value
        reply = await ask(host, "completion:names", field="session", prefix=typed, limit=_SESSIONS)
        names = reply.get("names") if refusal(reply) is None else _in_sight(host, typed)
        found = [str(name) for name in names or ()]
        self.offer([(name, line(name_of(name))) for name in found if name != typed])
        self.tell("" if not typed else "goes on" if typed in found else "a new one of this name")


def _in_sight(host: Host, typed: str) -> list[str]:
    """Return sessions that run or wait now, for an engine that cannot list all names."""
    if host.client is None:
        return []
    now = host.client.snapshot(SnapshotQuery(active_limit=_IN_SIGHT, queue_limit=_IN_SIGHT))
    names = [
        *(view.session_id for view in now.active),
        *(view.session_id for view in now.queues),
    ]
    return [name for name in dict.fromkeys(names) if typed.lower() in name.lower()][:_SESSIONS]
