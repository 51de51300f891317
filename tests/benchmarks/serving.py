"""Programs that the gateway's loads talk to: this engine's `serve`, LiteLLM's proxy, an upstream.

Each runs in a process of its own on loopback and is ended with its context. What they cost is
read from the kernel, with the processes that they started.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.benchmarks import proxy_place
from tests.benchmarks.screen import environ
from tests.benchmarks.spent import family_cpu_s
from tests.servers.program import STARTED_WITHIN_S, running, url_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A program that listens at `url` and lets in who has the `key`, where it asks for one."""

    url: str
    key: str
    process: subprocess.Popen[bytes]

    @property
    def cpu_s(self) -> float:
        """The CPU seconds that it and those below it have used."""
        return family_cpu_s(self.process.pid)


@asynccontextmanager
async def upstream(folder: Path) -> AsyncIterator[Served]:
    """The OpenAI-shaped server of the tests; `/ok/v1` behaves."""
    command = [sys.executable, "-u", "-m", "tests.servers.misbehaving", "--port", "0"]
    async with _running("upstream", command, folder) as (process, log):
        yield Served(url=await url_of(process, log), key="none", process=process)


@asynccontextmanager
async def our_gateway(folder: Path, providers: Sequence[str]) -> AsyncIterator[Served]:
    """`ksi-tui serve --listen --tokens` with these providers, each a table's lines; one worker."""
    settings = folder / "ksi-tui.toml"
    tables = "".join(f"[[providers]]\n{provider}\n" for provider in providers)
    engine = f'[engine]\nmax_concurrency = 64\nshutdown_grace_s = 0\ndatabase = "{folder}/ksi.db"\n'
    settings.write_text(f'{engine}responses_dir = "{folder}/responses"\n{tables}')
    tokens = str(folder / "tokens.json")
    command = [sys.executable, "-m", "ksi_tui", "--config", str(settings)]
    key = await asyncio.to_thread(
        subprocess.check_output,
        [*command, "token", "new", "--role", "submit", "--tokens", tokens],
        env=environ(folder),
        text=True,
    )
    where = ["serve", "--listen", "127.0.0.1:0", "--tokens", tokens]
    async with _running("ours", [*command, *where], folder) as (process, log):
        yield Served(url=await url_of(process, log), key=key.strip(), process=process)


@asynccontextmanager
async def litellm_proxy(folder: Path, api_base: str) -> AsyncIterator[Served]:
    """LiteLLM's proxy as it comes, with one model, `ok`, and one worker; raises ProxyMissing.

    It does not start without a key.
    """
    key = f"sk-{secrets.token_hex(32)}"
    settings = folder / "proxy.yaml"
    settings.write_text(
        "model_list:\n"
        "  - model_name: ok\n"
        "    litellm_params:\n"
        f"      {{model: openai/gpt-4o-mini, api_base: '{api_base}', api_key: none}}\n"
        "litellm_settings: {telemetry: false}\n"
        f"general_settings: {{master_key: {key}}}\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(proxy_place.proxy_command()), "--config", str(settings), "--num_workers", "1"]
    where = ["--host", "127.0.0.1", "--port", str(port)]
    async with _running("proxy", [*command, *where], folder) as (process, _):
        served = Served(url=f"http://127.0.0.1:{port}", key=key, process=process)
        await _answering(served)
        yield served


@asynccontextmanager
async def least_gateway(folder: Path, api_base: str) -> AsyncIterator[Served]:
    """A handler around bare litellm."""
    command = [sys.executable, "-u", "-m", "tests.benchmarks.least_gateway", api_base]
    async with _running("least", command, folder) as (process, log):
        yield Served(url=await url_of(process, log), key="none", process=process)


@asynccontextmanager
async def _running(
    name: str, command: Sequence[str], folder: Path
) -> AsyncIterator[tuple[subprocess.Popen[bytes], Path]]:
    """Run a program with what it says in a file of the folder."""
    log = folder / f"{name}.log"
    async with running(command, log, _offline(environ(folder))) as process:
        yield process, log


def _offline(environment: Mapping[str, str]) -> dict[str, str]:
    """Both sides take litellm's own list of prices; neither fetches a newer one."""
    return {**environment, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "127.0.0.1"}


async def _answering(served: Served) -> None:
    end = time.monotonic() + STARTED_WITHIN_S
    async with aiohttp.ClientSession() as http:
        while served.process.poll() is None and time.monotonic() < end:
            try:
                async with http.get(f"{served.url}/health/liveliness") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)
    raise RuntimeError(f"nothing answers at {served.url}")
