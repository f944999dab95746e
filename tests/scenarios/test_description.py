"""Compares docs/openapi.yaml with a running server: schemathesis sends valid and invalid requests.

It runs all its checks: every response is described, every described request is accepted and no other,
no key is ignored, and no response is a server error.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.described_upstream import DescribedAnswers
from kit.gateways import StartGateway
from kit.media_provider import MediaProvider
from kit.servers import ROOT

pytestmark = pytest.mark.live

HERE = Path(__file__).parent
KEY = "a-key-for-schemathesis"


#: The operations that take a body, a run of their own for each where there are many examples.
WITH_BODY = ("createChatCompletion", "createCompletion", "createResponse", "createEmbedding")
WITH_BODY += ("createModeration", "createRerank")
PARTS = {
    **{name: ["--include-operation-id", name, "--phases", "examples,coverage,fuzzing"] for name in WITH_BODY},
    "the rest": [
        *(word for name in WITH_BODY for word in ("--exclude-operation-id", name)),
        *("--phases", "examples,coverage,fuzzing"),
    ],
    "stateful": ["--phases", "stateful"],
}


#: Upstreams, each with its own failure.
FAILING = {
    **{f"says{code}": f"mock://x?status={code}" for code in (400, 401, 404, 422, 429, 500, 503)},
    "cut": "mock://x?tokens=9&cut_after=2",
    "cutatonce": "mock://x?cut_after=0",
    "nobody": "http://127.0.0.1:1",
    "mock": "mock://local",
}
#: The checks of an answer that may be a failure: status, content type, headers and schema.
OF_FAILURES = "status_code,content_type,response_headers,response_schema".replace(",", "_conformance,")


SETTINGS = """
rate_limit_per_minute = 10000000
failed_keys_per_minute = 0
circuit_breaker_reset_seconds = 1
[keys.described]
key_env = "KEY_DESCRIBED"
[upstreams.described]
url = "{url}"
speaks = [
  "responses", "audio/transcriptions", "audio/translations", "audio/speech",
  "images/generations", "images/edits", "images/variations",
]
raw = ["GET files", "POST files", "PUT files", "PATCH files", "DELETE files"]
[upstreams.google]
kind = "gemini"
url = "{url}"
speaks = ["generateContent", "countTokens", "embedContent", "batchEmbedContents"]
[upstreams.sessions]
url = "{url}"
speaks = ["realtime"]
[models.mock]
tiers = [["mock/mock", "described/m", "google/m", "sessions/m"]]
"""
#: How many responses are stored before; the hooks name them (``resp_a0`` and so on).
STORED = 30
#: A session over WebSocket is refused here, since a client of HTTP could not go on with one.
CONFIG = """
[[operations]]
include-operation-id = "openResponseSession"
checks.positive_data_acceptance.expected-statuses = ["426"]
checks.negative_data_rejection.expected-statuses = ["405", "426"]
checks.missing_required_header.expected-statuses = ["405", "426"]
"""


@pytest.fixture(scope="module")
def described() -> Iterator[MediaProvider]:
    provider = MediaProvider(DescribedAnswers())
    yield provider
    provider.close()


def run(
    start_gateway: StartGateway,
    described: MediaProvider,
    examples: int,
    folder: Path,
    *part: str,
    upstreams: dict[str, str] | None = None,
) -> None:
    upstreams = upstreams or {"mock": "mock://local", "other": "mock://other"}
    file, config = folder / "gateway.toml", folder / "schemathesis.toml"
    more = "".join(f'[upstreams.{name}]\nurl = "{url}"\n' for name, url in upstreams.items())
    file.write_text(SETTINGS.replace("{url}", described.url) + more)
    config.write_text(CONFIG)
    gateway = start_gateway(KEY, GATEWAY_CONFIG=str(file), KEY_DESCRIBED=KEY)
    for _ in range(STORED):
        gateway.ask("POST", "/v1/responses", {"model": "described/m", "input": "Hello"})
    command = [ROOT / ".venv-attack/bin/st", "--config-file", config, "run", f"{gateway.url}/openapi.json"]
    command += ["--no-color"]
    command += ["-H", f"Authorization: Bearer {KEY}", "-H", f"X-API-Key: {KEY}", "-H", f"api-key: {KEY}"]
    # One worker: two make Python 3.11's ast fail now and then ("recursion depth mismatch").
    command += ["-n", str(examples), "-w", "1", "--seed", "1", "--continue-on-failure", *part]
    hooks = {"SCHEMATHESIS_HOOKS": "schema_hooks", "PYTHONPATH": str(ROOT / "tests/kit")}
    hooks |= {"SCHEMA_MODELS": ",".join(name for name in upstreams if name != "other")}
    said = folder / "schemathesis"  # can be read while it runs
    with said.open("w") as out:
        environ = {**os.environ, **hooks}
        done = subprocess.run(command, cwd=folder, env=environ, stdout=out, stderr=out, check=False)
    print(said.read_text()[-1000:])
    assert done.returncode == 0, said.read_text()[-8000:]


#: The mock does not speak Anthropic's API, so these answer nothing but refusals here.
REFUSED = [word for name in ("createMessage", "countTokens") for word in ("--exclude-operation-id", name)]


@pytest.mark.attack
def test_the_description_matches_the_server(
    start_gateway: StartGateway, described: MediaProvider, tmp_path: Path
):
    run(start_gateway, described, 20, tmp_path, *REFUSED)


@pytest.mark.attack
def test_the_description_matches_failures(
    start_gateway: StartGateway, described: MediaProvider, tmp_path: Path
):
    checks = ("--checks", f"{OF_FAILURES}_conformance")
    run(start_gateway, described, 20, tmp_path, *checks, upstreams=FAILING)


@pytest.mark.soak
@pytest.mark.parametrize("part", PARTS)
def test_the_description_matches_2000_examples(
    start_gateway: StartGateway, described: MediaProvider, tmp_path: Path, part: str
):
    """Examples of each operation, and of chains of operations."""
    run(start_gateway, described, 2000, tmp_path, *PARTS[part], *REFUSED)
