"""`curl -N` at the gateway of a real `serve`: words come as they are written, leaving cancels."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from tests.acceptance.conftest import BOUND_S, Machine
from tests.acceptance.test_listen import url_told

CURL = shutil.which("curl")
pytestmark = pytest.mark.skipif(CURL is None, reason="needs curl on the PATH")


def posting(machine: Machine, url: str, **body: Any) -> subprocess.Popen[str]:
    """curl, streaming; its headers and body come on stdout."""
    question = [{"role": "user", "content": "one two three four"}]
    data = {"model": "sim/echo", "stream": True, "messages": question, **body}
    command = [CURL or "", "-N", "-sS", "-i", f"{url}/v1/chat/completions"]
    process = subprocess.Popen(
        [*command, "-H", "Content-Type: application/json", "-d", json.dumps(data)],
        stdout=subprocess.PIPE,
        text=True,
        env={"PATH": machine.environ["PATH"], "HOME": str(machine.home), "NO_PROXY": "*"},
    )
    machine.started.append(process)
    return process


def text_of(line: str) -> str:
    """Return the text of one event's line; none of any other line."""
    data = line.strip().removeprefix("data: ")
    if not line.startswith("data: ") or data == "[DONE]":
        return ""
    choices = json.loads(data)["choices"]
    return str(choices[0]["delta"].get("content") or "") if choices else ""


def test_it_streams_to_the_end_and_leaving_in_the_middle_cancels(machine: Machine) -> None:
    serve = machine.start("serve", "--listen", "127.0.0.1:0")
    url = url_told(serve)
    whole, _ = posting(machine, url).communicate(timeout=BOUND_S)
    head, _, body = whole.partition("\n\n")
    assert head.splitlines()[0].split()[1] == "200"
    assert "".join(map(text_of, body.splitlines())) == "one two three four"
    assert body.rstrip().endswith("data: [DONE]")

    curl = posting(machine, url, sim={"silent_after": 2})
    assert curl.stdout is not None
    seen, request_id = "", ""
    while seen != "one two":
        line = curl.stdout.readline()
        assert line, "it ended"
        seen += text_of(line)
        if line.lower().startswith("x-ksi-request-id:"):
            request_id = line.partition(":")[2].strip()
    assert curl.poll() is None, "the words came while the answer was still being written"
    curl.terminate()
    curl.wait(BOUND_S)
    assert serve.stdout is not None
    told = (json.loads(line) for line in serve.stdout)
    cancelled = next(each for each in told if each["message"] == "completion:cancelled")
    assert cancelled["data"]["request_id"] == request_id
    assert cancelled["data"]["by"] == "gateway"
