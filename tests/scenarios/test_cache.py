"""The cache of a running gateway with two workers: hits of all, streams, deaths, damage, no sharing."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from kit.gateways import StartGateway
from kit.scrape import figures
from kit.sdks import openai
from kit.servers import Gateway, Upstream
from kit.waiting import until
from kit.wire import Answer, open_stream

from flask_gateway.cache.lmdb_file import NAME

pytestmark = pytest.mark.live

A, B = "key-of-caller-a-in-the-cache", "key-of-caller-b-in-the-cache"
SETTINGS = """
rate_limit_per_minute = 0
[upstreams.mock]
url = "mock://local"
[upstreams.scripted]
url = "{url}"
[models.kept]
upstream = "scripted"
model = "ok,tokens=3"
cache = "all"
[models.strict]
upstream = "scripted"
model = "ok,tokens=3"
cache = "deterministic"
[models.shared]
upstream = "scripted"
model = "ok,tokens=2"
cache = "all"
cache_share = "all"
[models.plain]
upstream = "scripted"
model = "ok,tokens=3"
[keys.a]
key_env = "KEY_A"
[keys.b]
key_env = "KEY_B"
[cache]
path = "kept"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def cached(start_gateway: StartGateway, scripted: Upstream, folder: Path) -> Gateway:
    file = folder / "gateway.toml"
    file.write_text(SETTINGS.format(url=scripted.url))
    file.chmod(0o600)
    return start_gateway(A, GATEWAY_CONFIG=str(file), KEY_A=A, KEY_B=B)


def asked(gateway: Gateway, text: str, model: str = "kept", key: str = A, **more: object) -> Answer:
    headers = more.pop("headers", {})
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    return gateway.ask("POST", "/v1/chat/completions", body, x_api_key=key, **headers)  # type: ignore[arg-type]


def stored(gateway: Gateway) -> float:
    return figures(gateway, "cache_stored_total")[""]


def kept(gateway: Gateway, text: str, model: str = "kept", **more: object) -> Answer:
    """The answer of a miss, as soon as it is kept."""
    before = stored(gateway)
    answer = asked(gateway, text, model, **more)
    assert answer.headers["x-gateway-cache"] == "miss"
    assert until(lambda: stored(gateway) > before)
    return answer


def test_after_one_miss_all_workers_hit(cached: Gateway, upstream: Upstream) -> None:
    first = kept(cached, "of all workers")
    answers = [asked(cached, "of all workers") for _ in range(30)]
    assert {answer.headers["x-gateway-cache"] for answer in answers} == {"hit"}
    assert {answer.body for answer in answers} == {first.body}
    assert len([request for request in upstream.requests() if "of all workers" in request["body"]]) == 1
    logged = Counter(cached.logged(answer.headers["x-request-id"]).get("upstream") for answer in answers)
    assert logged == {None: 30}
    assert figures(cached, "cache_lookups_total", "result")["hit"] >= 30
    assert figures(cached, "cache_bytes")[""] > 0


def test_a_stream_is_replayed_byte_by_byte(cached: Gateway, upstream: Upstream) -> None:
    before = stored(cached)
    client = openai.OpenAI(base_url=f"{cached.url}/v1", api_key=A, max_retries=0)
    messages = [{"role": "user", "content": "a stream"}]

    def chunks() -> list[object]:
        with client.chat.completions.create(model="kept", messages=messages, stream=True) as stream:  # type: ignore[call-overload]
            return [chunk.to_dict() for chunk in stream]

    first = chunks()
    assert until(lambda: stored(cached) > before)
    assert [chunks() for _ in range(6)] == [first] * 6
    client.close()
    assert len(upstream.requests()) == 1
    raw = [asked(cached, "a stream", stream=True) for _ in range(4)]
    assert len({answer.body for answer in raw}) == 1


def test_two_callers_with_equal_bodies_share_only_where_told_to(cached: Gateway, upstream: Upstream) -> None:
    kept(cached, "whose")
    assert asked(cached, "whose", key=B).headers["x-gateway-cache"] == "miss"
    kept(cached, "whose", "shared")
    assert asked(cached, "whose", "shared", key=B).headers["x-gateway-cache"] == "hit"


def test_requests_may_say_what_they_want(cached: Gateway, upstream: Upstream) -> None:
    refused = asked(cached, "words", headers={"cache_control": "only-if-cached"})
    assert (refused.status, refused.error["code"]) == (504, "not_cached")
    kept(cached, "words")
    hit = asked(cached, "words", headers={"cache_control": "only-if-cached"})
    assert hit.headers["x-gateway-cache"] == "hit"
    assert int(hit.headers["age"]) >= 0
    assert hit.headers["x-gateway-upstream"] == "scripted"
    assert asked(cached, "words", cache={"no-cache": True}).headers["x-gateway-cache"] == "miss"
    assert (
        asked(cached, "words", headers={"cache_control": "no-store"}).headers["x-gateway-cache"] == "bypass"
    )
    assert "cache" not in upstream.last()["body"]


def test_other_calls_bypass_it(cached: Gateway, upstream: Upstream) -> None:
    assert asked(cached, "sampled", "strict").headers["x-gateway-cache"] == "bypass"
    assert asked(cached, "two", n=2).headers["x-gateway-cache"] == "bypass"
    assert "x-gateway-cache" not in asked(cached, "plain", "plain").headers
    kept(cached, "cold", "strict", temperature=0)


def test_failures_are_not_kept(cached: Gateway, upstream: Upstream) -> None:
    upstream.script("status,code=400")
    assert asked(cached, "fails").status == 400
    upstream.script("cut,after=1")
    with open_stream(cached.port, A, "kept") as stream:
        assert stream.data()[-1] != "[DONE]"
    upstream.reset()
    assert asked(cached, "fails").headers["x-gateway-cache"] == "miss"


def test_a_killed_worker_and_a_damaged_file_cost_answers_and_nothing_else(
    cached: Gateway, upstream: Upstream, folder: Path
) -> None:
    first = kept(cached, "survives")
    old = cached.workers
    os.kill(old[0], signal.SIGKILL)
    assert until(lambda: len(cached.workers) == 2 and old[0] not in cached.workers)
    assert until(lambda: asked(cached, "survives").headers["x-gateway-cache"] == "hit")
    assert asked(cached, "survives").body == first.body
    os.truncate(folder / "kept" / NAME, 8192)
    workers = cached.workers
    for _ in range(10):
        answer = asked(cached, "survives")
        assert answer.status == 200
    assert cached.workers == workers  # nobody has died of it
    kept(cached, "after the cut")

    def all_hit() -> bool:
        answers = [asked(cached, "after the cut") for _ in range(10)]
        return all(answer.headers["x-gateway-cache"] == "hit" for answer in answers)

    assert until(all_hit)


def test_a_changed_route_finds_nothing(cached: Gateway, upstream: Upstream, folder: Path) -> None:
    kept(cached, "before the change")
    file = folder / "gateway.toml"
    text = file.read_text()
    changed = text.replace('model = "ok,tokens=3"', 'model = "ok,tokens=4"', 1)
    assert changed != text
    file.write_text(changed)
    found = until(lambda: asked(cached, "before the change").headers["x-gateway-cache"] == "miss")
    assert found, [line for line in cached.stderr.splitlines() if "request_id" not in line]
