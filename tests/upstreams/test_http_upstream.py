"""The upstream over HTTP, with `responses` at the requests seam: what goes out, what comes back."""

from __future__ import annotations

import errno
import gzip
import json
import zlib
from collections.abc import Callable, Iterator

import pytest
import requests
import responses
from kit.calls import chunk, make_call, sse
from kit.planted import UPSTREAM_KEY
from kit.upstream_mock import UpstreamMock
from urllib3.exceptions import NewConnectionError, ReadTimeoutError

from flask_gateway.config.schema import Timeouts
from flask_gateway.dialects.openai import envelope
from flask_gateway.dialects.pause import retry_after
from flask_gateway.model.call import Call
from flask_gateway.model.errors import (
    GatewayError,
    Overloaded,
    UpstreamAuthFailed,
    UpstreamError,
    UpstreamMisconfigured,
    UpstreamOutOfCredit,
    UpstreamOverloaded,
    UpstreamRefusal,
    UpstreamThrottled,
    UpstreamTimeout,
    UpstreamUnreachable,
    Verdict,
)
from flask_gateway.reactor import Reactor
from flask_gateway.upstreams.http_upstream import HttpUpstream
from flask_gateway.upstreams.stream_options import StreamOptions
from flask_gateway.upstreams.transport.client import UpstreamClient

URL = "http://llama.test/v1/chat/completions"
OK = {"id": "1", "object": "chat.completion", "model": "m", "choices": [], "usage": {"prompt_tokens": 1}}


@pytest.fixture
def server() -> Iterator[responses.RequestsMock]:
    with UpstreamMock() as mock:
        yield mock


@pytest.fixture
def upstream() -> Iterator[HttpUpstream]:
    reactor = Reactor()
    http = UpstreamClient(reactor)
    yield HttpUpstream("llama", "http://llama.test/v1", UPSTREAM_KEY, http, Timeouts())
    http.close()
    assert len(reactor) == 0
    reactor.close()


def ask(upstream: HttpUpstream, call: Call | None = None) -> bytes:
    return b"".join(upstream.send(call or make_call()).prime())


def failure(upstream: HttpUpstream, call: Call | None = None) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        ask(upstream, call)
    assert caught.value.upstream == "llama"
    assert UPSTREAM_KEY not in caught.value.message
    return caught.value


@pytest.mark.parametrize(
    ("status", "kind", "ours", "verdict", "another"),
    [
        (500, UpstreamError, 502, Verdict.FAILURE, True),
        (502, UpstreamError, 502, Verdict.FAILURE, True),
        (503, UpstreamError, 502, Verdict.FAILURE, True),
        (504, UpstreamError, 502, Verdict.FAILURE, True),
        (529, UpstreamOverloaded, 502, Verdict.FAILURE, True),
        (408, UpstreamTimeout, 504, Verdict.FAILURE, True),
        (425, UpstreamError, 502, Verdict.FAILURE, True),
        (429, UpstreamThrottled, 429, Verdict.THROTTLED, True),
        (401, UpstreamAuthFailed, 502, Verdict.CREDENTIAL_REFUSED, True),
        (402, UpstreamOutOfCredit, 502, Verdict.CREDENTIAL_REFUSED, True),
        (403, UpstreamAuthFailed, 502, Verdict.CREDENTIAL_REFUSED, True),
        (400, UpstreamRefusal, 400, Verdict.REJECTED, False),
        (404, UpstreamRefusal, 404, Verdict.REJECTED, False),
        (413, UpstreamRefusal, 413, Verdict.REJECTED, False),
        (422, UpstreamRefusal, 422, Verdict.REJECTED, False),
        (301, UpstreamMisconfigured, 502, Verdict.IGNORED, True),
        (307, UpstreamMisconfigured, 502, Verdict.IGNORED, True),
        (204, UpstreamMisconfigured, 502, Verdict.IGNORED, True),
        (501, UpstreamMisconfigured, 502, Verdict.IGNORED, True),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_each_status_maps_to_its_error(
    server: responses.RequestsMock,
    upstream: HttpUpstream,
    status: int,
    kind: type[GatewayError],
    ours: int,
    verdict: Verdict,
    another: bool,
    stream: bool,
) -> None:
    server.post(
        URL, status=status, json={"error": {"message": "said"}}, headers={"Location": "http://evil.test/"}
    )
    error = failure(upstream, make_call(stream=stream))
    assert type(error) is kind
    assert (error.status, error.verdict, error.retry_elsewhere) == (ours, verdict, another)
    assert len(server.calls) == 1  # no redirect was followed, nothing was tried again


@pytest.mark.parametrize("field", ["code", "type"])
def test_a_429_without_quota_concerns_the_gateways_credential(
    server: responses.RequestsMock, upstream: HttpUpstream, field: str
) -> None:
    told = {"message": "You exceeded your current quota.", "type": "t", "param": None, "code": "c"}
    told[field] = "insufficient_quota"
    server.post(URL, status=429, json={"error": told})
    error = failure(upstream)
    assert (error.status, error.verdict, error.retry_elsewhere) == (429, Verdict.CREDENTIAL_REFUSED, True)
    assert envelope(error) == {"error": told}


def said(message: str, type: str = "invalid_request_error", **more: object) -> dict[str, object]:
    return {"message": message, "type": type, "param": None, "code": None, **more}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            '{"error":{"message":"M","type":"t","param":"p","code":"c","x":1}}',
            said("M", "t", param="p", code="c", x=1),
        ),
        (
            '{"message":"vLLM","type":"BadRequestError","code":400}',
            said("vLLM", "BadRequestError", code="400"),
        ),
        ('{"error":"plain"}', said("plain")),
        ('{"detail":"fastapi"}', said("fastapi")),
        ("<html>", said("Upstream 'llama' answered 400.")),
        ("[1]", said("Upstream 'llama' answered 400.")),
    ],
)
def test_a_refusal_reaches_the_caller_unchanged(
    server: responses.RequestsMock, upstream: HttpUpstream, body: str, expected: dict[str, object]
) -> None:
    server.post(URL, status=400, body=body)
    assert envelope(failure(upstream)) == {"error": expected}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (requests.ConnectionError(NewConnectionError(None, "refused")), UpstreamUnreachable),  # type: ignore[arg-type]
        (requests.ConnectTimeout(), UpstreamTimeout),
        (requests.ReadTimeout(ReadTimeoutError(None, "", "")), UpstreamTimeout),  # type: ignore[arg-type]
        (requests.ConnectionError(ConnectionResetError()), UpstreamUnreachable),
        (requests.exceptions.SSLError(), UpstreamUnreachable),
        (requests.exceptions.ChunkedEncodingError(), UpstreamUnreachable),
        (OSError(errno.EMFILE, "Too many open files"), Overloaded),
    ],
)
def test_transport_errors_map_to_distinct_errors(
    server: responses.RequestsMock, upstream: HttpUpstream, error: Exception, kind: type[GatewayError]
) -> None:
    server.post(URL, body=error)
    assert type(failure(upstream)) is kind


@pytest.mark.parametrize(
    ("stream", "content_type", "body"),
    [
        (False, "text/html", "<html>"),
        (False, "application/json", '{"choices":'),
        (False, "text/event-stream", "data: {}\n\n"),
        (True, "application/json", json.dumps(OK)),
        (True, "text/html", "<html><body>\n\nhello</body>"),
        (True, "text/plain", "hello"),
        (True, "text/event-stream", ""),
    ],
)
def test_an_invalid_answer_is_malformed(
    server: responses.RequestsMock, upstream: HttpUpstream, stream: bool, content_type: str, body: str
) -> None:
    server.post(URL, body=body, content_type=content_type)
    assert failure(upstream, make_call(stream=stream)).status == 502


def test_request_headers_are_built_and_never_copied(
    server: responses.RequestsMock, upstream: HttpUpstream
) -> None:
    server.post(URL, json=OK)
    ask(upstream, make_call(temperature=0.5, odd={"deep": [1.0, None]}))
    request = server.calls[0].request
    assert {name: value for name, value in request.headers.items() if name != "User-Agent"} == {
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",
        "Accept": "application/json",
        "Authorization": f"Bearer {UPSTREAM_KEY}",
        "x-request-id": "req-1",
        "x-trace-id": "trace-1",
        "traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-00",
        "Content-Length": str(len(request.body or b"")),
    }
    assert json.loads(request.body or b"") == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hello"}],
        "temperature": 0.5,
        "odd": {"deep": [1.0, None]},
    }


@pytest.mark.parametrize("asks", [True, False])
def test_usage_is_requested_from_upstreams_that_support_it(
    server: responses.RequestsMock, upstream: HttpUpstream, asks: bool
) -> None:
    said = sse(chunk("a"), chunk(finish="stop"), {"choices": [], "usage": {"prompt_tokens": 1}})
    server.post(URL, body=said, content_type="text/event-stream")
    options = StreamOptions("llama", "http://llama.test/v1") if asks else None
    asked = HttpUpstream("llama", "http://llama.test/v1", None, upstream._http, Timeouts(), options)
    seen = ask(asked, make_call(stream=True))
    assert (b"stream_options" in (server.calls[0].request.body or b"")) is asks
    assert (seen == said) is not asks


def test_without_a_key_no_credential_is_sent(server: responses.RequestsMock, upstream: HttpUpstream) -> None:
    server.post(URL, json=OK)
    ask(HttpUpstream("llama", "http://llama.test/v1", None, upstream._http, Timeouts()))
    assert "Authorization" not in server.calls[0].request.headers


def test_the_upstream_reads_the_model_that_was_routed(
    server: responses.RequestsMock, upstream: HttpUpstream
) -> None:
    server.post(URL, json=OK)
    ask(upstream, make_call("asked").asking("served"))
    assert json.loads(server.calls[0].request.body or b"")["model"] == "served"


def test_no_cookie_passes_from_one_call_to_another(
    server: responses.RequestsMock, upstream: HttpUpstream
) -> None:
    server.post(URL, json=OK, headers={"Set-Cookie": "session=of-another"})
    ask(upstream)
    ask(upstream)
    assert "Cookie" not in server.calls[1].request.headers


def test_netrc_and_proxies_are_not_read(
    server: responses.RequestsMock, upstream: HttpUpstream, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine llama.test login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://evil.test:1")
    server.post(URL, json=OK)
    ask(upstream)
    assert server.calls[0].request.headers["Authorization"] == f"Bearer {UPSTREAM_KEY}"


def test_a_stream_passes_unchanged(server: responses.RequestsMock, upstream: HttpUpstream) -> None:
    said = sse(chunk("a"), chunk(finish="stop"))
    server.post(URL, body=said, content_type="text/event-stream; charset=utf-8")
    assert ask(upstream, make_call(stream=True)) == said
    assert server.calls[0].request.headers["Accept"] == "text/event-stream"


def test_a_body_passes_unchanged(server: responses.RequestsMock, upstream: HttpUpstream) -> None:
    server.post(URL, body='{"choices": [], "odd":  1.0}', content_type="application/json")
    assert ask(upstream) == b'{"choices": [], "odd":  1.0}'


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e9"}, 86400.0),
        ({"retry-after": "later"}, None),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:30 GMT"}, 20.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:01 GMT"}, 0.0),
        ({"retry-after": "Thu, 99 Foo 1970"}, None),
    ],
)
def test_retry_after_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=10.0) == seconds


@pytest.mark.parametrize("status", [200, 201, 202, 206])
@pytest.mark.parametrize("kind", [None, "application/json", "text/plain", "text/event-stream"])
def test_a_good_body_is_an_answer_whatever_its_label(
    server: responses.RequestsMock, upstream: HttpUpstream, status: int, kind: str | None
) -> None:
    server.post(URL, status=status, body=json.dumps(OK), content_type=kind)
    assert ask(upstream) == json.dumps(OK).encode()


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize(
    "kind", [None, "text/event-stream", "text/plain; charset=utf-8", "text/html", "application/json"]
)
def test_good_events_are_an_answer_whatever_their_label(
    server: responses.RequestsMock, upstream: HttpUpstream, status: int, kind: str | None
) -> None:
    said = sse(chunk("a"), chunk(finish="stop"))
    server.post(URL, status=status, body=said, content_type=kind)
    assert ask(upstream, make_call(stream=True)) == said


@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("identity, gzip", gzip.compress),
        ("gzip, gzip", lambda data: gzip.compress(gzip.compress(data))),
        ("gzip", bytes),
        ("", bytes),
        ("identity", bytes),
        ("utf-8", bytes),
    ],
)
def test_a_compressed_answer_is_unpacked(
    server: responses.RequestsMock, upstream: HttpUpstream, coding: str, pack: Callable[[bytes], bytes]
) -> None:
    said = sse(chunk("a"), chunk(finish="stop"))
    head = {"Content-Encoding": coding}
    server.post(URL, body=pack(json.dumps(OK).encode()), headers=head)
    assert ask(upstream) == json.dumps(OK).encode()
    server.replace(responses.POST, URL, body=pack(said), headers=head, content_type="text/event-stream")
    assert ask(upstream, make_call(stream=True)) == said
    server.replace(responses.POST, URL, status=400, body=pack(b'{"error":{"message":"M"}}'), headers=head)
    assert envelope(failure(upstream))["error"]["message"] == "M"


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("br", b"x"),
        ("zstd", b"x"),
        ("gzip", gzip.compress(b"{}" * 999, mtime=0)[:-9]),
        ("gzip", b"\x1f\x8bxxxxxxxxx"),
    ],
)
def test_an_answer_that_cannot_be_decompressed_is_malformed(
    server: responses.RequestsMock, upstream: HttpUpstream, coding: str, body: bytes
) -> None:
    server.post(URL, body=body, headers={"Content-Encoding": coding})
    assert failure(upstream).status == 502


def test_the_decompressed_size_is_bounded(server: responses.RequestsMock, upstream: HttpUpstream) -> None:
    server.post(URL, body=gzip.compress(b" " * (33 << 20)), headers={"Content-Encoding": "gzip"})
    assert "more than" in failure(upstream).message


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, br"])
def test_an_error_in_an_unknown_coding_is_judged_by_its_status(
    server: responses.RequestsMock, upstream: HttpUpstream, coding: str
) -> None:
    headers = {"Content-Encoding": coding, "Retry-After": "7"}
    server.post(URL, status=429, body=b"\x0b\x02\x80", headers=headers)
    error = failure(upstream)
    assert isinstance(error, UpstreamThrottled)
    assert (error.retry_after, error.answered) == (7.0, 429)
