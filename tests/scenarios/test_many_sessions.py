"""Many WebSocket sessions in one worker: no thread, little memory for each, little CPU for a frame."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from kit.idle_sessions import IdleUpstream, open_session
from kit.process_memory import pss_of
from kit.servers import Gateway

KEY = "sk-many-0123456789abcdef"
SETTINGS = """
rate_limit_per_minute = 0
max_streams = 4000
[keys.many]
key_env = "KEY_MANY"
[upstreams.live]
url = "{url}"
speaks = ["realtime"]
[models.voice]
upstream = "live"
"""
#: The most memory of an idle session, bytes, and the most CPU of a frame of 64 KB, seconds.
MOST_MEMORY, MOST_CPU = 60 * 1024, 0.001


@pytest.fixture(scope="module")
def upstream() -> Iterator[IdleUpstream]:
    upstream = IdleUpstream()
    yield upstream
    upstream.stop()


@pytest.fixture(scope="module")
def gateway(upstream: IdleUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("many-sessions")
    file = folder / "gateway.toml"
    file.write_text(SETTINGS.replace("{url}", upstream.url))
    gateway = Gateway(folder, KEY, {"GATEWAY_CONFIG": str(file), "KEY_MANY": KEY, "GATEWAY_WORKERS": "1"})
    yield gateway
    gateway.stop()


def threads(worker: int) -> int:
    return len(os.listdir(f"/proc/{worker}/task"))


def cpu(worker: int) -> float:
    fields = Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def read(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += sock.recv(size - len(data))
    return data


def opened(gateway: Gateway, stack: ExitStack, count: int) -> list[socket.socket]:
    return [stack.enter_context(open_session(gateway.port, KEY, "voice")) for _ in range(count)]


def measured(gateway: Gateway, count: int) -> tuple[int, float]:
    """The threads and the bytes of so many more sessions, after some that warm the worker up."""
    (worker,) = gateway.workers
    with ExitStack() as stack:
        opened(gateway, stack, 50)
        before = threads(worker), pss_of(gateway)
        opened(gateway, stack, count)
        return threads(worker) - before[0], (pss_of(gateway) - before[1]) / count


def test_idle_sessions_hold_no_thread_and_little_memory(gateway: Gateway):
    more, memory = measured(gateway, 150)
    assert more < 10
    assert memory < MOST_MEMORY


@pytest.mark.soak
def test_a_thousand_idle_sessions(gateway: Gateway):
    more, memory = measured(gateway, 1000)
    print(f"1000 idle sessions: {more} more threads, {memory / 1024:.1f} KiB each")
    assert more < 10
    assert memory < MOST_MEMORY


@pytest.mark.soak
def test_a_frame_of_64_kb_takes_little_cpu(gateway: Gateway):
    (worker,) = gateway.workers
    payload = b'{"type":"input_audio_buffer.append","audio":"' + b"A" * 65_500 + b'"}'
    head = bytes((0x81,)) + b"\x7f" + len(payload).to_bytes(8)
    sent = head[:1] + b"\xff" + head[2:] + bytes(4) + payload
    with open_session(gateway.port, KEY, "voice") as sock:
        for frames in (50, 1000):
            before = cpu(worker)
            for _ in range(frames):
                sock.sendall(sent)
                assert read(sock, len(head + payload)) == head + payload
    # There and back: two frames are relayed.
    each = (cpu(worker) - before) / frames / 2
    print(f"a frame of 64 KB: {each * 1e6:.0f} microseconds of CPU")
    assert each < MOST_CPU
