"""A provider that answers every call at once with the same words: what is measured is the engine.

The simulated one counts words and cuts its answers into pieces, which is work of its own.
"""

from __future__ import annotations

from ksi_tui.config import ProviderSettings
from ksi_tui.engine.models import Usage
from ksi_tui.engine.providers.base import CallObserver, CallResult, CallSpec

_TEXT = "an answer"
_USAGE = Usage(input=2, output=2)
_RAW = {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}


class NullProvider:
    """See `Provider`; each answer bears its request's id, so that one can be told from another."""

    def __init__(self, settings: ProviderSettings) -> None:
        self.name = settings.name

    async def call(self, spec: CallSpec, _: CallObserver) -> CallResult:
        """Answer."""
        message = {"role": "assistant", "content": _TEXT}
        response = {
            "id": f"null-{spec.request_id}",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": spec.model,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": _RAW,
        }
        return CallResult(response=response, text=_TEXT, usage=_USAGE, raw_usage=_RAW)

    async def aclose(self) -> None:
        """Nothing is held."""
