"""Changes the settings file while two workers serve."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from kit.gateways import StartGateway
from kit.scrape import figures
from kit.servers import Gateway, Upstream
from kit.waiting import until
from kit.wire import Answer, open_stream

pytestmark = pytest.mark.live

FREE, LIMITED, LEAVING = "free", "limited", "leaving"
RELOADED = "settings reloaded; changed: "
REFUSED = "(the change is refused, the old settings stay)"


def key(name: str) -> str:
    return f"live-key-of-{name}"


class Followed:
    """A gateway and its settings file."""

    def __init__(self, start_gateway: StartGateway, url: str, folder: Path) -> None:
        self.url = url
        self.file = folder / "gateway.toml"
        self.write(limit=0, route="one", names=(FREE, LIMITED, LEAVING))
        self.gateway: Gateway = start_gateway(key(FREE), GATEWAY_CONFIG=str(self.file), GATEWAY_THREADS="16")
        # Both workers have read the file when both report their threads.
        assert until(lambda: figures(self.gateway, "threads_limit") == {"": 32})

    def write(self, *, limit: int, route: str, names: tuple[str, ...]) -> None:
        lines = ["circuit_breaker_max_failures = 1000000"]
        for name in ("one", "two"):
            lines += [f"[upstreams.{name}]", f'url = "{self.url}"']
        lines += ["[models.fast]", f'upstream = "{route}"', 'model = "ok"']
        for name in names:
            lines += [f"[keys.{name}]", f'sha256 = "{sha256(key(name).encode()).hexdigest()}"']
            lines += [f"rate_limit_per_minute = {limit if name == LIMITED else 0}"]
        self.replace("\n".join(lines))

    def replace(self, text: str) -> None:
        new = self.file.with_suffix(".new")
        new.write_text(text)
        new.rename(self.file)

    def said(self, what: str) -> list[str]:
        return [line for line in self.gateway.stderr.splitlines() if what in line]

    def ask(self, name: str = FREE) -> Answer:
        return self.gateway.chat("fast", headers={"authorization": f"Bearer {key(name)}"})

    def everywhere(self, holds: Any, asked: int = 30) -> bool:
        """Whether the condition holds for many calls, on both workers."""
        with ThreadPoolExecutor(4) as pool:
            return all(pool.map(lambda _: holds(), range(asked)))


@pytest.fixture(scope="module")
def followed(
    start_gateway: StartGateway, scripted: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Followed:
    return Followed(start_gateway, scripted.url, tmp_path_factory.mktemp("followed"))


def test_both_workers_reload_under_load_and_no_call_fails(followed: Followed) -> None:
    gateway, over, begun = followed.gateway, threading.Event(), threading.Event()

    def keep_asking() -> set[int]:
        statuses = set()
        while not over.is_set():
            statuses.add(followed.ask().status)
        return statuses

    def read_on() -> list[str]:
        with open_stream(gateway.port, key(LEAVING), "one/ok,tokens=200,pause=0.02") as stream:
            events = stream.events()
            first = next(events)[1]
            begun.set()
            return [first, *(data for _, data in events)]

    with ThreadPoolExecutor(4) as pool:
        stream = pool.submit(read_on)
        asking = [pool.submit(keep_asking) for _ in range(3)]
        try:
            assert begun.wait(10)
            assert followed.ask(LEAVING).headers["x-gateway-upstream"] == "one"
            followed.write(limit=7, route="two", names=(FREE, LIMITED))
            written = time.monotonic()
            assert until(lambda: len(followed.said(RELOADED)) == 2, 10)
            assert time.monotonic() - written < 5.0
            assert not stream.done()
            assert followed.everywhere(lambda: followed.ask().headers["x-gateway-upstream"] == "two")
            assert followed.everywhere(lambda: followed.ask(LEAVING).status == 401, 10)
            statuses = [followed.ask(LIMITED).status for _ in range(10)]
            assert statuses == [200] * 7 + [429] * 3
            assert stream.result()[-1] == "[DONE]"
        finally:
            over.set()
        assert set().union(*(one.result() for one in asking)) == {200}
    (names,) = {line.partition(RELOADED)[2] for line in followed.said(RELOADED)}
    assert names == f"keys.{LIMITED}, keys.{LEAVING}, models.fast"
    assert figures(gateway, "config_reload_total", "result") == {"success": 2, "failure": 0}


def test_a_wrong_file_changes_nothing_even_if_workers_die(followed: Followed) -> None:
    gateway, good = followed.gateway, followed.file.read_text()
    route = followed.ask().headers["x-gateway-upstream"]
    followed.replace(good.replace(f'upstream = "{route}"', 'upstream = "three"'))
    assert until(lambda: len(followed.said(REFUSED)) == 2, 5)
    (line,) = {said[said.index("flask-gateway: ") :] for said in followed.said(REFUSED)}
    assert "models.fast.upstream='three': expected the name of an upstream" in line
    assert figures(gateway, "config_reload_total", "result")["failure"] == 2

    def same() -> bool:
        answer = followed.ask()
        return answer.status == 200 and answer.headers["x-gateway-upstream"] == route

    assert followed.everywhere(same)
    # A new worker finds an invalid file. Each logs that once.
    os.kill(killed := gateway.workers[0], signal.SIGKILL)
    assert until(lambda: len(gateway.workers) == 2 and killed not in gateway.workers)
    assert until(lambda: len(followed.said(REFUSED)) == 3)
    gateway.reload()
    assert until(lambda: len(followed.said(REFUSED)) == 5)
    assert len(followed.said("starts with the old settings")) == 3
    assert followed.everywhere(same)
    followed.replace(good)
    assert until(lambda: len(followed.said("changed: nothing")) == 2, 5)
    assert followed.everywhere(same)
    assert len(followed.said(REFUSED)) == 5
