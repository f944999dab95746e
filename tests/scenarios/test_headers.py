"""Checks headers: ids in both directions, and no header passes from one side to the other."""

from __future__ import annotations

import json
import re

import pytest
from kit.gateways import KEY, UPSTREAM_KEY
from kit.servers import Gateway, Upstream, headers_of
from kit.wire import Answer, open_stream

pytestmark = pytest.mark.live

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


# ---------------------------------------------------------------- ids


def requests_of_all_kinds(gateway: Gateway, **headers: str) -> list[Answer]:
    return [
        gateway.chat("ok", headers=headers),
        gateway.chat("status,code=500", headers=headers),
        gateway.chat("status,code=400", headers=headers),
        gateway.ask("POST", "/v1/chat/completions", b"{", **headers),
        gateway.ask("GET", "/v1/models", **headers),
        gateway.ask("GET", "/v1/chat/completions", **headers),
        gateway.ask("GET", "/nothing", **headers),
        gateway.ask("GET", "/health", **headers),
        gateway.ask("GET", "/v1/models", authorization="Bearer wrong", **headers),
    ]


def test_every_response_has_its_own_request_id_and_trace_id(gateway: Gateway):
    answers = requests_of_all_kinds(gateway)
    for name in ("x-request-id", "x-trace-id"):
        ids = [answer.headers[name] for answer in answers]
        assert all(re.fullmatch(r"[A-Za-z0-9._-]{8,128}", value) for value in ids)
        assert len(set(ids)) == len(answers)


def test_the_callers_own_ids_are_kept(gateway: Gateway):
    for answer in requests_of_all_kinds(gateway, x_request_id="req-A.1_b", x_trace_id="trace-1"):
        assert answer.headers["x-request-id"] == "req-A.1_b"
        assert answer.headers["x-trace-id"] == "trace-1"


@pytest.mark.parametrize("bad", ["with space", "semi;colon", "x" * 129, "{}", "ü"])
def test_a_malformed_id_is_replaced(gateway: Gateway, bad):
    answer = gateway.ask("GET", "/v1/models", x_request_id=bad, x_trace_id=bad)
    assert answer.headers["x-request-id"] != bad
    assert answer.headers["x-trace-id"] != bad


def test_a_stream_has_ids_too(gateway: Gateway):
    with open_stream(gateway.port, KEY, "ok") as stream:
        assert stream.headers["x-request-id"]
        assert stream.headers["x-trace-id"]


def test_the_ids_are_sent_upstream_and_logged(gateway: Gateway, upstream: Upstream):
    answer = gateway.chat("ok", headers={"x_request_id": "id-for-the-log", "x_trace_id": "trace-9"})
    assert answer.status == 200
    sent = headers_of(upstream.last())
    assert (sent["x-request-id"], sent["x-trace-id"]) == ("id-for-the-log", "trace-9")
    assert gateway.logged("id-for-the-log")["status"] == 200


def test_a_trace_is_continued_with_a_new_parent(gateway: Gateway, upstream: Upstream):
    gateway.chat("ok", headers={"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"})
    sent = headers_of(upstream.last())
    version, trace, parent, flags = sent["traceparent"].split("-")
    assert (version, trace, flags) == ("00", TRACE, "01")
    assert re.fullmatch("[0-9a-f]{16}", parent)
    assert parent != PARENT
    assert sent["tracestate"] == "vendor=1"


@pytest.mark.parametrize(
    "bad",
    [f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01", f"ff-{TRACE}-{PARENT}-01", "nonsense"],
)
def test_an_invalid_trace_is_replaced(gateway: Gateway, upstream: Upstream, bad):
    assert gateway.chat("ok", headers={"traceparent": bad, "tracestate": "vendor=1"}).status == 200
    sent = headers_of(upstream.last())
    assert re.fullmatch(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[01]", sent["traceparent"])
    assert TRACE not in sent["traceparent"]
    assert "tracestate" not in sent


# ---------------------------------------------------------------- hygiene


def test_the_callers_headers_are_not_forwarded(gateway: Gateway, upstream: Upstream):
    private = {"cookie": "a=caller-secret", "openai_organization": "caller-secret", "via": "caller-secret"}
    forwarded = {"x_forwarded_for": "caller-secret", "x_accel_redirect": "/caller-secret"}
    gateway.chat("ok", headers={**private, **forwarded, "x_api_key": KEY})
    entry = upstream.last()
    assert KEY not in json.dumps(entry)
    assert "caller-secret" not in json.dumps(entry)
    assert headers_of(entry)["authorization"] == f"Bearer {UPSTREAM_KEY}"


def test_an_upstream_without_a_key_gets_no_credential(gateway: Gateway, upstream: Upstream, alias):
    assert gateway.chat(f"{alias()}/ok").status == 200
    entry = upstream.last()
    assert "authorization" not in headers_of(entry)
    assert KEY not in json.dumps(entry)


def test_the_upstreams_headers_are_not_forwarded(gateway: Gateway):
    answer = gateway.chat("talkative")
    with open_stream(gateway.port, KEY, "talkative") as stream:
        streamed = stream.headers
    for headers in (answer.headers, streamed):
        assert "secret" not in json.dumps(headers)
        assert not {"set-cookie", "via", "x-powered-by", "openai-organization"} & set(headers)
        assert not [name for name in headers if name.startswith("x-accel-") and name != "x-accel-buffering"]
        assert headers["x-ratelimit-remaining-requests"] != "999999"


def test_no_cookie_of_one_call_reaches_the_next(gateway: Gateway, upstream: Upstream):
    for _ in range(4):
        gateway.chat("talkative")
    assert all("cookie" not in headers_of(entry) for entry in upstream.requests())


def test_unknown_fields_pass_unchanged(gateway: Gateway, upstream: Upstream):
    odd = '"temperature":0.10,"seed":123456789012345678901234567890,"x":{"b":[1.0,null],"a":"\\u00e9"}'
    body = f'{{"model":"ok","messages":[{{"role":"user","content":"Hi","n":1e2}}],{odd}}}'
    assert gateway.ask("POST", "/v1/chat/completions", body.encode()).status == 200
    sent = upstream.last()["body"]
    for piece in ("0.10", "123456789012345678901234567890", '{"b":[1.0,null],"a":"\\u00e9"}', "1e2"):
        assert piece in sent


@pytest.mark.parametrize("operation", ["completions", "embeddings", "responses", "moderations", "rerank"])
def test_the_other_operations_go_to_their_own_paths(gateway: Gateway, upstream: Upstream, operation):
    needed = {"prompt": "a", "input": "a", "query": "a", "documents": ["a"]}
    assert gateway.ask("POST", f"/v1/{operation}", {"model": "ok", **needed}).status == 200
    assert upstream.last()["path"] == f"/v1/{operation}"
    assert json.loads(upstream.last()["body"]) == {"model": "ok", **needed}


def test_upstream_connections_are_reused(gateway: Gateway, upstream: Upstream):
    for _ in range(12):
        assert gateway.chat("ok").status == 200
    with open_stream(gateway.port, KEY, "ok") as stream:
        stream.data()
    for _ in range(12):
        assert gateway.chat("ok").status == 200
    assert len({entry["connection"] for entry in upstream.requests()}) <= 4


def test_a_stale_connection_is_replaced(gateway: Gateway, upstream: Upstream):
    statuses = [gateway.chat("stale").status for _ in range(30)]
    assert statuses == [200] * 30
    assert len(upstream.requests()) == 30
