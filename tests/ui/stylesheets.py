"""Parses each stylesheet once for all the apps of a test run.

Every app parses the styles of all its widgets anew, the same text with the same variables each
time, which is a tenth of what a test of the dashboard takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual.css.model import RuleSet
from textual.css.stylesheet import Stylesheet

Parse = Callable[..., list[RuleSet]]


def parsed_once(parse: Parse) -> Parse:
    """Wrap `Stylesheet._parse_rules`: what was parsed for one app is there for the next."""
    known: dict[tuple[Any, ...], list[RuleSet]] = {}

    def parse_rules(sheet: Stylesheet, css: str, **where: Any) -> list[RuleSet]:
        key = (css, *where.items(), frozenset(sheet._variables.items()))
        if key not in known:
            known[key] = parse(sheet, css, **where)
        return known[key]

    return parse_rules
