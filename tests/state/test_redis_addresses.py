"""Redis behind Sentinels, and over TLS: wrong URLs and certificates first."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kit.needs import need
from kit.stores import RedisServer, Take, free_port, increment
from kit.tls import make_certificate
from kit.waiting import until
from redis import Redis
from redis.exceptions import RedisError
from redis.sentinel import SentinelConnectionPool

from flask_gateway.state import StoreError
from flask_gateway.state.redis import RedisStore
from flask_gateway.state.redis_addresses import pool_of

SLOW = "socket_timeout=10&socket_connect_timeout=10"


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://a:1",
        "redis+sentinel:///name/0",
        "redis+sentinel://a:x/name/0",
        "redis+sentinel://a,,b/n",
    ],
)
def test_a_url_that_is_wrong_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        pool_of(url, {})


def test_the_parts_of_a_url_reach_the_client() -> None:
    pool: Any = pool_of(
        "rediss+sentinel://user:p%40ss@a,[::1]:7/main/3?ssl_ca_certs=/ca.pem&socket_timeout=2",
        {"socket_timeout": 0.05, "max_connections": 512},
    )
    assert isinstance(pool, SentinelConnectionPool)
    kept = pool.connection_kwargs
    assert (kept["username"], kept["password"], kept["db"], kept["socket_timeout"]) == (
        "user",
        "p@ss",
        3,
        2.0,
    )
    assert (pool.service_name, pool.max_connections, kept["ssl_ca_certs"]) == ("main", 512, "/ca.pem")
    asked = [one.connection_pool.connection_kwargs for one in pool.sentinel_manager.sentinels]
    assert [(one["host"], one["port"], one.get("password")) for one in asked] == [
        ("a", 26379, None),
        ("::1", 7, None),
    ]


class Sentinel:
    """A redis-sentinel that watches a primary, and decides alone that it is down."""

    def __init__(self, folder: Path, primary: int, *options: str) -> None:
        need("redis-server")
        self.port = free_port()
        config = folder / "sentinel.conf"
        config.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor main 127.0.0.1 {primary} 1\n"
            "sentinel down-after-milliseconds main 300\nsentinel failover-timeout main 1000\n"
        )
        self._process = subprocess.Popen(
            ["redis-server", str(config), "--sentinel", *options], stdout=subprocess.DEVNULL
        )
        assert until(lambda: self.ask("SENTINEL", "REPLICAS", "main") is not None)

    def ask(self, *words: str) -> Any:
        try:
            with Redis(port=self.port) as client:
                return client.execute_command(*words)
        except RedisError:
            return None

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[RedisServer, RedisServer, Sentinel]]:
    places = ("--dir", str(tmp_path))
    follows = ("--replicaof", "127.0.0.1 {}")
    with (
        RedisServer(*places) as primary,
        RedisServer(*places, follows[0], follows[1].format(primary.port)) as replica,
    ):
        assert until(lambda: replica.client().info("replication")["master_link_status"] == "up")
        sentinel = Sentinel(tmp_path, primary.port)
        assert until(lambda: sentinel.ask("SENTINEL", "REPLICAS", "main"))
        yield primary, replica, sentinel
        sentinel.stop()


@pytest.mark.soak
def test_after_a_failover_the_new_primary_is_used(pair: tuple[RedisServer, RedisServer, Sentinel]) -> None:
    primary, replica, sentinel = pair
    store = RedisStore(f"redis+sentinel://127.0.0.1:{sentinel.port}/main/0?{SLOW}")
    assert [store.update("key", increment, 60) for _ in range(3)] == [1, 2, 3]
    assert until(lambda: replica.client().dbsize() > 0)
    primary.kill()

    def counts() -> int:
        try:
            return store.update("key", increment, 60)
        except StoreError:
            return 0

    assert until(lambda: counts() == 4, 20)
    assert replica.client().info("replication")["role"] == "master"
    store.close()


def tls_of(certificate: Path, port: int) -> list[str]:
    """The options of a redis-server that shows a certificate at another port."""
    files = ("--tls-cert-file", "--tls-key-file", "--tls-ca-cert-file")
    named = [part for name in files for part in (name, str(certificate))]
    return ["--tls-port", str(port), *named, "--tls-auth-clients", "no"]


def test_redis_over_tls_by_its_url(tmp_path: Path) -> None:
    port, certificate = free_port(), make_certificate(tmp_path)
    with RedisServer(*tls_of(certificate, port)):
        trusted = RedisStore(f"rediss://127.0.0.1:{port}/0?{SLOW}&ssl_ca_certs={certificate}")
        assert trusted.update("key", Take(3), 60) == (True, 1)
        strange = RedisStore(f"rediss://127.0.0.1:{port}/0?{SLOW}")
        with pytest.raises(StoreError):
            strange.read("key")
        for store in (trusted, strange):
            store.close()


def test_sentinel_and_redis_over_tls_by_their_url(tmp_path: Path) -> None:
    port, asked, certificate = free_port(), free_port(), make_certificate(tmp_path)
    with RedisServer(*tls_of(certificate, port)):
        sentinel = Sentinel(tmp_path, port, *tls_of(certificate, asked), "--tls-replication", "yes")
        url = f"rediss+sentinel://127.0.0.1:{asked}/main/0?{SLOW}&ssl_ca_certs={certificate}"
        store = RedisStore(url)
        assert until(lambda: sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"))
        assert until(lambda: store.update("key", Take(3), 60) == (True, 1))
        store.close()
        sentinel.stop()
