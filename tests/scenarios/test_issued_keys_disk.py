"""Issued keys while the disk is full or read-only, and their secrets: S1 and S2 of docs/security.md again."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from kit.admins import ADMIN_KEY
from kit.calls import make_settings
from kit.gateways import StartGateway
from kit.servers import Gateway
from kit.wire import Answer, ask

from flask_gateway.auth.issued_keys import IssuedKeys
from flask_gateway.auth.key_admin import KeyAdmin
from flask_gateway.auth.key_body import NewKeyFields
from flask_gateway.auth.key_changes import Actor, KeyChanges
from flask_gateway.auth.key_store import KeyStore
from flask_gateway.model.errors import KeysUnavailable
from flask_gateway.state.memory import MemoryStore

pytestmark = pytest.mark.live
ACTOR = Actor("test", "", "")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("small") / "data"


@pytest.fixture(scope="module")
def issuing(start_gateway: StartGateway, data: Path) -> Gateway:
    data.mkdir(mode=0o700)
    file = data.parent / "gateway.toml"
    file.write_text(f'[ledger]\ndata = "{data}"\n[upstreams.mock]\nurl = "mock://local"\n')
    gateway = start_gateway(
        key="planted-file-key-of-small-disks",
        GATEWAY_CONFIG=str(file),
        GATEWAY_API_KEYS="planted-file-key-of-small-disks",
        GATEWAY_ADMIN_KEY=ADMIN_KEY,
        GATEWAY_FAILED_KEYS_PER_MINUTE="0",
        GATEWAY_RATE_LIMIT_PER_MINUTE="0",
    )
    gateway.secrets.add(ADMIN_KEY)
    return gateway


def admin(gateway: Gateway, method: str, path: str, body: Any = None) -> Answer:
    return ask(gateway.port, method, f"/admin/v1{path}", body, {"authorization": f"Bearer {ADMIN_KEY}"})


def make(gateway: Gateway) -> dict[str, Any]:
    key: dict[str, Any] = admin(gateway, "POST", "/keys", {}).json
    gateway.secrets.add(key["secret"])
    return key


def status(gateway: Gateway, secret: str) -> int:
    return ask(gateway.port, "GET", "/v1/models", headers={"authorization": f"Bearer {secret}"}).status


@pytest.fixture
def small_disk(data: Path) -> Iterator[Path]:
    """A file system of 1 MiB in place of the data directory."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", str(data)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this machine mounts nothing")
    yield data
    subprocess.run(["umount", "-l", str(data)], check=True)


def test_a_full_disk_refuses_changes_and_no_caller(small_disk: Path, issuing: Gateway) -> None:
    key = make(issuing)
    assert {status(issuing, key["secret"]) for _ in range(20)} == {200}
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    for _ in range(5):
        answer = admin(issuing, "POST", "/keys", {"note": "x" * 4000})
        assert (answer.status, answer.json["error"]["code"]) == (503, "keys_unavailable")
        assert {status(issuing, key["secret"]) for _ in range(20)} == {200}
    filler.unlink()
    assert make(issuing)["state"] == "active"
    assert admin(issuing, "POST", f"/keys/{key['id']}/disable").status == 200
    assert {status(issuing, key["secret"]) for _ in range(20)} == {401}


def test_on_a_read_only_disk_keys_are_read_and_not_changed(small_disk: Path) -> None:
    """Without a server: a file system with an open journal cannot become read-only."""
    keys, store = KeyStore(small_disk / "data"), MemoryStore()
    changes = KeyAdmin(KeyChanges(keys, store), make_settings())
    made = changes.create(ACTOR, NewKeyFields())
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(KeysUnavailable):
        changes.create(ACTOR, NewKeyFields())
    issued = IssuedKeys(keys, store, lambda ids: None, always=True)
    assert issued.find(sha256(str(made.secret).encode()).digest()) is not None
    assert issued.find(bytes(32)) is None


def test_s1_no_issued_secret_is_stored_anywhere(issuing: Gateway, data: Path) -> None:
    key = make(issuing)
    rotated = admin(issuing, "POST", f"/keys/{key['id']}/rotate").json
    issuing.secrets.add(rotated["secret"])
    assert {status(issuing, one["secret"]) for one in (key, rotated)} == {200}
    places = [file.read_bytes() for file in data.rglob("*") if file.is_file()]
    paths = ("/keys", f"/keys/{key['id']}", "/audit", "/teams")
    places += [issuing.stderr.encode(), *(admin(issuing, "GET", path).body for path in paths)]
    assert len(places) > 5
    for secret in (key["secret"], rotated["secret"], ADMIN_KEY):
        assert not [place[:100] for place in places if secret.encode() in place]


@pytest.mark.soak
def test_s2_the_time_of_a_refusal_does_not_depend_on_the_issued_key(issuing: Gateway) -> None:
    """Unknown, near a known one, and revoked keys, one after another in turns."""
    known, revoked = make(issuing), make(issuing)
    admin(issuing, "DELETE", f"/keys/{revoked['id']}")
    near = known["secret"][:-1] + "~"
    keys = {"unknown": "~" * len(near), "near": near, "revoked": revoked["secret"]}
    times: dict[str, list[float]] = {name: [] for name in keys}
    for _ in range(3000):
        for name, key in keys.items():
            begun = time.perf_counter()
            assert status(issuing, key) == 401
            times[name].append(time.perf_counter() - begun)
    middle = {name: sorted(taken)[: len(taken) * 9 // 10] for name, taken in times.items()}
    for name in ("near", "revoked"):
        one, other = middle[name], middle["unknown"]
        spread = (statistics.variance(one) / len(one) + statistics.variance(other) / len(other)) ** 0.5
        t = (statistics.mean(one) - statistics.mean(other)) / spread
        print(f"{name}: t = {t:.2f}")
        assert abs(t) < 4.5
