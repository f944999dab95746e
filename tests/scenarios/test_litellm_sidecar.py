"""A gateway in front of the sidecar as it is started, with a fake module in place of LiteLLM."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

from kit.servers import ROOT, Gateway
from kit.waiting import PATIENCE, until

KEY, SECRET = "sk-litellm-0123456789abcdef", "sidecar-secret-0123456789"
FAKE = """
class Answer:
    def __init__(self, **fields):
        self.fields = fields

    def model_dump(self, mode, exclude_none):
        return self.fields


def chunk(text, finish=None):
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return Answer(id="1", object="chat.completion.chunk", created=1, model="m", choices=[choice])


def completion(model, messages, timeout, num_retries, stream=False, **more):
    if stream:
        return iter([chunk("Hel"), chunk("lo", "stop")])
    message = {"role": "assistant", "content": model}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    return Answer(id="1", object="chat.completion", created=1, model=model, choices=[choice], usage=usage)


def embedding(**more):
    return Answer(object="list", data=[], model="m")
"""
SETTINGS = """
[keys.litellm]
key_env = "KEY_LITELLM"
[upstreams.litellm]
kind = "litellm"
url = "http+unix://{socket}/v1"
api_key_env = "LITELLM_SIDECAR_KEY"
[models.nova]
upstream = "litellm"
model = "bedrock/nova-pro"
"""


def test_the_gateway_calls_litellm_through_the_sidecar(tmp_path: Path):
    (tmp_path / "litellm.py").write_text(FAKE)
    socket, file = tmp_path / "s", tmp_path / "gateway.toml"
    file.write_text(SETTINGS.replace("{socket}", quote(str(socket), safe="")))
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}", "LITELLM_SIDECAR_KEY": SECRET}
    command = [sys.executable, "-m", "flask_gateway", "litellm-sidecar", "--bind", f"unix:{socket}"]
    with (tmp_path / "sidecar.err").open("wb") as errors:
        sidecar = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=errors, stderr=errors)
    gateway = None
    try:
        assert until(socket.exists), (tmp_path / "sidecar.err").read_text()
        keys = {"KEY_LITELLM": KEY, "LITELLM_SIDECAR_KEY": SECRET, "GATEWAY_WORKERS": "1"}
        gateway = Gateway(tmp_path, KEY, {"GATEWAY_CONFIG": str(file), **keys})
        answer = gateway.chat("nova")
        assert answer.status == 200, (tmp_path / "sidecar.err").read_text()
        assert answer.json["choices"][0]["message"]["content"] == "bedrock/nova-pro"
        stream = gateway.chat("nova", stream=True).body
        assert stream.count(b"data: ") == 3
        assert stream.endswith(b"data: [DONE]\n\n")
    finally:
        if gateway is not None:
            gateway.stop()
        sidecar.terminate()
        sidecar.wait(PATIENCE)
