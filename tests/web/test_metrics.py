"""Access to ``/metrics``: who may read it; callers can neither add series nor leak secrets there."""

from __future__ import annotations

import random
from collections.abc import Callable
from hashlib import sha256

import pytest
from flask.testing import FlaskClient
from kit.calls import AUTH, chat
from kit.metric_figures import parse
from kit.planted import KEY


@pytest.mark.parametrize(
    ("peer", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("127.8.9.10", {}, 200),
        ("::1", {}, 200),
        ("::ffff:127.0.0.1", {}, 200),
        ("127.0.0.1", AUTH, 200),
        ("192.0.2.1", {}, 401),
        ("192.0.2.1", {"X-API-Key": "wrong"}, 401),
        ("192.0.2.1", AUTH, 404),
        ("", {}, 401),
        ("", AUTH, 404),
        ("127.0.0.1", {"X-Forwarded-For": "192.0.2.1"}, 401),
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, 401),
        ("127.0.0.1", {"Forwarded": "for=192.0.2.1"}, 401),
        ("127.0.0.1", {"X-Real-IP": "192.0.2.1"}, 401),
        ("127.0.0.1", {"X-Real-IP": "192.0.2.1", **AUTH}, 404),
    ],
)
def test_without_a_metrics_key_only_this_machine_may_read(
    client: FlaskClient, peer: str, headers: dict[str, str], status: int
) -> None:
    answer = client.get("/metrics", headers=headers, environ_base={"REMOTE_ADDR": peer})
    assert answer.status_code == status
    assert (b"gateway_requests_total" in answer.data) == (status == 200)


METRICS_KEY = "planted-metrics-key"


@pytest.mark.parametrize(
    ("peer", "headers", "status"),
    [
        ("192.0.2.1", {"Authorization": f"Bearer {METRICS_KEY}"}, 200),
        ("127.0.0.1", {"X-API-Key": METRICS_KEY, "X-Forwarded-For": "192.0.2.1"}, 200),
        ("127.0.0.1", {}, 401),
        ("127.0.0.1", AUTH, 404),
        ("192.0.2.1", {"X-API-Key": METRICS_KEY, **AUTH}, 400),
        ("192.0.2.1", {"Authorization": "Basic x"}, 401),
    ],
)
def test_with_a_metrics_key_only_that_key_may_read(
    make_client: Callable[..., FlaskClient], peer: str, headers: dict[str, str], status: int
) -> None:
    client = make_client(metrics_digest=sha256(METRICS_KEY.encode()).digest())
    answer = client.get("/metrics", headers=headers, environ_base={"REMOTE_ADDR": peer})
    assert answer.status_code == status
    assert client.get("/v1/models", headers={"X-API-Key": METRICS_KEY}).status_code == 401


def test_metrics_show_no_secret(client: FlaskClient) -> None:
    client.post("/v1/chat/completions", json=chat("mock"), headers=AUTH)
    client.post("/v1/chat/completions", json=chat("planted-model"), headers=AUTH)
    text = client.get("/metrics").text
    assert "planted" not in text
    assert KEY not in text
    assert 'key="team-a"' in text


def test_names_invented_by_callers_add_no_series(
    make_client: Callable[..., FlaskClient], capfd: pytest.CaptureFixture[str]
) -> None:
    client = make_client(rate_limit_per_minute=0, failed_keys_per_minute=0)
    rng = random.Random(6)

    def word() -> str:
        return f"{rng.getrandbits(48):x}"

    def round_of() -> None:
        made_up = word()
        client.post("/v1/chat/completions", json=chat("mock"), headers=AUTH)
        client.post("/v1/chat/completions", json=chat(f"mock/{made_up}"), headers=AUTH)
        client.post("/v1/chat/completions", json=chat(made_up), headers=AUTH)
        client.post("/v1/chat/completions", json=chat("mock"), headers={"X-API-Key": made_up})
        client.post("/v1/chat/completions", json={"model": made_up}, headers=AUTH)
        client.post(f"/v1/{made_up}", headers=AUTH)
        client.get(f"/v1/models/{made_up}", headers=AUTH)
        client.open("/v1/models", method=made_up.upper(), headers=AUTH)
        client.get(f"/{made_up}", headers={"X-API-Key": made_up})

    round_of()
    before = set(parse(client.get("/metrics").text))
    for _ in range(100):
        round_of()
    after = set(parse(client.get("/metrics").text))
    assert after == before
    capfd.readouterr()  # thousands of lines of the log
