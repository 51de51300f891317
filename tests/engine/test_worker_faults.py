"""Every fault of an upstream, streamed or not, through a real worker: kind, status, sentence."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from ksi_tui.engine.errors import ErrorKind, ProviderFault
from ksi_tui.engine.providers.litellm import LitellmProvider
from ksi_tui.engine.providers.pool import WorkerPool
from tests.servers.calling import Events, Observer, settings, spec
from tests.servers.misbehaving import MisbehavingServer

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("warm_workers"),
]

KEY = "sk-test-3f9a77c1b2d84e55"
LOST, RATE, QUOTA = ErrorKind.NETWORK_ERROR, ErrorKind.API_RATE_LIMIT, ErrorKind.QUOTA_EXCEEDED
BAD, AUTH, SICK = ErrorKind.INVALID_REQUEST, ErrorKind.AUTH_ERROR, ErrorKind.PROVIDER_ERROR
LATE = ErrorKind.TIMEOUT


@dataclass(frozen=True)
class Stage:
    """A pool with one worker, and the server it calls."""

    pool: WorkerPool
    server: MisbehavingServer

    def provider(self, mode: str) -> LitellmProvider:
        return LitellmProvider(settings(self.server.base(mode)), self.pool)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stage() -> AsyncIterator[Stage]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UPSTREAM_API_KEY", KEY)
        pool = WorkerPool(1, on_event=Events())
        pool.start()
        async with MisbehavingServer() as server:
            yield Stage(pool, server)
            await pool.aclose()


async def fault_of(stage: Stage, mode: str, stream: bool, observer: Observer) -> ProviderFault:
    with pytest.raises(ProviderFault) as caught:
        await stage.provider(mode).call(spec(stream=stream), observer)
    return caught.value


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("mode", "kind", "status", "said"),
    [
        ("429", RATE, 429, "Rate limit reached for requests"),
        ("429_quota", QUOTA, 429, "You exceeded your current quota."),
        ("400", BAD, 400, "Unknown parameter: 'colour'."),
        ("400_context", ErrorKind.CONTEXT_WINDOW, 400, "This model's maximum context length"),
        ("400_policy", ErrorKind.CONTENT_POLICY, 400, "Your request was rejected"),
        ("401", AUTH, 401, "Incorrect API key provided."),
        ("403", AUTH, 403, "You are not allowed to use this model."),
        ("404", ErrorKind.MODEL_NOT_FOUND, 404, "The model `m` does not exist."),
        ("408", LATE, 408, "Request timeout."),
        ("409", ErrorKind.TEMPORARY_FAILURE, 409, "Conflict."),
        ("413", BAD, 413, "Request too large."),
        ("422", BAD, 422, "messages: field required"),
        ("500", SICK, 500, "The server had an error"),
        ("502", SICK, 502, "Bad gateway."),
        ("503", SICK, 503, "The engine is overloaded."),
        ("504", LATE, 504, "Gateway timeout."),
        ("529", SICK, 529, "Overloaded."),
        ("html_502", SICK, 502, "the server answered with a web page: 502"),
        ("reset", LOST, None, "Server disconnected"),
        ("cut", LOST, None, "Response payload is not completed"),
        ("bad_json", SICK, None, "the server's answer is not valid JSON"),
        ("no_choices", SICK, None, "the reply"),
        ("empty", SICK, None, "the reply is empty"),
        ("html", SICK, None, "the "),
        ("truncated", SICK, None, ""),
    ],
)
async def test_the_fault_table(
    stage: Stage, mode: str, kind: ErrorKind, status: int | None, said: str, stream: bool
) -> None:
    asked = stage.server.counts[mode]
    fault = await fault_of(stage, mode, stream, Observer())
    assert (fault.kind, fault.status) == (kind, status)
    assert fault.message.startswith(said)
    assert "litellm" not in fault.message.lower()
    assert stage.server.counts[mode] - asked == 1  # nothing below retries


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_the_wait_that_a_provider_asks_for_is_told(stage: Stage, stream: bool) -> None:
    assert (await fault_of(stage, "429@7", stream, Observer())).retry_after_s == 7
    assert (await fault_of(stage, "503@2", stream, Observer())).retry_after_s == 2
    dated = (await fault_of(stage, "429_date", stream, Observer())).retry_after_s
    assert dated is not None
    assert 20 < dated <= 30
    assert (await fault_of(stage, "429", stream, Observer())).retry_after_s is None


@pytest.mark.parametrize(
    ("mode", "kind", "said", "text"),
    [
        ("cut", LOST, "Response payload is not completed", "The quick brown fox jumps "),
        ("error_frame", SICK, "The server is overloaded.", "The quick brown "),
        ("error_frame@429", RATE, "The server is overloaded.", "The quick brown "),
        ("bad_json", SICK, "the server's answer is not valid JSON", "The quick brown "),
        ("truncated", SICK, "the stream ended without a finish reason", "The quick brown fox"),
    ],
)
async def test_a_stream_that_breaks_keeps_its_text_and_what_it_cost(
    stage: Stage, mode: str, kind: ErrorKind, said: str, text: str
) -> None:
    observer = Observer()
    fault = await fault_of(stage, mode, True, observer)
    assert fault.kind is kind
    assert fault.message.startswith(said)
    assert observer.text.startswith(text)
    assert fault.usage is not None
    assert fault.usage.estimated
    assert fault.usage.input > 0
    assert fault.usage.output > 0
    assert fault.cost is not None
    assert fault.price_version is not None
    assert fault.price_version.endswith(" map")
    assert observer.closed == []


async def test_a_call_that_failed_before_its_text_consumed_nothing_known(stage: Stage) -> None:
    fault = await fault_of(stage, "500", True, Observer())
    assert (fault.usage, fault.cost, fault.price_version) == (None, None, None)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_refused_connection_is_named(stage: Stage, stream: bool) -> None:
    provider = LitellmProvider(settings("http://127.0.0.1:9/v1"), stage.pool)
    with pytest.raises(ProviderFault) as caught:
        await provider.call(spec(stream=stream), Observer())
    assert caught.value.kind is LOST
    assert "127.0.0.1:9" in caught.value.message


async def test_the_sdks_own_refusal_is_the_callers_error(stage: Stage) -> None:
    provider = stage.provider("ok")
    with pytest.raises(ProviderFault) as caught:
        await provider.call(spec(model="no-such-route/model"), Observer())
    assert (caught.value.kind, caught.value.status) == (BAD, None)
    assert "no-such-route" in caught.value.message


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_the_key_is_sent_but_never_told(stage: Stage, stream: bool) -> None:
    provider = LitellmProvider(
        settings(stage.server.base("echo_key"), api_key_env="UPSTREAM_API_KEY"), stage.pool
    )
    with pytest.raises(ProviderFault) as caught:
        await provider.call(spec(stream=stream), Observer())
    assert stage.server.requests[-1].headers["Authorization"] == f"Bearer {KEY}"
    assert caught.value.kind is AUTH
    assert "Incorrect API key provided" in caught.value.message
    assert KEY not in caught.value.message


async def test_a_server_without_key_is_sent_none_of_the_environment(
    stage: Stage,
) -> None:
    with pytest.raises(ProviderFault):
        await stage.provider("echo_key").call(spec(), Observer())
    assert stage.server.requests[-1].headers["Authorization"] == "Bearer none"


async def test_an_unset_key_is_named_before_anything_is_sent(stage: Stage) -> None:
    provider = LitellmProvider(
        settings(stage.server.base("ok"), api_key_env="MISSING_KEY"), stage.pool, environ={}
    )
    asked = len(stage.server.requests)
    with pytest.raises(ProviderFault) as caught:
        await provider.call(spec(), Observer())
    assert caught.value.kind is AUTH
    assert caught.value.message == (
        "the environment variable MISSING_KEY, which holds the key of provider upstream, is not set"
    )
    assert len(stage.server.requests) == asked
