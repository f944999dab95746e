"""Compares docs/openapi.yaml with a running server: schemathesis sends valid and invalid requests.

It runs all its checks: every response is described, every described request is accepted and no other,
no key is ignored, and no response is a server error.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from kit.gateways import StartGateway
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


#: Paths whose description is still to be held to the server: media, sessions, stored responses, Google's API.
UNCOMPARED = r"^/v1/(audio|images|raw|realtime|responses/|models/)|^/v1beta"


def run(
    start_gateway: StartGateway,
    examples: int,
    folder: Path,
    *part: str,
    upstreams: dict[str, str] | None = None,
) -> None:
    upstreams = upstreams or {"mock": "mock://local", "other": "mock://other"}
    gateway = start_gateway(
        KEY,
        GATEWAY_UPSTREAMS=";".join(f"{name}={url}" for name, url in upstreams.items()),
        GATEWAY_RATE_LIMIT_PER_MINUTE="10000000",
        GATEWAY_FAILED_KEYS_PER_MINUTE="0",
        GATEWAY_CIRCUIT_BREAKER_RESET_SECONDS="1",
    )
    command = [ROOT / ".venv-attack/bin/st", "run", f"{gateway.url}/openapi.json", "--no-color"]
    command += ["-H", f"Authorization: Bearer {KEY}", "-H", f"X-API-Key: {KEY}", "-H", f"api-key: {KEY}"]
    # One worker: two make Python 3.11's ast fail now and then ("recursion depth mismatch").
    command += ["-n", str(examples), "-w", "1", "--seed", "1", "--continue-on-failure", *part]
    command += ["--exclude-path-regex", UNCOMPARED, "--exclude-operation-id", "openResponseSession"]
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
def test_the_description_matches_the_server(start_gateway: StartGateway, tmp_path: Path):
    run(start_gateway, 20, tmp_path, *REFUSED)


@pytest.mark.attack
def test_the_description_matches_failures(start_gateway: StartGateway, tmp_path: Path):
    checks = ("--checks", f"{OF_FAILURES}_conformance")
    run(start_gateway, 20, tmp_path, *checks, upstreams=FAILING)


@pytest.mark.soak
@pytest.mark.parametrize("part", PARTS)
def test_the_description_matches_2000_examples(start_gateway: StartGateway, tmp_path: Path, part: str):
    """Examples of each operation, and of chains of operations."""
    run(start_gateway, 2000, tmp_path, *PARTS[part], *REFUSED)
