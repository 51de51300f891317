"""The real command on LiteLLM's own configuration, through real workers, against loopback."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Ended, Machine
from tests.servers.misbehaving import MisbehavingServer

KEY = "marked-and-never-to-be-seen"
HEADER = "another-that-is-not-to-be-seen"
FILE = """
model_list:
  - model_name: primary
    litellm_params:
      model: openai/gpt-4o
      api_base: os.environ/SICK_BASE
      api_key: os.environ/LOCAL_ACCESS
  - model_name: secondary
    litellm_params:
      model: openai/gpt-4o-mini
      api_base: os.environ/WELL_BASE
      api_key: os.environ/LOCAL_ACCESS
      max_tokens: 7
      extra_headers:
        x-gateway-key: os.environ/GATEWAY_ACCESS
  - model_name: telltale
    litellm_params:
      model: openai/gpt-4.1
      api_base: os.environ/TELLTALE_BASE
      api_key: os.environ/LOCAL_ACCESS
  - model_name: "house/*"
    litellm_params:
      model: "openai/*"
      api_base: os.environ/WELL_BASE
      api_key: os.environ/LOCAL_ACCESS
      rpm: 100
litellm_settings:
  num_retries: 0
  drop_params: true
  callbacks: [prometheus]
router_settings:
  fallbacks:
    - primary: [secondary]
general_settings:
  master_key: sk-of-the-proxy
"""


def request(model: str, prompt: str, **more: Any) -> str:
    return json.dumps({"model": model, "prompt": prompt, **more})


async def run(machine: Machine, *words: object, given: str | None = None) -> Ended:
    return await asyncio.to_thread(machine.run, *words, given=given)


@pytest.fixture
def file(machine: Machine) -> Path:
    path = machine.home / "config.yaml"
    path.write_text(FILE, encoding="utf-8")
    machine.environ |= {"LOCAL_ACCESS": KEY, "GATEWAY_ACCESS": HEADER}
    return path


@pytest.mark.usefixtures("warm_workers")
async def test_a_litellm_file_drives_the_engine_unchanged(machine: Machine, file: Path) -> None:
    async with MisbehavingServer() as server:
        machine.environ |= {
            "SICK_BASE": server.base("503"),
            "WELL_BASE": server.base("ok"),
            "TELLTALE_BASE": server.base("echo_key"),
        }
        given = [
            request("primary", "one", request_id="r1"),
            request("house/gpt-4o-mini", "two", request_id="r2"),
            request("telltale", "three", request_id="r3"),
            # A caller has no say over the environment.
            request("secondary", "os.environ/LOCAL_ACCESS", request_id="r4", max_tokens=3),
        ]
        ended = await run(
            machine, "--litellm-config", file, "run", "-", "--json", given="\n".join(given)
        )
        requests = list(server.requests)
    assert ended.code == 1, ended.err
    records = {record["request_id"]: record for record in ended.records}

    substituted = records["r1"]
    assert (substituted["status"], substituted["provider"]) == ("completed", "openai:gpt-4o-mini")
    assert (substituted["requested_model"], substituted["model"]) == ("primary", "gpt-4o-mini")
    assert substituted["attempts"] == 1
    assert substituted["cost"] > 0
    assert (records["r2"]["status"], records["r2"]["provider"]) == ("completed", "openai")
    assert records["r2"]["model"] == "gpt-4o-mini"
    assert records["r3"]["error"]["kind"] == "auth_error"
    assert "(hidden)" in records["r3"]["error"]["message"]
    assert records["r4"]["status"] == "completed"

    assert {seen.headers["Authorization"] for seen in requests} == {f"Bearer {KEY}"}
    by_prompt = {(seen.mode, seen.body["messages"][-1]["content"]): seen for seen in requests}
    assert by_prompt["503", "one"].body["model"] == "gpt-4o"
    answered = by_prompt["ok", "one"]
    assert (answered.body["model"], answered.body["max_tokens"]) == ("gpt-4o-mini", 7)
    assert answered.headers["x-gateway-key"] == HEADER
    assert by_prompt["ok", "os.environ/LOCAL_ACCESS"].body["max_tokens"] == 3
    assert by_prompt["ok", "two"].body["model"] == "gpt-4o-mini"

    written = [path for path in machine.home.rglob("*") if path.is_file()]
    assert machine.database in written
    for secret in (KEY, HEADER, "sk-of-the-proxy"):
        assert secret not in ended.out + ended.err
        found = [path for path in written if secret.encode() in path.read_bytes()]
        assert found == ([file] if secret == "sk-of-the-proxy" else [])
    log = (machine.home / "state" / "ksi-tui" / "log").parent
    logged = "".join(path.read_text() for path in log.rglob("*.log"))
    assert "litellm_settings.callbacks" in logged


async def test_check_names_what_cannot_be_done_and_show_what_is_understood(
    machine: Machine, file: Path
) -> None:
    checked = await run(machine, "--litellm-config", file, "config", "check")
    assert checked.code == 0
    assert f"{file}: read too; warnings: 2" in checked.out
    assert "providers: openai:gpt-4o, openai:gpt-4o-mini, openai:gpt-4.1, openai\n" in checked.out
    assert "default model: primary" in checked.out
    warnings = [line for line in checked.err.splitlines() if "warning: " in line]
    assert len(warnings) == 2 + 4  # and four bases that are not set here
    assert f"{file}:30: litellm_settings.callbacks: not used: nothing is sent" in checked.err
    assert f"{file}:35: general_settings.master_key: not used: ksi-tui is no proxy" in checked.err
    shown = await run(machine, "--litellm-config", file, "config", "show")
    assert shown.out.startswith(f"# with the models and settings of {file}")
    assert '[routing.fallbacks]\nprimary = ["secondary"]\n' in shown.out
    assert '"x-gateway-key" = "os.environ/GATEWAY_ACCESS"' in shown.out
    assert KEY not in shown.out + shown.err + checked.out + checked.err
    assert "sk-of-the-proxy" not in shown.out + checked.out + checked.err


def test_a_key_in_the_file_is_refused_before_anything_starts(machine: Machine, file: Path) -> None:
    file.write_text(FILE.replace("os.environ/LOCAL_ACCESS", KEY, 1), encoding="utf-8")
    ended = machine.run("--litellm-config", file, "run", "-", given="hello\n")
    assert ended.code == 2
    assert f"{file}:7: model_list[0].litellm_params.api_key: a key in plain text" in ended.err
    assert KEY not in ended.err
    assert not machine.database.exists()
