"""The LiteLLM sidecar with a fake SDK: what the SDK gets, what comes back, and what is refused."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from flask_gateway.sidecar.application import Sidecar

SECRET = "sidecar-secret-0123456789"


class Answer:
    def __init__(self, **fields: Any) -> None:
        self.fields = fields

    def model_dump(self, *, mode: str, exclude_none: bool) -> dict[str, Any]:
        return {name: value for name, value in self.fields.items() if value is not None}


class Failure(Exception):
    status_code = 429
    code = "429"
    body: ClassVar = {"message": "Slow down.", "type": "requests", "param": 1, "code": "rate_limit"}
    response = SimpleNamespace(headers={"retry-after": "7", "retry-after-ms": "70\r\n", "server": "x"})


class Sdk(SimpleNamespace):
    """Stands for the module ``litellm``."""

    def __init__(self) -> None:
        super().__init__(asked=[])

    def completion(self, **fields: Any) -> Any:
        self.asked.append(fields)
        if fields["model"] == "fails":
            raise Failure("Slow down.")
        if fields.get("stream"):
            return self._chunks(fields["model"])
        return Answer(id="1", choices=[{"message": {"content": "Hello"}}], odd=None)

    def _chunks(self, model: str) -> Any:
        yield Answer(choices=[{"delta": {"content": "Hel"}}])
        if model == "breaks":
            raise Failure("It broke.")
        yield Answer(choices=[{"delta": {"content": "lo"}}])

    def embedding(self, **fields: Any) -> Any:
        self.asked.append(fields)
        return Answer(data=[])


@pytest.fixture
def sdk() -> Sdk:
    return Sdk()


def ask(
    sdk: Sdk,
    body: Any,
    path: str = "/v1/chat/completions",
    key: str = SECRET,
    said: list[tuple[str, str]] | None = None,
    **more: str,
) -> tuple[int, bytes]:
    """The status and the body. :param said: gets the headers."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path,
        "HTTP_AUTHORIZATION": f"Bearer {key}",
        "CONTENT_LENGTH": str(len(sent)),
        "wsgi.input": io.BytesIO(sent),
        **more,
    }
    statuses: list[str] = []

    def start(status: str, headers: list[tuple[str, str]]) -> None:
        statuses.append(status)
        if said is not None:
            said.extend(headers)

    answer = Sidecar(sdk, SECRET, 30.0)(environ, start)
    return int(statuses[0].split()[0]) if statuses else 0, b"".join(answer)


def test_the_sdk_gets_the_call_without_retries_and_without_fields_that_lead_elsewhere(sdk: Sdk):
    body = {"model": "bedrock/nova", "messages": [], "x": 1, "api_base": "http://evil", "num_retries": 5}
    status, answer = ask(sdk, body)
    assert (status, json.loads(answer)["choices"][0]["message"]["content"]) == (200, "Hello")
    assert "odd" not in json.loads(answer)
    assert sdk.asked == [{"model": "bedrock/nova", "messages": [], "x": 1, "timeout": 30.0, "num_retries": 0}]
    assert ask(sdk, {"model": "e", "input": "x"}, "/v1/embeddings")[0] == 200


def test_a_stream_has_events_and_an_end(sdk: Sdk):
    status, answer = ask(sdk, {"model": "m", "messages": [], "stream": True})
    assert status == 200
    assert [line[:7] for line in answer.split(b"\n\n")] == [b"data: {", b"data: {", b"data: [", b""]
    _, broken = ask(sdk, {"model": "breaks", "messages": [], "stream": True})
    last = json.loads(broken.strip().split(b"\n\n")[-1].removeprefix(b"data: "))
    assert last["error"]["code"] == "rate_limit"


def test_an_exception_of_the_sdk_keeps_its_status_the_providers_words_and_its_wait(sdk: Sdk):
    headers: list[tuple[str, str]] = []
    status, answer = ask(sdk, {"model": "fails", "messages": []}, said=headers)
    error = {"message": "Slow down.", "type": "requests", "param": None, "code": "rate_limit"}
    assert (status, json.loads(answer)["error"]) == (429, error)
    assert [header for header in headers if header[0].startswith("retry")] == [("retry-after", "7")]


@pytest.mark.parametrize(
    ("body", "more", "status"),
    [
        ({}, {"key": "wrong"}, 401),
        ({}, {"path": "/v1/files"}, 404),
        (b"[]", {}, 400),
        (b"", {}, 400),
        (b"{", {}, 400),
    ],
)
def test_other_requests_are_refused(sdk: Sdk, body: Any, more: dict[str, str], status: int):
    assert ask(sdk, body, **more)[0] == status
    assert sdk.asked == []


def test_health_needs_no_secret(sdk: Sdk):
    assert ask(sdk, b"", "/health", key="")[0] == 200
