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
from kit.waiting import until
from kit.wire import Answer, ask

from flask_gateway.auth import key_tables
from flask_gateway.auth.issued_keys import IssuedKeys
from flask_gateway.auth.key_admin import KeyAdmin, existing
from flask_gateway.auth.key_body import NewKeyFields
from flask_gateway.auth.key_changes import Actor, KeyChanges
from flask_gateway.auth.key_store import KeyStore, transaction
from flask_gateway.cli.main import main
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
        GATEWAY_WORKERS="1",
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


def test_s1_no_issued_secret_is_stored_anywhere(
    issuing: Gateway, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """This test comes first in the file: later tests take the ledger's disk away."""
    key = make(issuing)
    rotated = admin(issuing, "POST", f"/keys/{key['id']}/rotate").json
    issuing.secrets.add(rotated["secret"])
    assert {status(issuing, one["secret"]) for one in (key, rotated)} == {200}
    admin(issuing, "POST", "/adjustments", {"subject": f"key:{key['id']}", "amount": "-1", "note": "once"})
    environ = {"GATEWAY_CONFIG": str(data.parent / "gateway.toml")}
    assert until(lambda: main(["usage", "--csv"], environ) == 0)  # the ledger's process makes its file
    listed = []
    for argv in (
        ["ledger", "backup", str(tmp_path / "copies")],
        ["keys", "list", "--csv"],
        ["usage", "--csv"],
    ):
        assert main(argv, environ) == 0
        listed.append(capsys.readouterr().out.encode())
    copies = list((tmp_path / "copies").iterdir())
    assert {file.name for file in copies} == {"keys.db", "ledger.db"}
    places = [file.read_bytes() for file in (*data.rglob("*"), *copies) if file.is_file()]
    paths = ["/keys?with=spend", f"/keys/{key['id']}?with=spend", "/audit", "/teams", "/charges"]
    paths += ["/usage?by=key", "/usage?by=key&format=csv"]
    places += [issuing.stderr.encode(), *listed, *(admin(issuing, "GET", path).body for path in paths)]
    assert len(places) > 12
    assert until(
        lambda: f"admin at 127.0.0.1: rotate {key['id']}" in issuing.stderr
    )  # a second copy of the audit
    for secret in (key["secret"], rotated["secret"], ADMIN_KEY):
        assert not [place[:100] for place in places if secret.encode() in place]


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
    first = make(issuing)
    # The new database numbers its keys from 1 again. Workers that have read it know the next key at once.
    assert until(lambda: {status(issuing, first["secret"]) for _ in range(20)} == {200})
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
    # Busy while a file of the store, that is closed already, is still being written.
    assert until(
        lambda: subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=False).returncode == 0
    )
    with pytest.raises(KeysUnavailable):
        changes.create(ACTOR, NewKeyFields())
    issued = IssuedKeys(keys, store, lambda ids: None, always=True)
    assert issued.find(sha256(str(made.secret).encode()).digest()) is not None
    assert issued.find(bytes(32)) is None


def add_keys(data: Path, count: int) -> None:
    """Add keys to the database, a third each active, disabled and revoked. Workers notice the next change."""
    row = dict.fromkeys(("owner", "team", "note"), "") | dict.fromkeys(("tags", "limits"), "{}")
    row |= {"models": "null", "created_at": 1, "expires_at": None, "name": None}
    with KeyStore(data).writing() as db, transaction(db):
        for place in range(count):
            state = ("active", "disabled", "revoked")[place % 3]
            key_tables.add_key(db, {**row, "id": f"key_{place:012}", "state": state})
            number = existing(db, f"key_{place:012}").number
            key_tables.add_secret(db, number, os.urandom(32), "", 1)
            key_tables.add_change(db, number, ends_streams=False)


@pytest.mark.soak
def test_s2_the_time_of_a_refusal_does_not_depend_on_the_issued_key(issuing: Gateway, data: Path) -> None:
    """Unknown, near a known one, and revoked keys, one after another in turns, among 10 000 issued keys."""
    add_keys(data, 10_000)
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
    print({name: f"median {statistics.median(taken) * 1e6:.0f} us" for name, taken in times.items()})
    for name in ("near", "revoked"):
        one, other = middle[name], middle["unknown"]
        spread = (statistics.variance(one) / len(one) + statistics.variance(other) / len(other)) ** 0.5
        t = (statistics.mean(one) - statistics.mean(other)) / spread
        print(f"{name}: t = {t:.2f}")
        assert abs(t) < 4.5
