"""Issued keys with four workers: cases 47 and 48 of keys.md, kill -9, HUP, a database that somebody holds."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from kit.admins import ADMIN_KEY
from kit.calls import make_settings
from kit.gateways import StartGateway
from kit.servers import Gateway
from kit.waiting import until
from kit.wire import ask, content, open_stream

from flask_gateway.auth.key_admin import KeyAdmin
from flask_gateway.auth.key_changes import Actor, KeyChanges
from flask_gateway.auth.key_store import KeyStore
from flask_gateway.cli.main import main
from flask_gateway.model.money import dollars
from flask_gateway.state.memory import MemoryStore

pytestmark = pytest.mark.live

#: How often each key is tried after a change.
TRIES = 300


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("issued") / "data"


@pytest.fixture(scope="module")
def issuing(start_gateway: StartGateway, data: Path) -> Gateway:
    file = data.parent / "gateway.toml"
    file.write_text(
        f'rate_limit_per_minute = 0\n[ledger]\ndata = "{data}"\n'
        '[upstreams.mock]\nurl = "mock://local?tokens=400&rate=40"\n'
        '[upstreams.brief]\nurl = "mock://local?tokens=60&rate=40"\n[keys.file]\nkey_env = "FILE_KEY"\n'
        '[prices."mock/long"]\ninput = "1"\noutput = "2"\n'
    )
    gateway = start_gateway(
        GATEWAY_CONFIG=str(file),
        FILE_KEY="planted-file-key-of-issued-keys",
        GATEWAY_ADMIN_KEY=ADMIN_KEY,
        GATEWAY_WORKERS="4",
        GATEWAY_FAILED_KEYS_PER_MINUTE="0",
    )
    gateway.secrets.add(ADMIN_KEY)
    return gateway


def admin(gateway: Gateway, method: str, path: str, body: Any = None) -> Any:
    answer = ask(gateway.port, method, f"/admin/v1{path}", body, {"authorization": f"Bearer {ADMIN_KEY}"})
    assert answer.status < 300, answer.body
    return answer.json


def make(gateway: Gateway, **fields: Any) -> dict[str, Any]:
    key: dict[str, Any] = admin(gateway, "POST", "/keys", fields)
    gateway.secrets.add(key["secret"])
    return key


def statuses(gateway: Gateway, secret: str, count: int = TRIES) -> Counter[int]:
    """The statuses of many calls, 16 at the same time, so that every worker answers some."""

    def status(_: int) -> int:
        return ask(gateway.port, "GET", "/v1/models", headers={"authorization": f"Bearer {secret}"}).status

    with ThreadPoolExecutor(16) as pool:
        return Counter(pool.map(status, range(count)))


def in_force_at_once(gateway: Gateway, tries: int) -> None:
    key = make(gateway)
    assert statuses(gateway, key["secret"], tries) == {200: tries}
    admin(gateway, "POST", f"/keys/{key['id']}/disable")
    assert statuses(gateway, key["secret"], tries) == {401: tries}
    admin(gateway, "POST", f"/keys/{key['id']}/enable")
    assert statuses(gateway, key["secret"], tries) == {200: tries}


def test_a_change_is_in_force_in_every_worker_when_its_answer_comes(issuing: Gateway) -> None:
    in_force_at_once(issuing, TRIES)


@pytest.mark.soak
def test_a_change_is_in_force_in_every_worker_1000_of_1000(issuing: Gateway) -> None:
    """Case 47 of the design of keys: 1000 calls for each of the four workers."""
    for _ in range(2):
        in_force_at_once(issuing, 4000)


def read(gateway: Gateway, secret: str, model: str, begun: threading.Semaphore) -> tuple[list[str], float]:
    with open_stream(gateway.port, secret, model) as stream:
        events = stream.events()
        first = next(events)[1]
        begun.release()
        return [first, *(data for _, data in events)], time.monotonic()


@pytest.mark.parametrize(
    ("ends", "model", "last"), [("end", "mock/long", "key_revoked"), ("finish", "brief/short", "[DONE]")]
)
def test_streams_of_a_revoked_key_end_or_finish(issuing: Gateway, ends: str, model: str, last: str) -> None:
    took = revoke_during_streams(issuing, ends, model, last)
    assert ends == "finish" or took < 5  # the mock takes 10 s


@pytest.mark.soak
def test_case_48_streams_of_a_revoked_key_end_within_a_second(issuing: Gateway) -> None:
    took = revoke_during_streams(issuing, "end", "mock/long", "key_revoked")
    print(f"the last of 20 streams ended after {took:.2f} s")
    assert took < 1


def revoke_during_streams(issuing: Gateway, ends: str, model: str, last: str) -> float:
    """Return how long after the revocation the last stream ended, seconds."""
    key, begun = make(issuing), threading.Semaphore(0)
    count = 20 if ends == "end" else 2  # case 48 of the design of keys
    with ThreadPoolExecutor(count) as pool:
        streams = [pool.submit(read, issuing, key["secret"], model, begun) for _ in range(count)]
        for _ in streams:
            assert begun.acquire(timeout=20)
        admin(issuing, "DELETE", f"/keys/{key['id']}?streams={ends}")
        revoked = time.monotonic()
        told = [stream.result() for stream in streams]
    assert all(last in events[-1] for events, _ in told)
    assert ends == "finish" or not any("[DONE]" in event for events, _ in told for event in events)
    if ends == "end":
        assert_charged_for_what_was_forwarded(
            issuing, key["id"], [content(events[:-1]) for events, _ in told]
        )
    assert statuses(issuing, key["secret"], 20) == {401: 20}
    return max(at for _, at in told) - revoked


def assert_charged_for_what_was_forwarded(gateway: Gateway, key: str, texts: list[str]) -> None:
    """Each call has one charge: 4 characters of its text to a token, and 2000 nano-dollars a token."""

    def charges() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = admin(gateway, "GET", f"/charges?key={key}&limit=100")["data"]
        return found

    assert until(lambda: len(charges()) == len(texts))
    rows = charges()
    assert {row["source"] for row in rows} == {"estimated"}
    assert sorted(row["output"] for row in rows) == sorted(-(-len(text) // 4) for text in texts)
    for row in rows:
        assert row["cost"] == dollars(1000 * row["input"] + 2000 * row["output"])


def test_the_commands_over_http_change_keys_of_a_gateway_elsewhere(
    issuing: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    environ = {"GATEWAY_ADMIN_KEY": ADMIN_KEY}

    def ran(*argv: str) -> Any:
        assert main([*argv, "--url", issuing.url, "--json"], environ) == 0
        return json.loads(capsys.readouterr().out)

    ran("teams", "put", "afar", "--limits", '{"requests": 500}')
    made = ran("keys", "create", "--name", "from-afar", "--team", "afar", "--budget", "5/day")
    issuing.secrets.add(made["secret"])
    assert statuses(issuing, made["secret"], 20) == {200: 20}
    assert [key["name"] for key in ran("keys", "list", "--team", "afar", "--spend")["keys"]] == ["from-afar"]
    shown = ran("keys", "show", "from-afar")
    assert [entry["subject"] for entry in shown["usage"]] == [f"key:{made['id']}", "team:afar"]
    assert shown["usage"][0]["budgets"][0]["left"] == "5.000000000"
    assert ran("keys", "edit", "from-afar", "--tokens", "1k")["limits"]["tokens"] == 1000
    rotated = ran("keys", "rotate", "from-afar", "--overlap", "0")
    issuing.secrets.add(rotated["secret"])
    assert statuses(issuing, made["secret"], 20) == {401: 20}
    assert ran("keys", "disable", "from-afar")["state"] == "disabled"
    assert statuses(issuing, rotated["secret"], 20) == {401: 20}
    assert ran("keys", "enable", "from-afar")["state"] == "active"
    assert ran("keys", "revoke", made["id"])["state"] == "revoked"
    assert statuses(issuing, rotated["secret"], 20) == {401: 20}
    assert main(["keys", "list", "--url", issuing.url], {"GATEWAY_ADMIN_KEY": "x" * 30}) == 1
    assert "answered 401" in capsys.readouterr().err


@pytest.mark.soak
def test_changes_outlast_kill_9_and_hup(issuing: Gateway) -> None:
    kept, disabled = make(issuing), make(issuing)
    admin(issuing, "POST", f"/keys/{disabled['id']}/disable")
    killed = set(issuing.workers)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    assert until(lambda: len(issuing.workers) == 4 and not killed & set(issuing.workers))
    for _ in range(2):
        assert until(lambda: statuses_if_up(issuing, kept["secret"]) == {200: 20})
        assert statuses(issuing, disabled["secret"], 20) == {401: 20}
        issuing.reload()


def statuses_if_up(gateway: Gateway, secret: str) -> Counter[int]:
    """Workers that have just been started may not accept yet."""
    try:
        return statuses(gateway, secret, 20)
    except OSError:
        return Counter()


def test_a_database_that_somebody_holds_refuses_changes_and_no_caller(issuing: Gateway, data: Path) -> None:
    key = make(issuing)
    assert statuses(issuing, key["secret"], 40) == {200: 40}
    with closing(sqlite3.connect(data / "keys.db", isolation_level=None)) as holder, holder:
        holder.execute("BEGIN EXCLUSIVE")
        refused = ask(issuing.port, "POST", "/admin/v1/keys", {}, {"authorization": f"Bearer {ADMIN_KEY}"})
        assert (refused.status, refused.json["error"]["code"]) == (503, "keys_unavailable")
        assert statuses(issuing, key["secret"]) == {200: TRIES}
        holder.execute("ROLLBACK")
    admin(issuing, "POST", f"/keys/{key['id']}/disable")
    assert statuses(issuing, key["secret"], 40) == {401: 40}


def test_a_backup_put_back_under_a_running_gateway_is_read_as_a_whole(issuing: Gateway, data: Path) -> None:
    """It gives the numbers of keys and changes again, for other keys."""
    kept = make(issuing)
    # A worker that could not read the keys, in the test before, does not try again for a moment.
    assert until(lambda: statuses(issuing, kept["secret"], 40) == {200: 40})
    shutil.copy(data / "keys.db", data / "restored")
    gone = make(issuing)
    admin(issuing, "POST", f"/keys/{kept['id']}/disable")
    assert statuses(issuing, kept["secret"], 40) == {401: 40}
    (data / "restored").rename(data / "keys.db")
    for _ in range(3):
        made = make(issuing)
        assert statuses(issuing, made["secret"], 40) == {200: 40}
        admin(issuing, "DELETE", f"/keys/{made['id']}")
        assert statuses(issuing, made["secret"], 40) == {401: 40}
    assert statuses(issuing, kept["secret"], 40) == {200: 40}
    assert statuses(issuing, gone["secret"], 40) == {401: 40}


def test_a_change_that_only_the_database_shows_is_noticed_within_seconds(
    issuing: Gateway, data: Path
) -> None:
    """As the command line makes it, which cannot reach the workers' store."""

    key = make(issuing)
    changes = KeyChanges(KeyStore(data), MemoryStore())
    KeyAdmin(changes, make_settings()).set_state(
        Actor("cli", "", ""), key["id"], "disable", end_streams=False
    )
    assert until(lambda: statuses(issuing, key["secret"], 20) == {401: 20})
