"""Starts a scripted upstream and gateways, each in its own processes, for the live tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path

import pytest
from kit.gateways import KEY, UNLIMITED, UPSTREAM_KEY, StartGateway
from kit.nginx import Nginx, without_rates
from kit.servers import Gateway, Upstream, free_port

#: Names under which the one scripted upstream is reached, so that what a test does to the state kept of
#: an upstream (a pause that was asked for, a breaker that opened) touches no other test.
ALIASES = tuple(f"alias{number}" for number in range(120))


@pytest.fixture(scope="session")
def scripted() -> Iterator[Upstream]:
    process = Upstream()
    yield process
    process.stop()


@pytest.fixture(autouse=True)
def _scripts_end_with_the_test(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "scripted" in request.fixturenames:
        scripted: Upstream = request.getfixturevalue("scripted")
        scripted.forget_script()


@pytest.fixture
def upstream(scripted: Upstream) -> Upstream:
    """The scripted upstream, with its memory cleared."""
    scripted.reset()
    return scripted


@contextmanager
def gateways_in(folder: Path) -> Iterator[StartGateway]:
    """Start gateways: ``start(GATEWAY_…="…")``. All are stopped at the end."""
    started: list[Gateway] = []

    def start(key: str = KEY, options: tuple[str, ...] = (), **env: str) -> Gateway:
        keys = {} if "GATEWAY_CONFIG" in env else {"GATEWAY_API_KEYS": key}
        started.append(Gateway(folder, key, {**keys, **env}, options=options))
        return started[-1]

    with ExitStack() as stack:  # all of them are stopped, even if one of them does not end well
        yield start
        for gateway in started:
            gateway.terminate()
            stack.callback(gateway.stop)


@pytest.fixture(scope="module")
def start_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartGateway]:
    """Start one more gateway. It is stopped with the file of tests: a hundred idle ones would take half a
    core."""
    with gateways_in(tmp_path_factory.mktemp("gateways")) as start:
        yield start


@pytest.fixture(scope="session")
def start_shared_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartGateway]:
    """Start a gateway for many files of tests."""
    with gateways_in(tmp_path_factory.mktemp("gateways")) as start:
        yield start


@pytest.fixture(scope="session")
def gateway(start_shared_gateway: StartGateway, scripted: Upstream) -> Gateway:
    """A gateway for tests that need no special settings: no limits, and no breaker opens."""
    return start_shared_gateway(**ordinary(scripted))


@pytest.fixture(scope="session")
def plain_gateway(start_shared_gateway: StartGateway, scripted: Upstream) -> Gateway:
    """The same under gunicorn's own worker, which has no relay: each stream holds a thread."""
    options = ("--worker-class", "gthread")
    return start_shared_gateway(options=options, GATEWAY_WORKERS="1", **ordinary(scripted))


def ordinary(scripted: Upstream) -> dict[str, str]:
    aliases = ";".join(f"{name}={scripted.url}" for name in ALIASES)
    dead = f"http://127.0.0.1:{free_port()}"
    return {
        "GATEWAY_UPSTREAMS": f"scripted={scripted.url};mock=mock://local;dead={dead};{aliases}",
        "GATEWAY_DEFAULT_UPSTREAM": "scripted",
        "GATEWAY_UPSTREAM_SCRIPTED_API_KEY": UPSTREAM_KEY,
        "GATEWAY_RATE_LIMIT_PER_MINUTE": UNLIMITED,
        "GATEWAY_FAILED_KEYS_PER_MINUTE": UNLIMITED,
        "GATEWAY_CIRCUIT_BREAKER_MAX_FAILURES": UNLIMITED,
        "GATEWAY_REQUEST_TIMEOUT_SECONDS": "1",
        "GATEWAY_ANSWER_TIMEOUT_SECONDS": "1",
        "GATEWAY_MAX_BODY_BYTES": "262144",
    }


@pytest.fixture(scope="session")
def nginx(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """The shipped nginx site in front of ``gateway``."""
    server = Nginx(tmp_path_factory.mktemp("nginx"), f"127.0.0.1:{gateway.port}")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def unlimited_nginx(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """The same without nginx's limits on requests a second."""
    behind = f"127.0.0.1:{gateway.port}"
    server = Nginx(tmp_path_factory.mktemp("nginx"), behind, without_rates)
    yield server
    server.stop()


@pytest.fixture(params=["straight", "nginx"])
def port(request: pytest.FixtureRequest, gateway: Gateway) -> int:
    """The gateway's port: directly, and through nginx."""
    if request.param == "straight":
        return gateway.port
    nginx: Nginx = request.getfixturevalue("unlimited_nginx")
    return nginx.port


@pytest.fixture(scope="session")
def alias() -> Callable[[], str]:
    """An alias of the scripted upstream that no other test uses."""
    return iter(ALIASES).__next__


#: The keys of the strict gateway: name, requests a minute, models.
STRICT_KEYS = {
    "free": (0, None),
    "narrow": (0, ["mock", "scripted"]),
    **{f"limited{number}": (10, None) for number in range(4)},
}


@pytest.fixture(scope="session")
def strict(
    start_shared_gateway: StartGateway, scripted: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Gateway:
    """A gateway with a settings file: breakers that open and close quickly, keys with limits and models."""
    lines = ["circuit_breaker_max_failures = 3", "circuit_breaker_reset_seconds = 1"]
    lines += ["request_timeout_seconds = 2", "answer_timeout_seconds = 2", 'default_upstream = "scripted"']
    lines += ["[upstreams.mock]", 'url = "mock://local"']
    for name in ("scripted", *ALIASES):
        lines += [f"[upstreams.{name}]", f'url = "{scripted.url}"']
    lines += ["[models.fast]", 'upstream = "scripted"', 'model = "ok,tokens=1"']
    for name, (limit, models) in STRICT_KEYS.items():
        digest = sha256(f"key-{name}".encode()).hexdigest()
        lines += [f"[keys.{name}]", f'sha256 = "{digest}"', f"rate_limit_per_minute = {limit}"]
        lines += [f"models = {models}"] if models else []
    file: Path = tmp_path_factory.mktemp("config") / "gateway.toml"
    file.write_text("\n".join(lines))
    file.chmod(0o600)
    return start_shared_gateway("key-free", GATEWAY_CONFIG=str(file))


@pytest.fixture(scope="session")
def target(start_shared_gateway: StartGateway, scripted: Upstream) -> Gateway:
    """The gateway for the attacks: default settings, with rate limits that no attack reaches.

    Its upstreams ``one0``, ``one1``, … all lead to the scripted upstream.
    """
    upstreams = ";".join(f"one{number}={scripted.url}" for number in range(128))
    return start_shared_gateway(
        GATEWAY_UPSTREAMS=upstreams,
        GATEWAY_DEFAULT_UPSTREAM="one0",
        GATEWAY_UPSTREAM_ONE0_API_KEY=UPSTREAM_KEY,
        GATEWAY_RATE_LIMIT_PER_MINUTE=UNLIMITED,
        GATEWAY_CIRCUIT_BREAKER_MAX_FAILURES=UNLIMITED,
        GATEWAY_REQUEST_TIMEOUT_SECONDS="2",
        GATEWAY_ANSWER_TIMEOUT_SECONDS="2",
    )


@pytest.fixture(scope="session")
def victim() -> Callable[[], str]:
    """An alias of the scripted upstream at ``target`` that no other test uses."""
    return iter([f"one{number}" for number in range(1, 128)]).__next__
