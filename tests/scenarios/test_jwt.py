"""Callers by the tokens of a login, at a running gateway with two workers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from kit.gateways import KEY, StartGateway
from kit.servers import Gateway
from kit.token_issuer import TokenIssuer, signed, signing_key
from kit.waiting import until
from kit.wire import Answer

pytestmark = pytest.mark.live

SETTINGS = """
rate_limit_per_minute = 0
failed_keys_per_minute = 0
[upstreams.mock]
url = "mock://local"
[models.fast]
upstream = "mock"
aliases = ["quick"]
[models.smart]
upstream = "mock"
[keys.app]
key_env = "APP_KEY"
[teams.research]
requests = 12
[plugins.login]
use = "jwt"
[plugins.login.options]
issuer = "{url}"
audience = "gateway"
algorithms = ["ES256"]
prefix = "sso"
keep = "{folder}"
revoked = ["mallory", "stolen-token"]
[plugins.login.options.groups.research]
team = "research"
models = ["fast"]
[plugins.login.options.groups.staff]
requests = 5
tags = {{ floor = "2" }}
"""


@pytest.fixture(scope="module")
def issuer() -> Iterator[TokenIssuer]:
    with TokenIssuer() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jwt")


@pytest.fixture(scope="module")
def login(start_gateway: StartGateway, issuer: TokenIssuer, folder: Path) -> Gateway:
    file = folder / "gateway.toml"
    file.write_text(SETTINGS.format(url=issuer.url, folder=folder))
    file.chmod(0o600)
    return start_gateway(GATEWAY_CONFIG=str(file), APP_KEY=KEY)


def chat(gateway: Gateway, token: str, model: str = "fast", **more: Any) -> Answer:
    return gateway.chat(model, headers={"authorization": f"Bearer {token}"}, **more)


def own(gateway: Gateway, token: str) -> dict[str, Any]:
    answer = gateway.ask("GET", "/v1/key", authorization=f"Bearer {token}")
    assert answer.status == 200, answer.body
    return dict(json.loads(answer.body))


def test_a_token_gives_its_caller_team_models_and_limits(login: Gateway, issuer: TokenIssuer) -> None:
    ann, bob = issuer.token("ann", groups=["research", "staff"]), issuer.token("bob")
    told = own(login, ann)
    assert (told["id"], told["team"], told["models"]) == ("sso:ann", "research", ["fast", "quick"])
    answer = chat(login, ann, "quick")
    assert answer.status == 200
    record = login.logged(answer.headers["x-request-id"])
    assert record["key"] == "sso:ann"
    assert chat(login, ann, "smart").error["code"] == "model_not_allowed"
    assert own(login, bob)["tags"] == {"floor": "2"}
    assert chat(login, bob, "smart").headers["x-ratelimit-limit-requests"] == "5"


def test_limits_of_caller_and_team_hold_over_all_workers(login: Gateway, issuer: TokenIssuer) -> None:
    def ask(token: str) -> int:
        return chat(login, token).status

    with ThreadPoolExecutor(6) as pool:
        own_limit = list(pool.map(ask, [issuer.token("carl", jti=str(n)) for n in range(15)]))
        team = [issuer.token(f"member{n}", groups=["research"]) for n in range(20)]
        shared_limit = list(pool.map(ask, team))
    assert sorted(own_limit) == [200] * 5 + [429] * 10
    assert set(shared_limit) == {200, 429}
    assert shared_limit.count(200) <= 12


@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        ({"exp": 1}, 401, "key_expired"),
        ({"sub": "mallory"}, 401, "key_revoked"),
        ({"jti": "stolen-token"}, 401, "key_revoked"),
        ({"aud": "other"}, 401, "invalid_api_key"),
        ({"iss": "https://other.example"}, 401, "invalid_api_key"),
        ({"groups": []}, 403, "account_not_allowed"),
    ],
)
def test_refused_tokens(
    login: Gateway, issuer: TokenIssuer, changed: dict[str, Any], status: int, code: str
) -> None:
    for stream in (False, True):
        answer = chat(login, issuer.token(**changed), stream=stream)
        assert (answer.status, answer.error["code"]) == (status, code)


def test_a_token_ends_while_it_is_remembered(login: Gateway, issuer: TokenIssuer) -> None:
    token = issuer.token("dora", exp=int(time.time()) - 55)  # the leeway is 60 s
    assert chat(login, token).status == 200
    assert until(lambda: chat(login, token).status == 401)


def test_a_forged_token_and_a_huge_one(login: Gateway, issuer: TokenIssuer) -> None:
    evil = signing_key("1")
    assert chat(login, signed(evil, issuer.claims(), jku="https://evil.example")).status == 401
    assert chat(login, "ey" + "A" * 6000 + ".ey.AA").status == 401
    assert chat(login, "ey" + "A" * 60_000).status in (400, 401, 431)
    assert login.chat("fast").status == 200, "keys of the settings go on"


def test_a_changed_key_of_the_provider_fails_no_call(login: Gateway, issuer: TokenIssuer) -> None:
    statuses = []
    for number in range(40):
        if number in (10, 25):
            issuer.rotate(signing_key(f"rotated-{number}"))
        statuses.append(chat(login, issuer.token(f"erin{number}")).status)
    assert statuses == [200] * 40


def test_without_the_provider_its_keys_serve_on_in_new_workers_too(
    login: Gateway, issuer: TokenIssuer, folder: Path
) -> None:
    assert chat(login, issuer.token("frank")).status == 200
    assert until(lambda: list(folder.glob("jwt-keys-*.json")))
    issuer.mode = "busy"
    try:
        login.reload()
        statuses = {chat(login, issuer.token(f"frank{number}")).status for number in range(10)}
        assert statuses == {200}
        assert chat(login, signed(signing_key("new"), issuer.claims())).status in (401, 503)
    finally:
        issuer.mode = "ok"
