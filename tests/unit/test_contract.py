"""The contract and its tests have no gap between them.

`docs/contract.md` holds one promise a line, `tests/contract.toml` the tests of each line.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONTRACT = ROOT / "docs" / "contract.md"
TABLE = ROOT / "tests" / "contract.toml"

_PROMISE = re.compile(r"- \*\*(\d+)\.(\d\d)\*\* \S.*\.$")


def _lines() -> list[str]:
    """Return what stands in the contract's sections, line by line."""
    sections = CONTRACT.read_text(encoding="utf-8").partition("\n## ")
    return [line for line in f"## {sections[2]}".splitlines() if line.strip()]


def _promises() -> list[tuple[int, int]]:
    found = [_PROMISE.fullmatch(line) for line in _lines()]
    return [(int(match[1]), int(match[2])) for match in found if match]


def _table() -> dict[str, list[str]]:
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))


def _tests_of(file: Path) -> Iterator[str]:
    """Yield the tests that run; one that is skipped or expected to fail holds nothing."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            marks = " ".join(ast.unparse(mark) for mark in node.decorator_list)
            if node.name.startswith("test_") and not re.search(r"mark\.(skip|xfail)\b", marks):
                yield node.name


def test_every_line_of_the_contract_is_a_promise_with_a_number() -> None:
    odd = [x for x in _lines() if not (_PROMISE.fullmatch(x) or re.fullmatch(r"## \d+\. .+", x))]
    assert odd == []


def test_the_numbers_have_no_gap() -> None:
    found = _promises()
    sections = sorted({section for section, _ in found})
    assert sections == list(range(1, 13))
    for section in sections:
        numbers = [number for each, number in found if each == section]
        assert numbers == list(range(1, len(numbers) + 1)), f"section {section}"


def test_every_promise_has_a_test_and_every_test_a_promise() -> None:
    promised = [f"{section}.{number:02}" for section, number in _promises()]
    table = _table()
    assert [line for line in promised if not table.get(line)] == [], "promises without a test"
    assert [line for line in table if line not in promised] == [], "tests of no promise"


def test_the_named_tests_exist() -> None:
    there: dict[str, set[str]] = {}
    missing = []
    for line, tests in _table().items():
        for test in tests:
            name, _, function = test.partition("::")
            if name not in there:
                file = ROOT / name
                there[name] = set(_tests_of(file)) if file.is_file() else set()
            if function not in there[name]:
                missing.append(f"{line}: {test}")
    assert missing == []
