"""The keys of upstreams while the gateway serves: from a file that changes, and from a command."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit.gateways import KEY, StartGateway
from kit.servers import Gateway, Upstream, headers_of
from kit.waiting import until

pytestmark = pytest.mark.live

SETTINGS = """
rate_limit_per_minute = 0
[upstreams.filed]
url = "{url}"
api_key_file = "filed.key"
[upstreams.printed]
url = "{url}"
api_key_command = ["cat", "{folder}/printed.key"]
[upstreams.failing]
url = "{url}"
api_key_command = ["sh", "-c", "echo planted-word-of-a-command >&2; exit 4"]
[models.filed]
upstream = "filed"
model = "ok"
[models.printed]
upstream = "printed"
model = "ok"
[models.failing]
upstream = "failing"
model = "ok"
[models.spared]
tiers = [[{{ upstream = "failing", model = "ok" }}], [{{ upstream = "filed", model = "ok" }}]]
[keys.one]
key_env = "CALLER"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("keys")
    for name in ("filed", "printed"):
        (made / f"{name}.key").write_text(f"first-key-{name}\n")
    return made


@pytest.fixture(scope="module")
def keyed(start_gateway: StartGateway, scripted: Upstream, folder: Path) -> Gateway:
    (folder / "gateway.toml").write_text(SETTINGS.format(url=scripted.url, folder=folder))
    return start_gateway(GATEWAY_CONFIG=str(folder / "gateway.toml"), CALLER=KEY, GATEWAY_WORKERS="1")


def sent(keyed: Gateway, upstream: Upstream, model: str) -> str:
    assert keyed.chat(model).status == 200
    return headers_of(upstream.last())["authorization"]


@pytest.mark.parametrize("name", ["filed", "printed"])
def test_calls_carry_the_key(name: str, keyed: Gateway, upstream: Upstream) -> None:
    assert sent(keyed, upstream, name) == f"Bearer first-key-{name}"


def test_a_key_file_is_read_again_when_it_changes(keyed: Gateway, upstream: Upstream, folder: Path) -> None:
    (folder / "filed.key").write_text("second-key-filed\n")
    assert until(lambda: sent(keyed, upstream, "filed") == "Bearer second-key-filed")


def test_a_command_that_fails_leaves_its_upstream_out(keyed: Gateway, upstream: Upstream) -> None:
    refused = keyed.chat("failing")
    assert (refused.status, refused.error["code"]) == (503, "upstream_key_missing")
    assert upstream.requests() == []
    spared = keyed.chat("spared")
    assert (spared.status, spared.headers["x-gateway-upstream"]) == (200, "filed")
    assert until(lambda: "api_key_command of upstream 'failing' failed: sh ended with 4" in keyed.stderr)
    assert "planted-word-of-a-command" not in keyed.stderr
