"""One streamed answer, told in OpenAI's chunks: from what is told of its request. Pure.

What was sent cannot be taken back. As long as nothing was, attempts may fail and others take
their place unseen; after that, an answer that is not the one begun ends the stream with a fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ksi_tui.engine import events
from ksi_tui.engine.events import Event
from ksi_tui.gateway.answers import Sent, answer_id, whole
from ksi_tui.gateway.faults import Fault, broken_off, fault_of_end

Chunk = dict[str, Any]

_BEGINS = ("calling_provider", "failing_over")


class Story:
    """Turns a request's events into chunks. `created` is epoch seconds.

    After the last one `over` is True, `fault` says how it failed, and `broken` whether it did
    so with a part of the answer already sent while the engine tries on.
    """

    def __init__(
        self, request_id: str, *, model: str | None, created: int, include_usage: bool
    ) -> None:
        self.over = False
        self.broken = False
        self.fault: Fault | None = None
        self.envelope: Mapping[str, Any] | None = None
        self._id = answer_id(request_id)
        self._model = model or ""
        self._created = created
        self._include_usage = include_usage
        self._sent: dict[int, Sent] = {}
        self._call: tuple[int, int] | None = None
        self._text_only = False
        self._gap = False

    def tell(self, event: Event) -> list[Chunk]:
        """Return the chunks that follow from an event; none of a result: see `answer`."""
        if self.over:
            return []
        data = event.data
        match event.name:
            case events.SNAPSHOT:
                return self._joined(data.get("request"))
            case events.DELTA:
                return self._delta(data)
            case events.LOST:
                self._gap = True
            case events.RETRYING:
                self._another_call()
            case events.PROGRESS if data["status"] in _BEGINS:
                self._another_call()
            case events.RESULT:
                self.over, self.envelope = True, data["result"]
            case events.ERROR | events.CANCELLED:
                self._end(fault_of_end(data))
        return []

    def answer(self, envelope: Mapping[str, Any], usage: Mapping[str, Any] | None) -> list[Chunk]:
        """Return the chunks that are left once the answer is whole: the rest, ends and usage."""
        answer = whole(envelope, usage)
        if self._call is None:
            self._model = answer["model"]
        chunks: list[Chunk] = []
        for choice in answer["choices"]:
            index = choice["index"]
            sent = self._sent.get(index) or Sent()
            rest = sent.rest(choice["message"])
            if rest is None or (self._gap and sent.others):
                self._end(broken_off())
                return chunks
            logprobs = None if index in self._sent else choice["logprobs"]
            chunks += self._pieces(index, rest, logprobs)
            chunks.append(self._chunk(index, {}, None, choice["finish_reason"]))
        if self._include_usage:
            head = self._chunk(0, {}, None, None)
            chunks.append({**head, "choices": [], "usage": answer["usage"]})
        return chunks

    # --- while it comes ----------------------------------------------------------------------

    def _joined(self, so_far: Mapping[str, Any] | None) -> list[Chunk]:
        """Catch up with a request that runs: its text is known, what else has come is not."""
        if so_far is None or so_far["call"] is None:
            return []
        self._text_only = True
        if not so_far["text"]:
            return []
        self._begin(so_far)
        return list(self._pieces(0, {"content": so_far["text"]}, None))

    def _delta(self, data: Mapping[str, Any]) -> list[Chunk]:
        if self._gap:
            return []
        if self._call not in (None, (data["attempt"], data["call"])):
            self._another_call()
            return []
        chunks: list[Chunk] = []
        for piece in data["choices"]:
            index, delta, logprobs = piece["index"], piece["delta"], piece.get("logprobs")
            if self._text_only:
                text = delta.get("content") if index == 0 else None
                delta, logprobs = ({"content": text} if text else {}), None
            if delta or logprobs:
                self._begin(data)
                chunks += self._pieces(index, delta, logprobs)
        return chunks

    def _begin(self, data: Mapping[str, Any]) -> None:
        if self._call is None:
            self._call = (data["attempt"], data["call"])
            self._model = data["model"]

    def _another_call(self) -> None:
        """A call begins anew: that is nobody's business as long as nothing was sent."""
        self._text_only = False
        if self._call is not None:
            self.broken = True
            self._end(broken_off())

    def _end(self, fault: Fault) -> None:
        self.over, self.fault = True, fault

    # --- chunks ------------------------------------------------------------------------------

    def _pieces(self, index: int, delta: Mapping[str, Any], logprobs: Any) -> Iterator[Chunk]:
        """Yield a delta's chunk, and before a choice's first one its role."""
        sent = self._sent.get(index)
        if sent is None:
            sent = self._sent[index] = Sent()
            content = None if "tool_calls" in delta or "function_call" in delta else ""
            yield self._chunk(index, {"role": "assistant", "content": content}, None, None)
        sent.note(delta)
        if delta or logprobs:
            yield self._chunk(index, delta, logprobs, None)

    def _chunk(
        self, index: int, delta: Mapping[str, Any], logprobs: Any, reason: str | None
    ) -> Chunk:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        chunk = {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
            "choices": [choice],
        }
        return {**chunk, "usage": None} if self._include_usage else chunk
