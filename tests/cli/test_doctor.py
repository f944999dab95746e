"""Tests the diagnoses of ``doctor``. ``scenarios/test_doctor.py`` tests how it collects the facts."""

from __future__ import annotations

import json
import socket
import ssl
from argparse import Namespace

import pytest
from kit.stores import free_port

from flask_gateway.cli.doctor import command, host, network_path
from flask_gateway.cli.doctor.command import first_key, local_url
from flask_gateway.cli.doctor.finding import Diagnosis, Level, fail, ok, warn
from flask_gateway.cli.doctor.probe_client import ProbeClient, ProbeResponse
from flask_gateway.cli.doctor.upstreams import unreachable
from flask_gateway.cli.main import main
from flask_gateway.config.load import load
from flask_gateway.config.schema import Settings

OK, WARN, FAIL = Level.OK, Level.WARN, Level.FAIL
Capture = pytest.CaptureFixture[str]


def test_a_line() -> None:
    assert str(ok("files: enough")) == "ok    files: enough"
    assert str(warn("a\nb", "c")) == "warn  a\\nb  -> c"
    assert str(fail("a", "b")).startswith("fail  a")


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
    assert network_path.connections(kept=False, secure=False).level is OK
    assert network_path.behind("close").level is OK
    assert network_path.behind("keep-alive").level is WARN
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


# ---------------------------------------------------------------- the machine

LIMITS = """Limit                     Soft Limit           Hard Limit           Units
Max processes             63432                unlimited            processes
Max open files            1024                 524288               files
Max locked memory         unlimited            unlimited            bytes
"""


def test_limits() -> None:
    assert host.soft_limit(LIMITS, "Max open files") == 1024
    assert host.soft_limit(LIMITS, "Max processes") == 63432
    assert host.soft_limit(LIMITS, "Max locked memory") is None
    assert host.hard_limit(LIMITS, "Max open files") == 524288
    assert host.hard_limit(LIMITS, "Max processes") is None


@pytest.mark.parametrize(("limit", "level"), [(1024, FAIL), (6191, FAIL), (6192, OK), (None, OK)])
def test_files(limit: int | None, level: Level) -> None:
    """A stream has three descriptors: 1024 are enough for one in six of 2000 streams."""
    assert host.files(limit, 64, "here").level is level
    assert host.files(limit and limit - 3000, 64, "here", streams=1000).level is level


@pytest.mark.parametrize(("limit", "level"), [(143, FAIL), (144, OK), (None, OK)])
def test_tasks(limit: int | None, level: Level) -> None:
    assert host.tasks(limit, 2, 64, "here").level is level


def test_state() -> None:
    assert host.shared_memory(True).level is OK
    assert host.shared_memory(False).level is FAIL
    assert host.heartbeats(True, 1 << 20).level is OK
    assert host.heartbeats(True, 0).level is FAIL
    assert host.heartbeats(True, 1 << 20, workers=3).level is FAIL
    assert host.heartbeats(False, 1 << 30).level is FAIL


def test_the_clock() -> None:
    assert host.steadiness(0.1001, 0.1).level is OK
    assert host.steadiness(3600.1, 0.1).level is WARN
    assert host.steadiness(-3600.1, 0.1).level is WARN
    assert [host.synchronised(said).level for said in ("yes", "no", None, "")] == [OK, WARN, OK, OK]


# ---------------------------------------------------------------- settings and upstreams


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (socket.gaierror(-2, "Name or service not known"), "no such name: h:1"),
        (TimeoutError(), "within 5 s"),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (ssl.SSLCertVerificationError(1, "x"), "certificate"),
    ],
)
def test_reasons_for_an_unreachable_upstream(error: OSError, said: str) -> None:
    if isinstance(error, ssl.SSLCertVerificationError):
        error.verify_message = "self-signed certificate"
    finding: Diagnosis = unreachable("upstream a", "h:1", 5.0, error)
    assert (finding.level, said in finding.what) == (FAIL, True), finding


@pytest.mark.parametrize(
    ("bind", "url"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("0.0.0.0:80", "http://127.0.0.1:80"),
        (":8000", "http://127.0.0.1:8000"),
        ("[::]:8000", "http://[::1]:8000"),
        ("unix:/run/g.sock,127.0.0.1:8001", "http://127.0.0.1:8001"),
        ("tcp://localhost:8000", "http://localhost:8000"),
        ("unix:/run/g.sock", None),
        ("", None),
    ],
)
def test_the_gateways_own_address(bind: str, url: str | None) -> None:
    assert local_url(bind) == url


def test_the_key_that_doctor_uses() -> None:
    default: Settings = load({})
    assert first_key({}, default) == "dev-key"
    assert first_key({"GATEWAY_API_KEYS": " a, b"}, None) == "a"
    assert first_key({}, None) == ""
    own = {"GATEWAY_API_KEYS": "own"}
    assert first_key({}, load(own)) == ""


@pytest.mark.parametrize("url", ["ftp://x", "gateway.example", "http//x"])
def test_an_invalid_url_is_refused(url: str, capsys: Capture) -> None:
    assert main(["doctor", url], {}) == 2
    assert capsys.readouterr().err.startswith("flask-gateway: expected a URL")


def test_another_machine_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command.network_path, "check_all", lambda caller, model, max_body: iter(()))
    asked = Namespace(url="https://llm.example.com", model=None, key="")
    found = list(command.check_all(asked, {"GATEWAY_BIND": f"127.0.0.1:{free_port()}"}, ""))
    assert [str(one).split(":")[0] for one in found] == ["ok    settings", "warn  machine"]


@pytest.mark.parametrize(
    ("page", "named"),
    [
        ({"data": [], "stream_options_refused": ["a", "b"]}, ["a", "b"]),
        ({"data": []}, []),
        ([], []),
    ],
)
def test_upstreams_that_refuse_stream_options(page: object, named: list[str]) -> None:
    found = list(network_path.stream_options(ProbeResponse(200, {}, json.dumps(page).encode())))
    assert [finding.level for finding in found] == [Level.WARN] * len(named)
    assert all(f"upstream {name}:" in finding.what for name, finding in zip(named, found, strict=True))
