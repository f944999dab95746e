"""Tests what the doctor finds on the way between callers and the gateway."""

from __future__ import annotations

import pytest

from flask_gateway.cli.doctor import network_path
from flask_gateway.cli.doctor.finding import Level
from flask_gateway.cli.doctor.probe_client import ProbeClient, ProbeResponse

OK, WARN, FAIL = Level.OK, Level.WARN, Level.FAIL


def answer(status: int = 200, body: bytes = b"", arrivals: tuple[float, ...] = ()) -> ProbeResponse:
    return ProbeResponse(status, {}, body, arrivals)


REFUSED = answer(413, b'{"error":{"message":"m","code":"request_too_large"}}')


# ---------------------------------------------------------------- the way


@pytest.mark.parametrize(
    ("arrivals", "level"),
    [
        pytest.param(tuple(0.1 + 0.05 * n for n in range(20)), OK, id="one by one"),
        pytest.param(tuple(3 + 0.05 * n for n in range(20)), OK, id="one by one, after a while"),
        pytest.param((0.1, 0.15, 0.4, 0.45, 0.5, 0.7, 0.71, 0.9), OK, id="irregular"),
        pytest.param((1.05,) * 20, FAIL, id="at once, at the end"),
        pytest.param((1.0,) * 10 + (1.05,) * 10, FAIL, id="almost at once"),
        pytest.param((0.2,) * 8 + (0.6,) * 8 + (1.0,) * 8, WARN, id="in groups"),
        pytest.param(tuple(0.01 * n for n in range(20)), WARN, id="too quick"),
        pytest.param((0.5, 1.0, 1.5), WARN, id="too few"),
        pytest.param((), WARN, id="none"),
    ],
)
def test_buffering(arrivals: tuple[float, ...], level: Level) -> None:
    assert network_path.buffering(answer(arrivals=arrivals)).level is level


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ('{"data":[{"id":"a","owned_by":"b"},{"id":"mock","owned_by":"mock"}]}', "mock"),
        ('{"data":[{"id":"mock","owned_by":"openai"}]}', None),
        ('{"data":[]}', None),
        ('{"data":[1]}', None),
        ("<html>", None),
    ],
)
def test_only_a_listed_mock_is_asked_without_being_named(body: str, name: str | None) -> None:
    assert network_path.free_model(answer(body=body.encode())) == name


def test_a_stream_that_is_refused_says_nothing_about_buffering() -> None:
    assert network_path.buffering(answer(401, arrivals=(1.05,) * 20)).level is WARN


def test_a_stream_that_is_compressed() -> None:
    finding = network_path.buffering(ProbeResponse(200, {"content-encoding": "gzip"}, b"", ()))
    assert (finding.level, finding.remedy) == (WARN, "gzip off;")


@pytest.mark.parametrize(
    ("fits", "over", "level", "said"),
    [
        (None, REFUSED, OK, "all agree on 1000 bytes"),
        (REFUSED, REFUSED, FAIL, "1000 bytes are refused"),
        (None, None, WARN, "accepts more"),
        (None, answer(400), WARN, "accepts more"),
        (answer(401), answer(401), WARN, "answered with 401"),
        (None, answer(413, b"<html>"), WARN, "envelope"),
        (None, answer(413, b'{"error":"large"}'), WARN, "envelope"),
    ],
)
def test_body_size(fits: ProbeResponse | None, over: ProbeResponse | None, level: Level, said: str) -> None:
    finding = network_path.body_size(fits, over, 1000)
    assert (finding.level, said in finding.what) == (level, True), finding


@pytest.mark.parametrize(
    ("status", "local", "level"),
    [(401, False, OK), (401, True, OK), (200, True, WARN), (200, False, FAIL), (404, False, WARN)],
)
def test_the_published_key(status: int, local: bool, level: Level) -> None:
    assert network_path.published_key(status, local=local).level is level


@pytest.mark.parametrize(
    ("sharing", "local", "level"),
    [
        ("own", False, Level.OK),
        ("machine", True, Level.OK),
        ("machine", False, Level.WARN),
        ("proxy", False, Level.WARN),
        ("unknown", False, Level.WARN),
        (None, True, Level.WARN),
    ],
)
def test_addresses(sharing: str | None, local: bool, level: Level) -> None:
    assert network_path.addresses(sharing, local=local).level is level


@pytest.mark.parametrize(
    ("status", "local", "level"), [(404, False, OK), (401, False, OK), (200, True, OK), (200, False, FAIL)]
)
def test_metrics(status: int, local: bool, level: Level) -> None:
    assert network_path.metrics(status, local=local).level is level


@pytest.mark.parametrize(
    ("date", "level"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", OK),
        ("Sun, 06 Nov 1994 08:49:36 GMT", OK),
        ("Sun, 06 Nov 1994 08:49:30 GMT", WARN),
        ("yesterday", WARN),
        (None, WARN),
    ],
)
def test_clocks(date: str | None, level: Level) -> None:
    assert network_path.clocks(date, 784111777.0).level is level


def test_connections() -> None:
    assert network_path.connections(kept=True, secure=True).level is OK
    assert network_path.connections(kept=False, secure=True).level is WARN
    assert network_path.connections(kept=False, secure=False).level is WARN
    assert network_path.behind("close").level is OK
    assert network_path.behind("keep-alive").level is OK
    assert network_path.behind(None).level is WARN


def test_health() -> None:
    assert network_path.health(answer(200, b'{"status":"ok"}')).level is OK
    assert network_path.health(answer(200, b"<html>Welcome to nginx!")).level is FAIL
    assert network_path.health(answer(503)).level is FAIL


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://localhost", True),
        ("http://[::1]:1", True),
        ("https://gateway.example", False),
        ("http://10.0.0.1", False),
    ],
)
def test_local_urls(url: str, local: bool) -> None:
    assert ProbeClient(url).local is local
