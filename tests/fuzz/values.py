"""What is drawn: texts that mean something to somebody on their way, numbers at every edge, depth.

Each text is harmless as long as nobody along the way reads it as anything but text.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("KSI_EXAMPLES", "0"))
"""How many examples each test plays; 0: as many as it does by itself, always the same."""

TEXTS = (
    "'; DROP TABLE requests; --",
    '" OR ""="',
    "100%",
    "_%_",
    "a\\",
    "%s%n%d",
    "{0.__class__}{}",
    "$(touch owned) `touch owned`",
    "[red]x[/]",
    "[@click=app.quit]x[/]",
    "=HYPERLINK(1)",
    "../../etc/passwd",
    "..",
    ".",
    "-",
    "/",
    "CON",
    "S",
    "s",
    "ß",
    "SS",
    "\u0130",
    "e\u0301",
    "\u00e9",
    "null",
    "0",
    "*",
    "a:b:c",
    "NEAR(a b)",
    '"a" AND',
    "[a-z]*",
    "os.environ/HOME",
    "\U0001f4a5",
    " s ",
    "x" * 200,
)
ACTING = (
    "",
    "\x00",
    "a\x00b",
    "\x1b[2J\x1b]0;owned\x07",
    "\u202e",
    "\r\n",
    "\x9b31m",
    "\ud800",
    "x" * 201,
    "x" * 100_000,
)
NUMBERS = (
    0,
    -1,
    1,
    2,
    100,
    2**31,
    2**53,
    2**63 - 1,
    2**63,
    2**64,
    10**400,
    -(10**400),
    0.5,
    -0.0,
    5e-324,
    1e300,
    math.inf,
    -math.inf,
    math.nan,
    31_536_000,
)


def nested(depth: int, *, lists: bool = False) -> Any:
    """Return an empty object, or list, within so many others."""
    value: Any = [] if lists else {}
    for _ in range(depth):
        value = [value] if lists else {"x": value}
    return value


DEEP = (nested(90), nested(150), nested(150, lists=True), nested(20_000))
ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    b"bytes",
    {1: 2},
    {None: 1},
    [],
    {},
    [None],
    [[]],
    {"": ""},
    object(),
)

texts = st.one_of(st.sampled_from(TEXTS), st.sampled_from(TEXTS), st.sampled_from(ACTING))
numbers = st.sampled_from(NUMBERS)
odd = st.one_of(st.sampled_from(ODD), st.sampled_from(DEEP))
plain = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(TEXTS), inner, max_size=3)
    ),
    max_leaves=5,
)
anything = st.one_of(texts, numbers, odd, plain)


def tried(read: Callable[[], Any], *refusals: type[Exception], most: int = 5_000) -> Any:
    """Return what is read, None where it is refused as it should be: in a few words."""
    try:
        return read()
    except refusals as error:
        told = str(error)
    assert len(told) < most
    assert "Traceback" not in told
    return None


def bounded(examples: int, **more: Any) -> settings:
    """Return settings for as many examples, the same ones each time; or for more by hand."""
    if EXAMPLES:
        return settings(max_examples=EXAMPLES, deadline=None, **more)
    return settings(max_examples=examples, derandomize=True, database=None, deadline=None, **more)
