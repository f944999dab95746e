"""Calls each route by OpenAI's SDK for Node, through nginx and a running gateway: `make clients`.

Its Realtime client speaks TLS alone, so nginx with the shipped site is in front of the gateway.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.coding_clients import INSTALLED, PATIENCE
from kit.described_upstream import DescribedAnswers
from kit.media_provider import MediaProvider
from kit.nginx import Nginx
from kit.servers import ROOT, Gateway
from kit.session_upstream import SessionUpstream

from flask_gateway.model.call import DIRECT, MEDIA, OPENAI, Operation

pytestmark = [pytest.mark.live, pytest.mark.clients]

KEY = "sk-node-0123456789abcdef"
PROGRAM = ROOT / "tests" / "clients" / "openai_sdk.mjs"
ROUTES = re.findall(r'^  async "?([\w/{}]+)"?\(\)', PROGRAM.read_text(), re.MULTILINE)
SETTINGS = """
[keys.node]
key_env = "KEY_NODE"
[upstreams.mock]
url = "mock://local"
[upstreams.media]
url = "{media}"
raw = ["POST files", "GET files/*"]
[upstreams.live]
url = "{live}"
speaks = ["realtime"]
[models.media]
upstream = "media"
[models.voice]
upstream = "live"
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder, media, live = (
        tmp_path_factory.mktemp("node"),
        MediaProvider(DescribedAnswers()),
        SessionUpstream(),
    )
    file = folder / "gateway.toml"
    file.write_text(SETTINGS.replace("{media}", media.url).replace("{live}", live.url))
    gateway = Gateway(folder, KEY, {"GATEWAY_CONFIG": str(file), "KEY_NODE": KEY})
    yield gateway
    gateway.stop()
    media.close()
    live.stop()


@pytest.fixture(scope="module")
def nginx(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    nginx = Nginx(tmp_path_factory.mktemp("nginx"), f"127.0.0.1:{gateway.port}")
    yield nginx
    nginx.stop()


@pytest.mark.parametrize("route", ROUTES)
def test_the_sdk_for_node_calls_the_route(gateway: Gateway, nginx: Nginx, tmp_path: Path, route: str):
    node = shutil.which("node")
    assert node, "Node is not installed"
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "BASE_URL": nginx.tls_url, "KEY": KEY}
    env |= {"MODULES": str(INSTALLED), "NODE_EXTRA_CA_CERTS": str(nginx.certificate)}
    done = subprocess.run(
        [node, str(PROGRAM), route], env=env, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr[-3000:] + gateway.stderr[-2000:]


def test_each_route_of_the_api_is_called():
    operations = {*OPENAI, *MEDIA, *DIRECT, Operation.REALTIME} - {Operation.RERANK}  # OpenAI has no rerank
    assert {str(operation) for operation in operations} <= set(ROUTES)
