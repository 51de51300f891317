"""Rounds on `run`: its input is on disk as a whole or not at all, and is finished by going on."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any, Final

from tests.crash import load
from tests.crash.home import Life, must
from tests.crash.judge import Judge
from tests.crash.ledger import ids_in
from tests.crash.load import Record
from tests.crash.points import MID_STREAM, RUN, SERVED
from tests.crash.stage import MEETS_S, Round, clean, killed_in

POINTS: Final = {f"run: {point.name}": point for point in RUN}
_MODELS: Final = ("sim/echo", "sim/slow", "ill/a")


async def ran(round_: Round) -> None:
    """Run a file, killed at the round's point; go on, killed again; give the file again."""
    home, dice = round_.home, round_.dice
    home.configure(load.SETTINGS)
    record = Record()
    judge = Judge(home=home, record=record)
    file = home.folder / "in.jsonl"
    ids = _written(file, dice, record)
    printed: Counter[str] = Counter()
    point = POINTS[round_.kind]
    for number, trap in enumerate((point, dice.choice((*SERVED[:8], MID_STREAM)))):
        arguments = ["run", str(file), "--json"] if number == 0 else ["run", "--resume", "--json"]
        life = await home.start(*arguments, traps=[trap.drawn(dice)])
        met = await killed_in(life, MEETS_S)
        if number == 0:
            round_.note(round_.kind, met=met)
        clean(life)
        judge.after_a_kill()
        there = ids_in(home.copied())
        must(there in (set(), ids), f"{len(there)} of {len(ids)} requests of one input are on disk")
        printed += _printed(life)
    last = await home.start("run", str(file), "--resume", "--json")
    try:
        code = await last.ended()
    finally:
        last.kill()
    must(code == 0, f"the last run ended with {code}: {last.err}")
    found = judge.at_the_end()
    whole = _printed(last)
    must(whole == Counter(ids), f"the last run printed {len(whole)} of {len(ids)}")
    must(not printed.keys() - ids, "another's result was printed")
    must(max(printed.values(), default=1) == 1, "a result was printed by two lives")
    judge.in_order(found)


def _written(file: Path, dice: random.Random, record: Record) -> set[str]:
    """Write an input, and what order its sessions must keep; returns its ids.

    Many rows are written in one run of a statement, up to three that are left over in one each:
    with three of those there are `INPUT_RUNS`.
    """
    lines: list[dict[str, Any]] = []
    for number in range(4 * dice.randint(10, 30) - 1):
        request_id, session_id = f"line-{number}", f"s{number % 7}"
        record.order.setdefault(session_id, []).append(request_id)
        asked = {
            "request_id": request_id,
            "session_id": session_id,
            "prompt": f"{request_id} and some words",
            "model": dice.choice(_MODELS),
            "history": "none",
            "extra_body": {"sim": {"delay_ms": dice.randint(0, 30), "tokens_per_s": 500}},
        }
        lines.append(asked)
    file.write_text("".join(json.dumps(each) + "\n" for each in lines), encoding="utf-8")
    return {each["request_id"] for each in lines}


def _printed(life: Life) -> Counter[str]:
    """Return the ids of the whole lines that a run has printed."""
    lines = [line for line in life.out.split("\n")[:-1] if line]
    return Counter(json.loads(line)["request_id"] for line in lines)
