"""Plays every case of ``kit/smuggling.py``, directly and through nginx: no request hides in another."""

from __future__ import annotations

import re
import selectors
import socket
import time
from typing import NamedTuple

import pytest
from kit.gateways import KEY
from kit.nginx import Nginx
from kit.servers import Gateway
from kit.smuggling import CASES, Case, Verdict, fill
from kit.waiting import until

pytestmark = pytest.mark.live

#: The case is over after so many seconds without a byte.
QUIET = 0.5
#: Concurrent connections: half of the capacity of the gateway's two workers.
AT_ONCE = 8
#: A separate address, so that nginx's limits hit no other test.
SOURCE = ("127.0.0.7", 0)


class Played(NamedTuple):
    """The result of a case: the responses, and how often the application saw each request."""

    statuses: list[int]
    first: int
    canary: int


def play(port: int, cases: list[Case], mark: str) -> dict[str, bytes]:
    """Send all cases concurrently, and collect the responses until no more bytes arrive."""
    answers = {case.name: b"" for case in cases}
    with selectors.DefaultSelector() as selector:
        for case in cases:
            sock = socket.create_connection(("127.0.0.1", port), 10, SOURCE)
            sock.sendall(fill(case.sent, KEY.encode(), mark + case.name))
            selector.register(sock, selectors.EVENT_READ, case.name)
        while selector.get_map() and (ready := selector.select(QUIET)):
            for key, _ in ready:
                data = receive(key.fileobj)
                answers[key.data] += data
                if not data:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
        for key in [*selector.get_map().values()]:
            key.fileobj.close()
    return answers


def receive(sock: socket.socket) -> bytes:
    try:
        return sock.recv(65536)
    except ConnectionResetError:
        return b""


@pytest.fixture(scope="module", params=["straight", "nginx"])
def played(request: pytest.FixtureRequest, gateway: Gateway, nginx: Nginx) -> dict[str, Played]:
    mark, port = {"straight": ("s-", gateway.port), "nginx": ("n-", nginx.port)}[request.param]
    answers: dict[str, bytes] = {}
    for start in range(0, len(CASES), AT_ONCE):
        answers |= play(port, [*CASES[start : start + AT_ONCE]], mark)
    # By now the workers have logged every request that they have read.
    last = gateway.ask("GET", "/v1/models").headers["x-request-id"]
    assert until(lambda: last in gateway.stderr)
    time.sleep(QUIET)
    log = gateway.stderr
    return {case.name: judged(case.name, answers[case.name], log, mark) for case in CASES}


def judged(name: str, answer: bytes, log: str, mark: str) -> Played:
    first, canary = fill(b"FIRST CANARY", b"", mark + name).decode().split()
    statuses = [int(status) for status in re.findall(rb"HTTP/1\.\d (\d{3}) ", answer)]
    return Played([one for one in statuses if one != 100], log.count(f'"{first}"'), log.count(canary))


def test_there_are_enough_cases() -> None:
    names = [case.name for case in CASES]
    assert len({*names}) == len(names) >= 60


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_case_is_one_request_or_none(played: dict[str, Played], case: Case) -> None:
    seen = played[case.name]
    assert seen.canary == 0, seen
    assert seen.first <= 1, seen
    assert len(seen.statuses) <= 1, seen
    if case.verdict is Verdict.ANSWERED:
        assert (seen.statuses, seen.first) == ([200], 1), seen
    else:
        assert not [status for status in seen.statuses if status < 400], seen
