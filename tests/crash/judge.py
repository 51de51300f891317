"""What must hold of the files that a life left, and of what clients were told meanwhile.

Raises Broken with the promise that does not hold. Knows no process and no seed.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ksi_tui.engine.store import migrations
from tests.crash.home import Home, must
from tests.crash.ledger import FINAL, Ledger, Row, ids_in, ledger, response_lines, version_of
from tests.crash.load import HELD, PAUSED, Record

_APART_S: Final = 0.05
"""How far the clocks of a client and of two lives of the engine are apart."""


@dataclass(slots=True, kw_only=True)
class Judge:
    """Looks at one round's files after each of its lives.

    `one_clock`: the lives of the round and its clients have the same clock. `faultless`: the
    engine has no reason to log an error.
    """

    home: Home
    record: Record
    one_clock: bool = True
    faultless: bool = True
    _ended: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    def after_a_kill(self) -> None:
        """Check what must hold whenever an engine was killed."""
        copy = self.home.copied()
        if version_of(copy) < migrations.latest():
            lost = self.record.accepted.keys() - ids_in(copy)
            must(not lost, f"accepted and lost: {sorted(lost)}")
            return
        self._look(ledger(copy))

    def _look(self, found: Ledger) -> None:
        self._sound(found)
        self._kept(found)
        self._once(found)
        self._held(found)
        _fed(found, response_lines(self.home.state / "responses", whole=False))

    def at_the_end(self) -> Ledger:
        """Check what must hold besides once an engine has drained and ended."""
        found = ledger(self.home.copied())
        self._look(found)
        left = [name for name, each in found.requests.items() if each["state"] not in FINAL]
        must(not left, f"{len(left)} unfinished at the end: {left[:5]}")
        must(not found.locks, f"locks are left: {found.locks}")
        _in_files(found, response_lines(self.home.state / "responses", whole=True))
        must(not self.home.socket.exists(), f"{self.home.socket} is left")
        faults = faults_in(self.home.state / "logs" / "ksi-tui.log")
        must(not (faults and self.faultless), f"faults in the log: {faults[:2]}")
        return found

    # --- what is on disk by itself ---------------------------------------------------------

    def _sound(self, found: Ledger) -> None:
        must(found.integrity == "ok", f"integrity_check: {found.integrity}")
        states = Counter(each["state"] for each in found.requests.values())
        kept = {name: found.counters[name] for name in (*FINAL, "queued", "processing", "retrying")}
        must(kept == {name: states[name] for name in kept}, f"counters {kept}, requests {states}")
        calls = found.sums["calls"]
        for name, sums in found.sums.items():
            same = all(abs(a - b) < 1e-6 for a, b in zip(calls, sums, strict=True))
            must(same, f"the sums of {name} are {sums}, of the calls {calls}")
        for request_id, each in found.requests.items():
            answered = sum(c["outcome"] == "answered" for c in found.calls_of(request_id))
            due = int(each["state"] == "completed")
            must(answered == due, f"{request_id} is {each['state']} with {answered} answers")
            final = each["state"] in FINAL
            must((each["finish_seq"] is not None) == final, f"{request_id}: {each['finish_seq']}")
            text = each["state"] != "completed" or _says(each)
            must(text, f"{request_id} holds another's answer: {each['result']}")
        if self.one_clock:
            self._exclusive(found)

    def _exclusive(self, found: Ledger) -> None:
        """One request at a time in each session: calls of two never overlap."""
        sessions: dict[str, list[Row]] = {}
        for call in found.calls:
            sessions.setdefault(call["session_id"], []).append(call)
        for session_id, calls in sessions.items():
            calls.sort(key=lambda call: float(call["started_at"]))
            for one, other in itertools.pairwise(calls):
                apart = other["started_at"] > one["finished_at"] - _APART_S
                own = one["request_id"] == other["request_id"]
                must(apart or own, f"{session_id}: two run at once: {one} and {other}")

    # --- what clients were told ------------------------------------------------------------

    def _kept(self, found: Ledger) -> None:
        record = self.record
        missing = record.accepted.keys() - found.requests.keys()
        must(not missing, f"accepted and lost: {sorted(missing)}")
        there = record.refused.keys() & found.requests.keys()
        must(not there, f"refused and there: {sorted(there)}")
        twice = record.told_twice - record.again
        must(not twice, f"two ends were told of {sorted(twice)}")
        for request_id, state in record.told.items():
            now = found.requests[request_id]["state"]
            same = now == state or request_id in record.again
            must(same, f"{request_id} was told {state} and is {now}")
        for request_id in record.cancelled - record.again:
            now = found.requests[request_id]["state"]
            must(now == "cancelled", f"{request_id} was cancelled and is {now}")
        known = record.restored & found.requests.keys()
        must(known in (set(), record.restored), "a checkpoint was restored in part")

    def _once(self, found: Ledger) -> None:
        """No final state changes unless somebody asks for it, and nothing disappears."""
        for request_id, before in self._ended.items():
            must(request_id in found.requests, f"{request_id} has disappeared")
            if request_id not in self.record.again:
                now = _end(found.requests[request_id])
                must(now == before, f"{request_id} ended as {before}, and now as {now}")
        self._ended = {
            name: _end(each) for name, each in found.requests.items() if each["state"] in FINAL
        }

    def _held(self, found: Ledger) -> None:
        """Pauses, locks and forced circuits are as they were confirmed; nobody slips through."""
        record = self.record
        scopes = {(each["scope"], each["id"]) for each in found.pauses}
        if record.paused is not None:
            must((("session", PAUSED) in scopes) == record.paused, f"pauses: {scopes}")
        holders = {each["session_id"]: each["holder"] for each in found.locks}
        if record.held is not None:
            must((holders.get(HELD) == "boss") == record.held, f"locks: {holders}")
        if record.forced is not None:
            forced = _forced(found.providers.get("two", {}))
            must(forced == record.forced, f"two is forced: {forced}")
        if self.one_clock and self.faultless:
            open_now = _open(found.providers.get("sick", {}))
            must(open_now or "sick" not in record.opened, f"sick was open: {found.providers}")
            record.opened |= {"sick"} if open_now else set()
        for session, held in ((PAUSED, record.paused), (HELD, record.held)):
            begun = [each for each in found.in_session(session) if each["started_at"]]
            must(not (held and begun), f"{session} ran though it was held: {begun}")

    # --- the order in sessions -------------------------------------------------------------

    def in_order(self, found: Ledger) -> None:
        """First come, first served, and by priority where those differ."""
        for session_id, sent in self.record.order.items():
            there = [each["request_id"] for each in found.in_session(session_id)]
            must(
                there == [each for each in sent if each in found.requests], f"{session_id}: places"
            )
            by_hand = self.record.again | self.record.cancelled
            ends = sorted(
                (
                    each
                    for each in found.in_session(session_id)
                    if each["request_id"] not in by_hand
                ),
                key=lambda each: int(each["finish_seq"]),
            )
            numbers = [int(each["row"]) for each in ends]
            must(numbers == sorted(numbers), f"{session_id} ended out of order: {numbers}")
            if found.turns.get(session_id):
                said = [text.split()[0] for text in found.turns[session_id]]
                ended = [each for each in said if each not in self.record.again]
                due = [e["request_id"] for e in ends if e["state"] == "completed"]
                must(ended == due, f"{session_id}: its turns are {said}, its answers {due}")
        sessions = {each["session_id"] for each in found.requests.values()}
        for session_id in sessions if self.one_clock else ():
            self._by_priority(found.in_session(session_id))

    def _by_priority(self, requests: list[Row]) -> None:
        """None begins while one that goes before it is known to wait."""
        by_hand = self.record.again | self.record.cancelled
        for one in requests:
            for other in requests:
                if one["request_id"] in by_hand or other["request_id"] in by_hand:
                    continue
                if (one["rank"], one["place"]) >= (other["rank"], other["place"]):
                    continue
                accepted = self.record.accepted.get(one["request_id"])
                if accepted is None or other["started_at"] is None or one["started_at"] is None:
                    continue
                waited = accepted + _APART_S < other["started_at"] < one["started_at"]
                must(not waited, f"{other['request_id']} went before {one['request_id']}")

    def injected(self, found: Ledger) -> None:
        """Every result that was to be injected was, once."""
        sources = Counter(each["source_id"] for each in found.injections)
        for request_id in self.record.injecting & found.requests.keys():
            if request_id in self.record.again:
                continue
            due = int(found.requests[request_id]["state"] == "completed")
            must(
                sources[request_id] == due, f"{request_id} was injected {sources[request_id]} times"
            )
        for each in found.injections:
            if each["mode"] == "direct" and each["state"] != "blocked":
                must(each["request_id"] in found.requests, f"injected and lost: {each}")


def _end(each: Row) -> tuple[Any, ...]:
    return each["state"], each["finish_seq"], each["finished_at"], each["result"]


def _says(each: Row) -> bool:
    """Whether an answer that echoes its prompt is this request's."""
    ksi = json.loads(each["result"])["ksi"]
    return bool(ksi["request_id"] == each["request_id"])


def _forced(state: Mapping[str, Any]) -> bool:
    return bool(state and state["circuit"]["forced"] == "open")


def _open(state: Mapping[str, Any]) -> bool:
    return bool(state and state["circuit"]["state"] == "open")


def _fed(found: Ledger, files: Mapping[str, list[Row]]) -> None:
    """No line stands in a response file whose result is not in the database, and none twice."""
    seen = Counter(line["ksi"]["request_id"] for lines in files.values() for line in lines)
    twice = [name for name, count in seen.items() if count > 1]
    must(not twice, f"twice in the response files: {twice}")
    for name in seen:
        must(found.requests[name]["state"] == "completed", f"{name} is filed and not completed")


def _in_files(found: Ledger, files: Mapping[str, list[Row]]) -> None:
    """Each session's file holds its results, in their order, as they are in the database."""
    due: dict[str, list[Any]] = {}
    done = [each for each in found.requests.values() if each["state"] == "completed"]
    for each in sorted(done, key=lambda each: int(each["finish_seq"])):
        due.setdefault(each["session_id"], []).append(json.loads(each["result"]))
    by_session = {lines[0]["ksi"]["session_id"]: lines for lines in files.values() if lines}
    must(by_session.keys() == due.keys(), f"files of {by_session.keys()}, results of {due.keys()}")
    for session_id, lines in by_session.items():
        must(lines == due[session_id], f"the response file of {session_id} differs")


def faults_in(log: Path) -> list[str]:
    """Return the lines of a log that tell of a fault of the engine's own."""
    if not log.exists():
        return []
    lines = log.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if "Traceback" in line or '"level": "error"' in line.lower()]
