"""Tests that the socket helpers behave like Python's methods: the same bytes, errors and timeouts."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from flask_gateway.reactor import socket_io
from flask_gateway.reactor.socket_io import (
    SHORT,
    close_at_once,
    has_unread,
    is_quiet,
    receive,
    receive_at_once,
    send_all,
    send_at_once,
    wait_at_most,
)

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=["by the C library", "by Python alone"])
def pair(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    """Two ends of a TCP connection, and the functions under test."""
    if request.param == "by Python alone":
        for name in ("_send", "_recv", "_close"):
            assert getattr(socket_io, name) is not None
            monkeypatch.setattr(socket_io, name, None)
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as ours,
        listener.accept()[0] as theirs,
    ):
        yield ours, theirs


def wait_for(sock: socket.socket) -> None:
    sock.settimeout(10)
    sock.recv(1, socket.MSG_PEEK)
    sock.settimeout(None)


def test_silence_is_a_timeout_and_not_the_end_of_the_answer(pair: Pair) -> None:
    ours, _ = pair
    for seconds in (0.02, 0.0000001):
        wait_at_most(ours, seconds)
        with pytest.raises(TimeoutError):
            receive(ours, 10)


def test_bytes_and_the_end_arrive(pair: Pair) -> None:
    ours, theirs = pair
    wait_at_most(ours, 1.5)
    theirs.sendall(b"hello")
    assert receive(ours, 10) == b"hello"
    theirs.close()
    assert receive(ours, 10) == b""


def test_a_socket_blocks_again_after_a_call_that_did_not(pair: Pair) -> None:
    ours, theirs = pair
    ours.setblocking(False)
    wait_at_most(ours, 5)
    threading.Timer(0.02, theirs.sendall, [b"late"]).start()
    assert receive(ours, 10) == b"late"


def test_received_bytes_are_returned_at_once_without_blocking(pair: Pair) -> None:
    ours, theirs = pair
    assert receive_at_once(ours, 10) is None
    theirs.sendall(b"x")
    wait_for(ours)
    assert receive_at_once(ours, 10) == b"x"
    theirs.close()
    wait_for(ours)
    assert receive_at_once(ours, 10) == b""


def test_all_is_sent_to_a_peer_that_reads_slowly(pair: Pair) -> None:
    ours, theirs = pair
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    data, seen = bytes(range(256)) * 20_000, bytearray()

    def read() -> None:
        while len(seen) < len(data):
            seen.extend(theirs.recv(50_000))

    reader = threading.Thread(target=read)
    reader.start()
    send_all(ours, data, 10)
    reader.join(10)
    assert seen == data


def test_sending_to_a_peer_that_does_not_read_times_out(pair: Pair) -> None:
    ours, _ = pair
    with pytest.raises(TimeoutError):
        send_all(ours, bytes(50_000_000), 0.05)


def test_a_lost_peer_is_an_error(pair: Pair) -> None:
    ours, theirs = pair
    theirs.close()

    def send() -> None:
        for _ in range(100):
            send_all(ours, bytes(100_000), 1)

    with pytest.raises(OSError, match=r"reset|pipe"):
        send()


def test_send_at_once_stops_when_the_buffer_is_full(pair: Pair) -> None:
    ours, theirs = pair
    sent: list[int] = []
    while not sent or sent[-1]:
        sent.append(send_at_once(ours, bytes(SHORT)))
    assert sent[0]
    theirs.settimeout(10)
    ours.shutdown(socket.SHUT_WR)
    seen = 0
    while data := theirs.recv(1 << 20):
        seen += len(data)
    assert seen == sum(sent)


def test_received_bytes_never_mix_with_earlier_ones_or_other_sockets(pair: Pair) -> None:
    ours, theirs = pair
    seen: list[bytes | None] = []
    for said in (b"long" * 1000, b"short", b"x" * (SHORT + 5)):
        theirs.sendall(said)
        wait_for(ours)
        while (came := receive_at_once(ours, SHORT)) is not None:
            seen.append(came)
        assert b"".join(filter(None, seen)) == said
        seen.clear()


def test_sending_to_a_lost_peer_is_an_error_and_no_signal(pair: Pair) -> None:
    ours, theirs = pair
    theirs.close()

    def send() -> None:
        for _ in range(100):
            send_at_once(ours, b"x" * 1000)

    with pytest.raises(OSError, match=r"reset|pipe"):
        send()
    ours.close()
    with pytest.raises(OSError, match="descriptor"):
        send_at_once(ours, b"x")


def test_a_socket_is_closed_once_after_all_was_sent(pair: Pair) -> None:
    ours, theirs = pair
    send_all(ours, b"the end")
    close_at_once(ours)
    assert ours.fileno() == -1
    theirs.settimeout(10)
    assert theirs.recv(100) == b"the end"
    assert theirs.recv(100) == b""
    with socket.socket() as other:  # has its number, perhaps
        close_at_once(ours)
        assert other.getsockname()


def test_a_connection_is_quiet_until_data_arrives(pair: Pair) -> None:
    ours, theirs = pair
    assert is_quiet(ours)
    assert not has_unread(ours)
    theirs.sendall(b"x")
    wait_for(ours)
    assert not is_quiet(ours)
    assert has_unread(ours)
    ours.recv(1)
    assert is_quiet(ours)
    assert not has_unread(ours)


@pytest.mark.parametrize("rudely", [False, True])
def test_a_closed_connection_is_not_quiet(pair: Pair, rudely: bool) -> None:
    ours, theirs = pair
    if rudely:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    theirs.close()
    ours.settimeout(10)
    try:
        assert ours.recv(1, socket.MSG_PEEK) == b""
    except ConnectionResetError:
        assert rudely
    assert not is_quiet(ours)


def test_without_kernel_information_the_worst_is_assumed() -> None:
    """A socket of another kind, as on a system without these socket options."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        assert not is_quiet(sock)
    closed = socket.socket()
    closed.close()
    assert has_unread(closed)
    assert not is_quiet(closed)


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="there is no epoll on this platform")
def test_the_events_of_a_descriptor_change_at_once() -> None:
    ours, peer = socket.socketpair()
    with ours, peer, closing(select.epoll()) as epoll:
        assert not socket_io.modify_at_once(epoll.fileno(), ours.fileno(), select.EPOLLIN)
        epoll.register(ours.fileno(), 0)
        peer.sendall(b"x")
        assert epoll.poll(0) == []
        assert socket_io.modify_at_once(epoll.fileno(), ours.fileno(), select.EPOLLIN | select.EPOLLONESHOT)
        assert epoll.poll(0) == [(ours.fileno(), select.EPOLLIN)]
        assert epoll.poll(0) == []
