"""Usage objects of every shape become five disjoint buckets that add up."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.engine.models import Usage
from ksi_tui.engine.providers.usage import buckets, from_json, said_nothing


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        ({"prompt_tokens": 20, "completion_tokens": 5}, Usage(input=20, output=5)),
        (
            {
                "prompt_tokens": 20,
                "completion_tokens": 14,
                "total_tokens": 34,
                "prompt_tokens_details": {"cached_tokens": 8},
                "completion_tokens_details": {"reasoning_tokens": 4},
            },
            Usage(input=12, cache_read=8, output=10, reasoning=4),
        ),
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 1,
                "cache_read_input_tokens": 60,
                "cache_creation_input_tokens": 30,
                "prompt_tokens_details": {"cached_tokens": 60},
            },
            Usage(input=10, cache_read=60, cache_write=30, output=1),
        ),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 35,
                "completion_tokens_details": {"reasoning_tokens": 20},
            },
            Usage(input=10, output=5, reasoning=20),
        ),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "completion_tokens_details": {"reasoning_tokens": 9},
            },
            Usage(input=10, output=0, reasoning=5),
        ),
        (
            {"prompt_tokens": None, "completion_tokens": -3, "prompt_tokens_details": None},
            Usage(),
        ),
    ],
)
def test_buckets_are_disjoint(raw: dict[str, Any], usage: Usage) -> None:
    assert buckets(raw) == usage


counts = st.integers(min_value=0, max_value=10_000)


@given(counts, counts, counts, counts, counts)
def test_the_buckets_add_up_to_what_was_billed(
    prompt: int, completion: int, read: int, written: int, reasoning: int
) -> None:
    usage = buckets(
        {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "cache_read_input_tokens": read,
            "cache_creation_input_tokens": written,
            "completion_tokens_details": {"reasoning_tokens": reasoning},
        }
    )
    assert usage.total == prompt + completion
    assert min(usage.input, usage.cache_read, usage.cache_write, usage.output) >= 0


@pytest.mark.parametrize("raw", [None, {}, {"prompt_tokens": 0, "completion_tokens": 0}])
def test_an_object_of_zeros_says_nothing(raw: dict[str, Any] | None) -> None:
    assert said_nothing(raw)


def test_one_count_is_something() -> None:
    assert not said_nothing({"prompt_tokens": 3})


def test_buckets_travel_whole() -> None:
    usage = Usage(input=1, cache_read=2, cache_write=3, output=4, reasoning=5, estimated=True)
    assert from_json(usage.plain()) == usage
    assert from_json(None) is None
