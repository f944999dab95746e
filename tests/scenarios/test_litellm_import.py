"""Tests that imported gateways answer: the scripted upstream stands in the place of every base."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest
from kit.gateways import StartGateway
from kit.servers import Gateway, Upstream

from flask_gateway.cli.main import main

pytestmark = pytest.mark.live

MASTER, HELD = "key-of-the-master-1", "sk-held-by-a-caller"
SETTINGS = """
model_list:
- model_name: fast
  litellm_params:
    {model: openai/served, api_base: os.environ/FAST_URL, api_key: os.environ/FAST_KEY, order: 1}
- model_name: fast
  litellm_params: {model: openai/second, api_base: UPSTREAM/v1, order: 2}
- model_name: weak
  litellm_params: {model: "openai/status,code=503", api_base: UPSTREAM/v1}
- model_name: pinned
  litellm_params:
    model: azure/deployed
    api_base: os.environ/AZURE_URL
    api_key: os.environ/FAST_KEY
    temperature: 0.5
    extra_body: {top_k: 20, nested: {deep: [1]}}
- model_name: "house/*"
  litellm_params: {model: "openai/*", api_base: UPSTREAM/v1}
- model_name: "*"
  litellm_params: {model: "openrouter/*", api_base: UPSTREAM/other/v1}
router_settings:
  fallbacks: [{weak: [pinned]}]
  model_group_alias: {old: fast}
  timeout: 30
general_settings: {master_key: os.environ/LITELLM_MASTER_KEY}
"""


@pytest.fixture(scope="module")
def imported(
    start_gateway: StartGateway, scripted: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Gateway:
    folder: Path = tmp_path_factory.mktemp("litellm")
    (folder / "config.yaml").write_text(SETTINGS.replace("UPSTREAM", scripted.url))
    digest = sha256(HELD.encode()).hexdigest()
    (folder / "keys.csv").write_text(f'token,key_alias,models\n{digest},caller,"{{fast}}"\n')
    target = folder / "gateway.toml"
    files = ["-o", str(target), "--keys", str(folder / "keys.csv")]
    assert main(["import", "litellm", str(folder / "config.yaml"), *files], {}) == 3
    return start_gateway(
        MASTER,
        GATEWAY_CONFIG=str(target),
        GATEWAY_WORKERS="1",
        LITELLM_MASTER_KEY=MASTER,
        FAST_URL=f"{scripted.url}/v1/",
        FAST_KEY="a-key-for-the-upstream",
        AZURE_URL=scripted.url,
    )


@pytest.mark.parametrize(
    ("model", "path", "served"),
    [
        ("fast", "/v1/chat/completions", "served"),
        ("old", "/v1/chat/completions", "served"),
        ("pinned", "/openai/v1/chat/completions", "deployed"),
        ("weak", "/openai/v1/chat/completions", "deployed"),
        ("house/any", "/v1/chat/completions", "any"),
        ("something-else", "/other/v1/chat/completions", "something-else"),
    ],
)
def test_every_model_reaches_its_place(
    model: str, path: str, served: str, imported: Gateway, upstream: Upstream
) -> None:
    answer = imported.chat(model)
    assert answer.status == 200, answer.body
    assert answer.headers["x-litellm-model-group"] == model
    request = upstream.last()
    assert (request["path"], json.loads(request["body"])["model"]) == (path, served)


def test_pinned_parameters_are_sent(imported: Gateway, upstream: Upstream) -> None:
    imported.chat("pinned", top_k=1)
    body = json.loads(upstream.last()["body"])
    assert (body["temperature"], body["top_k"], body["nested"]) == (0.5, 20, {"deep": [1]})


def test_the_holder_of_a_key_notices_nothing(imported: Gateway) -> None:
    held = {"authorization": f"Bearer {HELD}"}
    assert imported.chat("fast", headers=held).status == 200
    assert imported.chat("old", headers=held).status == 200
    assert imported.chat("pinned", headers=held).status == 403
