"""Input grown after the branches that it takes, where text from outside is parsed.

`python -m tests.fuzz.guided EDGE [--seconds N]`, with an interpreter that has `atheris` beside
what this project needs. By hand and for long: what runs with every change is Hypothesis's, in the
modules beside this one. An input that is not refused as it should be is written to a file
`crash-…`, here, and its traceback told.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import atheris  # type: ignore[import-untyped]  # its stubs are another package

with atheris.instrument_imports(include=["ksi_tui", "tomllib", "yaml"]):
    import tomllib  # noqa: F401 - imported late where it is used, when nothing is looked into

    import ksi_tui.litellm_config.document
    import ksi_tui.litellm_config.translation  # noqa: F401 - likewise
    from ksi_tui.client import Snapshot
    from ksi_tui.codec import CodecError, rebuilt
    from ksi_tui.commands.request_lines import BadLine, request_lines
    from ksi_tui.config import load_config, validated
    from ksi_tui.door.wire import parsed
    from ksi_tui.engine.errors import ConfigError, FilterError, InvalidRequest
    from ksi_tui.engine.filter import parse
    from ksi_tui.engine.payloads import Completion
    from ksi_tui.engine.payloads import parse as completion_of
    from ksi_tui.engine.providers.framing import Decoder, FramingError, encode
    from ksi_tui.engine.providers.tokens import Tokens
    from ksi_tui.engine.providers.upstream import Upstream
    from ksi_tui.remote.errors import Misread
    from ksi_tui.remote.server_sent import Decoder as ServerSent
    from tests.fuzz.values import tried

_LONGEST: Final = 4096
_CALL: Final = {
    "model": "openai/gpt-4o-mini",
    "messages": [{"role": "user", "content": "hello"}],
    "history": [],
    "stream": True,
    "params": {},
    "key_env": None,
}
_OWN_BOUND_S: Final = 20.0


def lines(raw: bytes) -> None:
    """Input of `run -`."""
    for line in request_lines(io.BytesIO(raw), "stdin"):
        if isinstance(line, BadLine):
            assert len(line.reason) < 1_000
            continue
        request = line.request(run=1)
        asked = tried(partial(completion_of, Completion, request, "x"), InvalidRequest)
        if asked is not None:
            json.dumps(asked.model_dump(mode="json"), allow_nan=False).encode()


def frames(raw: bytes) -> None:
    """What a door and a worker are sent: frames, server-sent events, bodies, pictures."""
    worker, sent = Decoder(largest=10_000), ServerSent()
    at = raw[0] + 1 if raw else 1
    pieces = [raw[first : first + at] for first in range(0, len(raw), at)]
    tried(lambda: [worker.feed(piece) for piece in pieces], FramingError)
    tried(lambda: [sent.feed(piece) for piece in pieces], Misread)
    body = tried(lambda: parsed(raw, "the body"), InvalidRequest)
    tried(lambda: rebuilt(Snapshot, body), CodecError)


def _in_a_file(raw: bytes, read: Callable[[Path], object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "settings"
        file.write_bytes(raw)
        tried(lambda: read(file), ConfigError, most=20_000)


def settings(raw: bytes) -> None:
    """Our own settings file."""
    _in_a_file(raw, load_config)


def litellm_config(raw: bytes) -> None:
    """LiteLLM's settings file."""
    _in_a_file(raw, lambda file: validated({"engine": {"litellm_config": str(file)}}, str(file)))


def filters(raw: bytes) -> None:
    """A filter as a person types it."""
    tried(lambda: parse(raw.decode(errors="ignore")), FilterError, most=2_000)


class Provider:
    """A provider that answers each call of a worker with the bytes that it is given."""

    def __init__(self) -> None:
        import litellm  # 3 s that the other edges need not wait for

        litellm.suppress_debug_info = True
        self._raw = b""
        self._said: list[dict[str, Any]] = []
        self._up = Upstream(litellm, Tokens(litellm, "1"), self._said.append, {})
        self._loop = asyncio.new_event_loop()
        opening = asyncio.start_server(self._reply, "127.0.0.1", 0)
        self._server = self._loop.run_until_complete(opening)
        self._base = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def _reply(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
        writer.write(head + self._raw)
        await writer.drain()
        writer.close()

    def __call__(self, raw: bytes) -> None:
        """A stream of a provider, from the connection to the message of its end."""
        self._raw = raw
        self._said.clear()
        call = asyncio.wait_for(self._up.call(1, {**_CALL, "api_base": self._base}), _OWN_BOUND_S)
        self._loop.run_until_complete(call)
        for message in self._said:
            encode(message)
        assert self._said[-1]["kind"] in ("answer", "fault"), self._said


EDGES: Final[dict[str, Callable[[], Callable[[bytes], None]]]] = {
    "lines": lambda: lines,
    "frames": lambda: frames,
    "settings": lambda: settings,
    "litellm-config": lambda: litellm_config,
    "filters": lambda: filters,
    "provider": Provider,
}
_CHUNK: Final = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":'
    b'[{"index":0,"delta":{"role":"assistant","content":"word"},"finish_reason":null}]}\n\n'
)
_TOOL: Final = _CHUNK.replace(
    b'"content":"word"',
    b'"tool_calls":[{"index":0,"id":"t","type":"function","function":{"name":"f","arguments":"{}"}}]',
)
_END: Final = _CHUNK.replace(b"null}", b'"stop"}')
_USED: Final = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[],'
    b'"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}\n\n'
)
SEEDS: Final[dict[str, tuple[bytes, ...]]] = {
    "lines": (b'a prompt\n{"prompt": "x", "priority": "high", "metadata": {"a": [1]}}\n',),
    "frames": (
        b'\x00\x00\x00\x0f{"kind":"pong"}',
        b"id: 1\nevent: completion:result\ndata: {}\n\n",
        b'{"at": 1.0, "totals": {}, "active": []}',
    ),
    "settings": (
        b'[engine]\nworkers = 2\n[[providers]]\nname = "a"\nmodels = ["*"]\nmodel = "x/{model}"\n',
        b"[prices.'m']\ninput = 1.5\n[routing.fallbacks]\na = ['b']\n[ui]\nkeymap = {q = 'x'}\n",
    ),
    "litellm-config": (
        b"model_list:\n- model_name: gpt\n  litellm_params: {model: openai/x, rpm: 3}\n"
        b"router_settings: {fallbacks: [{gpt: [x]}]}\ninclude: [a]\nx: &a [*a]\n",
    ),
    "filters": (b'word session:acme-42 age>30s -why:lock meta.a:=b* "two words" cost>0.01 @x',),
    "provider": (
        _CHUNK * 3 + _END + _USED + b"data: [DONE]\n\n",
        _CHUNK + _TOOL + _END,
        b'data: {"error": {"message": "overloaded", "code": 529}}\n\n',
    ),
}


def main() -> None:
    """Fuzz one edge; libFuzzer ends the process, with 77 when it has found something."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.guided", description=__doc__)
    parser.add_argument("edge", choices=list(EDGES))
    parser.add_argument("--seconds", type=int, default=600)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(SEEDS[asked.edge]):
            (Path(corpus) / f"{number}").write_bytes(seed)
        options = [f"-max_total_time={asked.seconds}", f"-max_len={_LONGEST}", "-timeout=30"]
        atheris.Setup([parser.prog, *options, "-rss_limit_mb=4096", corpus], EDGES[asked.edge]())
        atheris.Fuzz()


if __name__ == "__main__":
    main()
