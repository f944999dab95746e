"""Tests what the doctor says about upstreams."""

from __future__ import annotations

import json
import socket
import ssl

import pytest

from flask_gateway.cli.doctor import network_path
from flask_gateway.cli.doctor.finding import Diagnosis, Level
from flask_gateway.cli.doctor.probe_client import ProbeResponse
from flask_gateway.cli.doctor.upstreams import unreachable

OK, WARN, FAIL = Level.OK, Level.WARN, Level.FAIL


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
