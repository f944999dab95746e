"""Tests S4 of docs/security.md on the wire: random requests, and all bytes in both directions.

``tests/scenarios/test_laws.py`` tests the same law inside one process, where it is cheaper.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from kit.gateways import KEY, UPSTREAM_KEY, StartGateway
from kit.header_names import NAMES, TO_CALLER, TO_UPSTREAM
from kit.nginx import Behind, Nginx, without_rates
from kit.servers import Gateway
from kit.wire import Answer, ask

pytestmark = pytest.mark.live

#: Headers of the servers in between, about themselves and their own connection.
THEIR_OWN = {"server", "date", "connection", "transfer-encoding"}
FIELDS = {
    "chat/completions": {"messages": [{"role": "user", "content": "w"}]},
    "completions": {"prompt": "w"},
    "embeddings": {"input": "w"},
    "responses": {"input": "w"},
    "moderations": {"input": "w"},
    "rerank": {"query": "w", "documents": ["w"]},
}
MARK = re.compile(rb"w\d{6}-[0-9a-f]{12}")


class Recorder(Behind):
    """An upstream that records every request. It echoes the prompt with a random status and headers."""

    def reply(self, request: bytes) -> bytes:
        body = request.partition(b"\r\n\r\n")[2]
        words = MARK.search(body)
        assert words, request
        mark = words[0].decode()
        chance = random.Random(mark)
        status = chance.choice(
            [200, 200, 200, 400, 401, 403, 404, 422, 500]
        )  # not 429, which would pause the upstream
        content, kind = self.content(json.loads(body), status, mark)
        planted = [name for name in chance.sample(NAMES, 8) if name not in ("Connection", "Keep-Alive")]
        lines = [f"HTTP/1.1 {status} planted-{mark}", f"Content-Type: {kind}", "Connection: close"]
        lines += [f"{name}: planted-{mark}" for name in planted if name not in ("Trailer", "TE", "Upgrade")]
        lines += [f"X-Key: {UPSTREAM_KEY}", f"Content-Length: {len(content)}"]
        return "\r\n".join([*lines, "", ""]).encode() + content

    def content(self, asked: dict[str, Any], status: int, mark: str) -> tuple[bytes, str]:
        if status != 200:
            return json.dumps({"error": {"message": mark, "code": "odd"}}).encode(), "application/json"
        choice = {"index": 0, "finish_reason": "stop"}
        if asked.get("stream") is True:
            event = {"choices": [choice | {"delta": {"content": mark}}]}
            return f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n".encode(), "text/event-stream"
        whole = {"choices": [choice | {"message": {"content": mark}}], "data": [mark], "results": [mark]}
        return json.dumps(whole).encode(), "application/json"


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    server = Recorder()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def recorded(start_gateway: StartGateway, recorder: Recorder) -> Gateway:
    """A gateway in front of the recorder that never gives up on it."""
    return start_gateway(
        GATEWAY_WORKERS="1",
        GATEWAY_UPSTREAMS=f"recorder=http://{recorder.address}",
        GATEWAY_UPSTREAM_RECORDER_API_KEY=UPSTREAM_KEY,
        GATEWAY_RATE_LIMIT_PER_MINUTE="1000000",
        GATEWAY_CIRCUIT_BREAKER_MAX_FAILURES="1000000",
    )


@pytest.fixture(params=["straight", "nginx"])
def port(request, recorded: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    if request.param == "straight":
        yield recorded.port
        return
    behind = f"127.0.0.1:{recorded.port}"
    nginx = Nginx(tmp_path_factory.mktemp("nginx"), behind, without_rates)
    yield nginx.port
    nginx.stop()


def random_request(chance: random.Random, mark: str) -> tuple[str, dict[str, Any], dict[str, str]]:
    """A path, a body and headers. The key stands where a caller may write it, and where it has no place."""
    operation = chance.choice(list(FIELDS))
    fields = json.loads(json.dumps(FIELDS[operation]).replace('"w"', f'"{mark}"'))
    body = {"model": f"m-{mark}", **fields, "api_key": KEY, "base_url": f"http://{KEY}@127.0.0.1:1"}
    if chance.random() < 0.4 and operation in ("chat/completions", "completions"):
        body["stream"] = True
    keys = [{"Authorization": f"Bearer {KEY}"}, {"X-API-Key": KEY}]
    headers = dict(chance.choice([*keys, keys[0] | keys[1]]))
    unusable = {"Host", "Expect", "Connection", "Keep-Alive", "TE", "Trailer", "Upgrade"}
    for name in set(chance.sample(NAMES, chance.randrange(12))) - unusable:
        # Ids are public. A caller that uses its key as an id has published it.
        words = [f"caller {mark}"] if name == "x-request-id" else [f"caller {mark}", KEY, f"key={KEY}; a=1"]
        headers[name] = chance.choice(words)
    query = chance.choice(["", f"?api_key={KEY}", f"?key={KEY}&{mark}"])
    return f"/v1/{operation}{query}", body, headers


def told_well(answer: Answer, mark: str) -> None:
    """Assert that the response has the caller's own words, only the gateway's headers, and no secret."""
    assert answer.status in (200, 400, 404, 422, 429, 502, 503), answer
    assert {*MARK.findall(answer.body)} <= {mark.encode()}
    assert set(answer.headers) <= TO_CALLER | THEIR_OWN
    # In a 200, the request's id is the one that the caller sent.
    told = {
        name: value for name, value in answer.headers.items() if name not in ("x-request-id", "x-trace-id")
    }
    for secret in (UPSTREAM_KEY, KEY, "planted-w", "caller w"):
        assert secret not in str(told), answer
        assert secret not in answer.body.decode(), answer
    assert "planted" not in answer.headers.get("server", "")


def keeps_clean(port: int, recorder: Recorder, count: int) -> None:
    recorder.reset()
    chance = random.Random(count)
    asked = []
    for number in range(count):
        mark = f"w{number:06d}-{chance.randbytes(6).hex()}"
        asked.append((mark, *random_request(chance, mark)))

    def one(request: tuple[str, str, dict[str, Any], dict[str, str]]) -> int:
        mark, path, body, headers = request
        answer = ask(port, "POST", path, body, headers)
        told_well(answer, mark)
        return answer.status

    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(one, asked))
    assert statuses.count(200) > count / 8, "most of it never came to the upstream's word"
    sent = [*recorder.seen]
    assert len(sent) > count / 2
    for request in sent:
        head, _, body = request.partition(b"\r\n\r\n")
        line, *lines = head.decode("latin-1").split("\r\n")
        assert re.fullmatch(r"POST /v1/[a-z/]+ HTTP/1\.1", line)
        assert {name.partition(":")[0].lower() for name in lines} <= TO_UPSTREAM | {"host"}
        assert f"Authorization: Bearer {UPSTREAM_KEY}" in lines
        assert KEY.encode() not in request
        assert b"caller w" not in head
        assert len({*MARK.findall(body)}) == 1


def test_s4_no_header_of_either_side_reaches_the_other(port: int, recorder: Recorder):
    keeps_clean(port, recorder, 250)


@pytest.mark.soak
def test_s4_no_header_of_either_side_reaches_the_other_in_5000_requests(port: int, recorder: Recorder):
    keeps_clean(port, recorder, 5000)
