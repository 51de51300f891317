"""What a read from a cache has spared is found once for a model, and anew where it may vary."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ksi_tui.engine.models import Usage
from ksi_tui.engine.providers.tokens import Tokens

MODEL = "home-made"
READ = Usage(input=12, cache_read=8, output=14)


class Prices:
    """Stands for litellm: one model with a price for a token, and one for a cached one."""

    Usage = SimpleNamespace

    def __init__(self, **more: Any) -> None:
        self.info = {"input": 3.0, "cached": 1.0, "off_peak_pricing": None, **more}
        self.priced = 0

    def get_model_info(self, model: str) -> dict[str, Any]:
        assert model == MODEL
        return self.info

    def cost_per_token(self, *, model: str, usage_object: Any) -> tuple[float, float]:
        self.priced += 1
        read = usage_object.prompt_tokens_details["cached_tokens"]
        above = self.info.get("input_cost_per_token_above_10_tokens") or 0.0
        full = above if above and usage_object.prompt_tokens > 10 else self.info["input"]
        return (usage_object.prompt_tokens - read) * full + read * self.info["cached"], 0.0


def raw(prompt: int, read: int, **more: Any) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": 14,
        "total_tokens": prompt + 14,
        "prompt_tokens_details": {"cached_tokens": read, "audio_tokens": 0},
        **more,
    }


def test_a_models_saving_is_found_once_for_calls_of_any_size() -> None:
    prices = Prices()
    tokens = Tokens(prices, "1")
    assert tokens.savings(MODEL, READ, raw(20, 8)) == pytest.approx(8 * 2)
    found_by = prices.priced
    more = Usage(input=1, cache_read=999)
    assert tokens.savings(MODEL, more, raw(1000, 999)) == pytest.approx(999 * 2)
    assert prices.priced == found_by


def test_a_new_price_is_a_new_saving() -> None:
    prices = Prices()
    tokens = Tokens(prices, "1")
    tokens.savings(MODEL, READ, raw(20, 8))
    prices.info = {**prices.info, "cached": 2.0}
    assert tokens.savings(MODEL, READ, raw(20, 8)) == pytest.approx(8)


@pytest.mark.parametrize(
    ("more", "saved"),
    [({"input_cost_per_token_above_10_tokens": 5.0}, 8 * 4), ({"off_peak_pricing": {}}, 8 * 2)],
    ids=["tiers", "hours"],
)
def test_prices_that_vary_are_asked_for_every_call(more: dict[str, Any], saved: float) -> None:
    prices = Prices(**more)
    tokens = Tokens(prices, "1")
    for number in (1, 2):
        assert tokens.savings(MODEL, READ, raw(20, 8)) == pytest.approx(saved)
        assert prices.priced == 2 * number


@pytest.mark.parametrize("odd", [{"speed": "fast"}, {"cache_creation_input_tokens": 3}], ids=str)
def test_a_usage_that_tells_more_is_priced_as_a_whole(odd: dict[str, Any]) -> None:
    prices = Prices()
    tokens = Tokens(prices, "1")
    tokens.savings(MODEL, READ, raw(20, 8))
    found_by = prices.priced
    assert tokens.savings(MODEL, READ, raw(20, 8, **odd)) == pytest.approx(8 * 2)
    assert prices.priced == found_by + 2
