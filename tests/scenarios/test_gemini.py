"""Google's SDK and recorded requests of gemini-cli against a gateway in front of a Gemini upstream."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from kit.sdks import genai
from kit.servers import Gateway
from kit.wire import ask

KEY, UPSTREAM_KEY = "sk-gemini-0123456789abcdef", "AIza-upstream-0123456789abcdef"
RECORDED = sorted((Path(__file__).parents[1] / "golden" / "gemini-cli").glob("*.json"))
SETTINGS = """
rate_limit_per_minute = 0
[keys.google]
key_env = "KEY_GOOGLE"
[upstreams.google]
kind = "gemini"
url = "http://127.0.0.1:{port}/v1beta/openai"
api_key_env = "KEY_UPSTREAM"
[upstreams.other]
url = "http://127.0.0.1:{port}/v1"
[models."gemini-3.8-flash"]
upstream = "google"
[models."gemini-3.5-flash-lite"]
upstream = "google"
model = "flash-lite-real"
[models.refused]
upstream = "google"
[models.limited]
upstream = "google"
[models.chat-only]
upstream = "other"
"""
USAGE = {
    "promptTokenCount": 10,
    "candidatesTokenCount": 3,
    "thoughtsTokenCount": 5,
    "cachedContentTokenCount": 4,
    "totalTokenCount": 18,
}


def part(text: str, **more: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": [{"text": text}], "role": "model"}, "index": 0, **more}]}


#: Blanks that no encoder of ours writes: they have to arrive.
WHOLE = json.dumps({**part("Hello", finishReason="STOP"), "usageMetadata": USAGE}, indent=3).encode()
EVENTS = [part("Hel"), {**part("lo", finishReason="STOP"), "usageMetadata": USAGE}]
SSE = b"".join(b"data: %b\r\n\r\n" % json.dumps(event).encode() for event in EVENTS)
LIST = json.dumps(EVENTS, indent=1).encode()
SLOW = b'{"error": {"code": 429, "message": "Slow down.", "status": "RESOURCE_EXHAUSTED"}}'
REFUSED = b'{"error": {"code": 400, "message": "No.", "status": "INVALID_ARGUMENT",\n "x": 1}}'


class Upstream(BaseHTTPRequestHandler):
    seen: list[tuple[str, dict[str, str], bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        if "limited" in self.path:
            self._answer(429, SLOW)
        elif "refused" in self.path:
            self._answer(400, REFUSED)
        elif "mbedContent" in self.path:
            body = {"embeddings": [{"values": [0.5]}] * 2, "usageMetadata": {"promptTokenCount": 6}}
            self._answer(200, json.dumps(body).encode())
        elif "countTokens" in self.path:
            self._answer(200, b'{"totalTokens": 7}')
        elif self.path.endswith("?alt=sse"):
            self._answer(200, SSE, "text/event-stream")
        else:
            self._answer(200, LIST if "stream" in self.path else WHOLE)

    def _answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None: ...


@pytest.fixture(scope="module")
def seen() -> list[tuple[str, dict[str, str], bytes]]:
    return []


@pytest.fixture(scope="module")
def gateway(seen: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Upstream,), {"seen": seen}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    folder = tmp_path_factory.mktemp("gemini")
    file = folder / "gateway.toml"
    file.write_text(SETTINGS.replace("{port}", str(server.server_port)))
    env = {"GATEWAY_CONFIG": str(file), "KEY_GOOGLE": KEY, "KEY_UPSTREAM": UPSTREAM_KEY}
    gateway = Gateway(folder, KEY, {**env, "GATEWAY_WORKERS": "1"})
    yield gateway
    gateway.stop()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> Iterator[genai.Client]:
    client = genai.Client(api_key=KEY, http_options=genai.types.HttpOptions(base_url=gateway.url))
    yield client
    client.close()


def test_the_sdk_gets_an_answer_a_stream_and_a_count(client: genai.Client, seen: Any):
    answer = client.models.generate_content(model="gemini-3.8-flash", contents="hi")
    assert answer.text == "Hello"
    assert answer.usage_metadata is not None
    assert answer.usage_metadata.thoughts_token_count == 5
    parts = client.models.generate_content_stream(model="gemini-3.8-flash", contents="hi")
    assert [each.text for each in parts] == ["Hel", "lo"]
    assert client.models.count_tokens(model="gemini-3.8-flash", contents="hi").total_tokens == 7
    path, headers, _ = seen[-1]
    assert path == "/v1beta/models/gemini-3.8-flash:countTokens"
    assert headers["x-goog-api-key"] == UPSTREAM_KEY
    assert "authorization" not in headers


def test_the_sdk_gets_embeddings(gateway: Gateway, client: genai.Client, seen: Any):
    answer = client.models.embed_content(model="gemini-3.5-flash-lite", contents=["Hello", "there"])
    assert [one.values for one in answer.embeddings or ()] == [[0.5], [0.5]]
    path, headers, body = seen[-1]
    assert path == "/v1beta/models/flash-lite-real:batchEmbedContents"
    assert headers["x-goog-api-key"] == UPSTREAM_KEY
    assert {one["model"] for one in json.loads(body)["requests"]} == {"models/flash-lite-real"}


def test_the_sdk_lists_the_models_that_speak_it(client: genai.Client):
    names = {model.name for model in client.models.list()}
    expected = ("gemini-3.8-flash", "gemini-3.5-flash-lite", "limited", "refused", "google")
    assert names == {f"models/{name}" for name in expected}  # the last is an upstream's own name
    assert client.models.get(model="gemini-3.8-flash").name == "models/gemini-3.8-flash"


@pytest.mark.parametrize(
    ("model", "status", "word"),
    [
        ("limited", 429, "RESOURCE_EXHAUSTED"),
        ("chat-only", 400, "INVALID_ARGUMENT"),
    ],
)
def test_the_sdk_raises_its_own_errors(client: genai.Client, model: str, status: int, word: str):
    with pytest.raises(genai.errors.APIError) as caught:
        client.models.generate_content(model=model, contents="hi")
    assert (caught.value.code, caught.value.status) == (status, word)


def test_an_upstream_that_does_not_speak_it_is_named(gateway: Gateway):
    answer = gateway.ask("POST", "/v1beta/models/chat-only:generateContent", {"contents": []})
    assert (answer.status, answer.json["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert "'other'" in answer.json["error"]["message"]


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda path: path.stem)
def test_recorded_requests_of_gemini_cli_arrive_as_they_are(gateway: Gateway, seen: Any, recorded: Path):
    request = json.loads(recorded.read_text())
    headers = {name.lower(): value for name, value in request["headers"] if name.lower() != "content-length"}
    answer = ask(gateway.port, "POST", request["path"], request["body"], {**headers, "x-goog-api-key": KEY})
    path, sent, body = seen[-1]
    assert json.loads(body) == request["body"]
    assert path == request["path"].replace("gemini-3.5-flash-lite", "flash-lite-real")
    assert "x-gemini-api-privileged-user-id" not in sent
    assert answer.body == (SSE.replace(b"\r", b"") if "alt=sse" in request["path"] else WHOLE)


def test_a_stream_without_events_is_the_list_as_it_came(gateway: Gateway):
    answer = gateway.ask("POST", "/v1beta/models/gemini-3.8-flash:streamGenerateContent", {"contents": []})
    assert answer.body == LIST


def test_an_error_of_the_upstream_keeps_its_bytes(gateway: Gateway):
    answer = gateway.ask("POST", "/v1beta/models/refused:generateContent", {"contents": []})
    assert (answer.status, answer.body) == (400, REFUSED)


def test_a_key_in_the_url_counts_and_is_never_logged(gateway: Gateway):
    path = f"/v1beta/models/gemini-3.8-flash:generateContent?key={KEY}"
    answer = ask(gateway.port, "POST", path, {"contents": []})
    assert answer.status == 200
    line = gateway.logged(answer.headers["x-request-id"])
    assert (line["prompt_tokens"], line["completion_tokens"], line["cached_tokens"]) == (10, 8, 4)
    wrong = ask(gateway.port, "POST", path.replace(KEY, "sk-wrong"), {"contents": []})
    assert (wrong.status, wrong.json["error"]["status"]) == (401, "UNAUTHENTICATED")
    assert KEY not in gateway.stderr
    assert ask(gateway.port, "GET", f"/v1/models?key={KEY}").status == 401
