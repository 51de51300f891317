"""What may leave in a bundle: keys never, prompts and replies only where they are asked for.

An error's message stays, since an incident is little without it, but not what it repeats:
every run of words that stands in a prompt or reply too is hidden. Messages of requests whose
texts are not at hand are hidden as far as they say what no looked-through message says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from ksi_tui.incident.echoes import Echoes
from ksi_tui.incident.hiding import Hiding, is_hash, texts_of
from ksi_tui.redaction import redacted, secrets_of

_MESSAGES: Final = frozenset({"error", "message", "last_error", "error_message"})
"""Keys under which an upstream's own words may stand."""
_IDS: Final = frozenset(
    {"request_id", "session_id", "agent_id", "client_id", "head_id", "source_request_id", "key"}
    | {"provider", "model", "asked_model", "requested_model", "name", "kind", "status", "phase"}
    | {"names", "lock_holder", "holder", "occupied_by"}
)
"""Keys whose values are names, by which parts of a bundle find each other."""
_REFERENCE: Final = re.compile(r"os\.environ/(\w+)")
_OF_CIRCUIT: Final = re.compile(r"^(?:probe failed: )?(?:.{0,80}?, last )?(?:[a-z_]+: )?")
_SENTENCE: Final = re.compile(r'"(?:[^"\\ ]|\\.)* (?:[^"\\]|\\.)*"')
"""A string with a space in it, in JSON that has none elsewhere."""
_MOST_KEPT: Final = 50_000

Data = Mapping[str, Any]


def keys_of(settings: Data, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values that are keys: by a variable's name, or since the settings name it."""
    named = {environ[name] for name in _named(settings) if environ.get(name)}
    return tuple(sorted({*secrets_of(environ), *named}, key=len, reverse=True))


def _named(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _named(item, str(name))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _named(item, key)
    elif isinstance(value, str):
        yield from [value] if key == "api_key_env" else _REFERENCE.findall(value)


class Privacy:
    """Makes records safe to hand on. `keys` go in any case; `hiding` None: texts stay."""

    def __init__(self, keys: tuple[str, ...], hiding: Hiding | None) -> None:
        self._keys = keys
        self._hiding = hiding
        self._echoes = Echoes()
        self._kept: dict[str, str] = {}
        self._sentences: dict[str, str] = {}

    def learn(self, records: Iterable[Data], texts: Iterable[Data], others: Iterable[Data]) -> None:
        """Learn what is private: all texts of `records` and `texts`, and what errors echo.

        The messages of a request's record can be told from its texts; what only `others` say
        may be anybody's text.
        """
        if self._hiding is None:
            return
        looked_through: list[str] = []
        for record in records:
            took = [self._echoes.take(text) for text in texts_of(record)]
            if took and all(took) and (record.get("sent") or {}).get("known", True):
                looked_through += _messages(record)
        for found in texts:
            for text in texts_of(found):
                self._echoes.take(text)
        doubtful, persons = Echoes(), list[str]()
        for other in others:
            persons += _reasons(other)
            for message in _messages(other):
                doubtful.take(message)
        doubtful.spare([*looked_through, *persons])
        self._echoes.join(doubtful)
        self._kept.clear()
        self._sentences.clear()

    def safe(self, record: Data) -> dict[str, Any]:
        """Return a record without what may not leave."""
        hidden = record if self._hiding is None else self._hiding.record(record)
        return {key: self._of(value, key) for key, value in hidden.items()}

    def frame(self, text: str) -> str:
        """Return a frame without what may not leave; JSON without spaces but within strings.

        A frame has no place for a text of its own (`recorder.QUERY` asks for no request's), so
        it is not taken apart: what an error has brought into its sentences is looked for there.
        """
        return _SENTENCE.sub(lambda found: self._sentence(found[0]), redacted(text, self._keys))

    def _sentence(self, literal: str) -> str:
        found = self._sentences.get(literal)
        if found is None:
            found = json.dumps(self._text(json.loads(literal), ""))
            if len(self._sentences) < _MOST_KEPT:
                self._sentences[literal] = found
        return found

    def named(self, name: str) -> str:
        """Return the name of a part without keys."""
        return redacted(name, self._keys)

    def _of(self, value: Any, key: str) -> Any:
        if isinstance(value, Mapping):
            return {name: self._of(item, name) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._of(item, key) for item in value]
        return self._text(value, key) if isinstance(value, str) else value

    def _text(self, text: str, key: str) -> str:
        found = self._kept.get(text)
        if found is None or key in _IDS:
            found = redacted(text, self._keys)
            if self._hiding is not None and key not in _IDS and not is_hash(found):
                found = self._echoes.hidden(found, self._hiding.text)
            if len(self._kept) < _MOST_KEPT and key not in _IDS:
                self._kept[text] = found
        return found


def _messages(value: Any, key: str = "") -> Iterator[str]:
    """Yield what may be an upstream's own words in a record."""
    if isinstance(value, Mapping):
        yield from _told_elsewhere(value)
        for name, item in value.items():
            yield from _messages(item, str(name))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _messages(item, key)
    elif isinstance(value, str) and key in _MESSAGES:
        yield value


def _reasons(value: Any) -> Iterator[str]:
    """Yield the reasons that people gave for what they did."""
    if isinstance(value, Mapping):
        reason = value.get("reason")
        if isinstance(reason, str) and (value.get("by") or value.get("forced_by")):
            yield reason
        for item in value.values():
            yield from _reasons(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _reasons(item)


def _told_elsewhere(value: Data) -> Iterator[str]:
    """Yield an upstream's words where another name stands over them: a failure, a circuit."""
    why, reason = value.get("why"), value.get("reason")
    if isinstance(why, str) and value.get("status") == "failed":
        yield why
    opened = value.get("to") == "open" or (value.get("is_open") and not value.get("forced"))
    if isinstance(reason, str) and opened:
        yield _OF_CIRCUIT.sub("", reason)  # the engine's own words come before
