"""Random input where text from outside is parsed: refused by the edge's own error, or plain data.

Lines of `run`, settings, LiteLLM's configuration, bundles, bodies of the door and the gateway,
filters, server-sent events and what a worker sends.
"""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksi_tui.commands.request_lines import BadLine, request_lines
from ksi_tui.config import load_config, validated
from ksi_tui.door.wire import parsed
from ksi_tui.engine.errors import ConfigError, FilterError, InvalidRequest
from ksi_tui.engine.filter import parse
from ksi_tui.engine.payloads import Completion
from ksi_tui.engine.payloads import parse as completion_of
from ksi_tui.engine.providers.framing import Decoder, FramingError
from ksi_tui.gateway.asked import asked
from ksi_tui.gateway.faults import Refused
from ksi_tui.incident.bundle import FORMAT, read_bundle
from ksi_tui.incident.client import BundleClient
from ksi_tui.incident.errors import BundleError
from ksi_tui.remote.errors import Misread
from ksi_tui.remote.server_sent import Decoder as ServerSent
from ksi_tui.settings_file import read_toml
from tests.fuzz.values import EXAMPLES, NUMBERS, TEXTS, anything, bounded, plain, tried

pytestmark = pytest.mark.timeout(0 if EXAMPLES else 120)


def loose(value: Any) -> str:
    """Return JSON as loose as Python writes it: endless numbers, odd keys and depth included."""
    try:
        return json.dumps(value, default=str)
    except (TypeError, ValueError, RecursionError):
        return "[" * 100_000


DIGITS = ("1e999", "-1e999", "9" * 5_000, "NaN", "Infinity", "1E400", "00", "1.", "0x10")
json_texts = st.one_of(
    anything.map(loose), st.sampled_from(DIGITS), st.sampled_from(TEXTS), st.text(max_size=10)
)


@st.composite
def objects(draw: st.DrawFn, keys: tuple[str, ...]) -> str:
    """Draw what looks like a JSON object with some of the keys, whole or cut."""
    some = draw(st.lists(st.sampled_from(keys), max_size=5))
    members = [f"{json.dumps(key)}: {draw(json_texts)}" for key in some]
    text = f"{{{', '.join(members)}}}"
    return text if draw(st.integers(0, 5)) else text[: draw(st.integers(0, len(text)))]


def completion_of_any(data: dict[str, Any]) -> Completion | None:
    """Return what the engine makes of it, None where it refuses."""
    found: Completion | None = tried(lambda: completion_of(Completion, data, "x"), InvalidRequest)
    return found


@given(st.lists(st.one_of(objects(tuple(Completion.model_fields)), st.binary(max_size=30))))
@bounded(40)
def test_a_line_is_a_request_or_is_told(drawn: list[str | bytes]) -> None:
    raw = [
        each.encode("utf-8", "surrogatepass") if isinstance(each, str) else each for each in drawn
    ]
    text = b"\n".join(each.replace(b"\n", b" ") for each in raw)
    found = list(request_lines(io.BytesIO(text), "stdin"))
    assert len(found) <= len(raw)
    for line in found:
        if isinstance(line, BadLine):
            assert "Traceback" not in line.reason
            assert len(line.reason) < 1_000
            continue
        request = line.request(run=1)
        assert isinstance(request, dict)
        spec = completion_of_any(request)
        if spec is not None:
            json.dumps(spec.model_dump(mode="json"), allow_nan=False).encode()


BODY = ("messages", "model", "metadata", "stream", "user", "tools", "n", "stop", "x", "logit_bias")
MESSAGES = '"messages": [{"role": "user", "content": "x"}]'
HEADERS = (
    "X-Ksi-Session",
    "X-Ksi-Timeout",
    "X-Ksi-Priority",
    "X-Ksi-History",
    "X-Ksi-Detached",
    "X-Ksi-Metadata",
    "Idempotency-Key",
)
NAMED = tuple(f"ksi_{name}" for name in ("session", "agent", "priority", "timeout", "history"))


@given(
    st.one_of(
        objects(BODY),
        objects(BODY).map(lambda text: "{" + MESSAGES + "," + text[1:]),
        objects(NAMED).map(lambda text: "{" + MESSAGES + ', "metadata": ' + text + "}"),
    ),
    st.dictionaries(st.sampled_from(HEADERS), json_texts, max_size=3),
)
@bounded(60)
def test_a_body_of_the_gateway_is_a_request_or_refused(body: str, headers: dict[str, str]) -> None:
    raw = body.encode("utf-8", "surrogatepass")
    tried(lambda: parsed(raw, "the body"), InvalidRequest)
    found = tried(lambda: asked(raw, headers), Refused)
    if found is not None:
        completion_of_any(found.data)


# --- settings ------------------------------------------------------------------------------

LINES = (
    "[engine]",
    "[ui]",
    "[retry]",
    "[[providers]]",
    "[providers.params]",
    "[prices.'x']",
    "[routing.fallbacks]",
    'name = "a"',
    'models = ["*"]',
    'model = "{model:>1000000000}"',
    'model = "{model.__class__}"',
    "workers = 2",
)
tokens = st.one_of(
    st.sampled_from(("=", ".", "[", "]", "{", "}", ",", '"', "'", '"""', "#", "\n", "\\u0000")),
    st.sampled_from(TEXTS),
    st.sampled_from(DIGITS),
    st.sampled_from(("true", "1979-05-27", "07:32:00", "0b2", "inf", "engine", "providers")),
)
texts_of_settings = st.lists(
    st.one_of(st.sampled_from(LINES), st.lists(tokens, max_size=6).map("".join)), max_size=8
).map("\n".join)


def in_a_file(text: str, read: Callable[[Path], Any]) -> Any:
    """Return what is read of a file, None where it is refused; what is said of it is one thing."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "settings"
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
        return tried(lambda: read(file), ConfigError, most=20_000)


@given(texts_of_settings)
@bounded(60)
def test_settings_are_read_or_refused(text: str) -> None:
    found = in_a_file(text, read_toml)
    assert found is None or isinstance(found, dict)
    in_a_file(text, load_config)


SECTIONS = {
    "engine": ("workers", "timeout_s", "max_queue_depth", "database", "default_model"),
    "retry": ("max_attempts", "initial_delay_s", "multiplier"),
    "circuit": ("fail_max", "failure_rate", "window_s"),
    "ui": ("operator", "refresh_hz", "keymap", "filters", "theme"),
}
PROVIDER = ("name", "kind", "models", "model", "api_base", "params", "priority", "circuit", "rpm")


@st.composite
def tables(draw: st.DrawFn) -> dict[str, Any]:
    """Draw settings as TOML would hold them, with odd values."""
    found: dict[str, Any] = {}
    for section, keys in SECTIONS.items():
        if draw(st.booleans()):
            some = draw(st.lists(st.sampled_from(keys), max_size=2))
            found[section] = {key: draw(plain) for key in some}
    if draw(st.booleans()):
        some = draw(st.lists(st.sampled_from(PROVIDER), max_size=3))
        found["providers"] = [{"name": "a", **{key: draw(plain) for key in some}}]
    if draw(st.integers(0, 5)) == 0:
        found[draw(st.sampled_from(TEXTS))] = draw(plain)
    return found


@given(tables())
@bounded(60)
def test_a_table_of_settings_is_taken_or_refused(table: dict[str, Any]) -> None:
    config = tried(lambda: validated(table, "here"), ConfigError, most=20_000)
    if config is not None:
        assert config.providers
        assert len(config.warnings) < 100


YAML = (
    "model_list:",
    "- model_name: gpt",
    "  litellm_params: {model: openai/x}",
    "  - &a [*a]",
    "a: &a [x, y]",
    "b: *a",
    "router_settings: {fallbacks: [{gpt: [x]}]}",
    "general_settings:",
    "? [x]",
    ": !!bool maybe",
    "x: !!timestamp maybe",
    "x: !!set {a, b}",
    "x: !!omap [a: 1]",
    "x: !!pairs [a: 1]",
    "x: !!binary '*'",
    "<<: *a",
    "--- {}",
    "%YAML 9.9",
    "include: [settings]",
)
yaml_tokens = st.one_of(
    st.sampled_from((": ", "- ", "{", "}", "[", "]", "&a ", "*a", "|", ">", "!", "!!", "?", "\t")),
    st.sampled_from(TEXTS),
    st.sampled_from(DIGITS),
    st.sampled_from(("model_list", "litellm_params", "rpm", "os.environ/X", "1:2:3", ".inf", "~")),
)
texts_of_yaml = st.lists(
    st.one_of(st.sampled_from(YAML), st.lists(yaml_tokens, max_size=5).map("".join)), max_size=8
).map("\n".join)


@given(texts_of_yaml)
@bounded(60)
def test_litellms_configuration_is_read_or_refused(text: str) -> None:
    in_a_file(text, lambda file: validated({"engine": {"litellm_config": str(file)}}, str(file)))


@st.composite
def deployments(draw: st.DrawFn) -> str:
    """Draw a LiteLLM configuration of the right shape with odd values, as JSON, which is YAML."""
    names = ("model", "rpm", "tpm", "api_key", "api_base", "timeout", "order", "weight", "x")
    params = {"model": "openai/x", **{key: draw(plain) for key in draw(_some(names))}}
    top = ("router_settings", "litellm_settings", "general_settings", "environment_variables")
    inner = ("fallbacks", "num_retries", "timeout", "model_group_alias", "allowed_fails", "x")
    sections = {name: {key: draw(plain) for key in draw(_some(inner))} for name in draw(_some(top))}
    entry = {"model_name": draw(st.sampled_from(TEXTS)), "litellm_params": params}
    return loose({"model_list": [entry], **sections})


def _some(names: tuple[str, ...]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(names), max_size=2)


@given(deployments())
@bounded(60)
def test_deployments_are_taken_or_refused(text: str) -> None:
    in_a_file(text, lambda file: validated({"engine": {"litellm_config": str(file)}}, str(file)))


# --- bundles, filters, streams ---------------------------------------------------------------

PARTS = (
    "about.json",
    "settings.json",
    "answers.json",
    "frames.jsonl",
    "events.jsonl",
    "journal.jsonl",
    "requests.jsonl",
    "records.jsonl",
    "lives.jsonl",
)
HEAD = json.dumps({"format": FORMAT, "version": 1})
FRAME = json.dumps({"at": 1.8e9})


@given(st.dictionaries(st.sampled_from(PARTS), json_texts, max_size=4), st.integers(0, 10))
@bounded(30)
def test_a_bundle_is_shown_or_refused(parts: dict[str, str], cut: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bundle.zip"
        whole = {name: "{}" if name.endswith(".json") else "" for name in PARTS}
        whole |= {"about.json": HEAD, "frames.jsonl": FRAME} | parts
        with zipfile.ZipFile(file, "w") as packed:
            for name, text in whole.items():
                packed.writestr(name, text.encode("utf-8", "surrogatepass"))
        if not cut:
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        tried(lambda: BundleClient(read_bundle(file)), BundleError, most=1_000)


@given(
    st.lists(
        st.one_of(
            st.sampled_from(("status:", "session:", "meta.", "age>", "-", '"', "|", "(", ")", "@")),
            st.sampled_from(TEXTS),
            st.sampled_from(DIGITS),
            st.sampled_from(("5m", "1d", "queued", "cost", "<", ":", " ", "*")),
        ),
        max_size=8,
    ).map("".join)
)
@bounded(80)
def test_a_filter_is_understood_or_refused(text: str) -> None:
    tried(lambda: parse(text), FilterError, most=2_000)


@given(st.lists(st.binary(max_size=20), max_size=5), st.lists(json_texts, max_size=3))
@bounded(60)
def test_streams_are_messages_or_misread(pieces: list[bytes], events: list[str]) -> None:
    framed = [text.encode("utf-8", "surrogatepass") for text in events]
    worker, sent = Decoder(largest=10_000), ServerSent()
    for each in framed:
        tried(lambda: worker.feed(len(each).to_bytes(4, "big") + each), FramingError)  # noqa: B023
        tried(lambda: sent.feed(b"data: " + each + b"\n\n"), Misread)  # noqa: B023
    for piece in pieces:
        tried(lambda: worker.feed(piece), FramingError)  # noqa: B023
        tried(lambda: sent.feed(piece), Misread)  # noqa: B023


@given(st.sampled_from(NUMBERS), st.sampled_from(("n", "seed", "top_p", "max_tokens")))
@bounded(20)
def test_numbers_of_a_body(number: float, name: str) -> None:
    raw = (
        "{"
        + MESSAGES
        + f', "{name}": {loose(number)}, "metadata": {{"ksi_timeout": {number}}}'
        + "}"
    )
    found = tried(lambda: asked(raw.encode(), {}), Refused)
    if found is not None:
        completion_of_any(found.data)
