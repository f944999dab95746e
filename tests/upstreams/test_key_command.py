"""Commands that print an upstream's key: their output, and how they fail."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path

import pytest
from kit.waiting import until

from flask_gateway.upstreams.key_command import KeyCommandFailed, key_in, run_key_command

KEY = "PLANTED7secret-token"


def jwt(**claims: object) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJSUzI1NiJ9.{body}.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("output", "key", "lifetime"),
    [
        (KEY, KEY, None),
        (f"\ufeff {KEY}\r\n", KEY, None),
        (json.dumps({"access_token": KEY, "expires_in": 3599, "token_type": "Bearer"}), KEY, 3599),
        (json.dumps({"accessToken": KEY, "expiresOn": "2026-11-27 23:00"}), KEY, None),
        (json.dumps({"token": KEY, "expires_in": "60"}), KEY, 60),
        (json.dumps({"access_token": KEY, "expires_in": -1}), KEY, None),
        (jwt(exp=1600), jwt(exp=1600), 600),
        (jwt(exp=900), jwt(exp=900), None),
        (jwt(exp="soon"), jwt(exp="soon"), None),
        ("a.b.c", "a.b.c", None),
    ],
)
def test_a_command_may_print_a_word_or_a_document(output: str, key: str, lifetime: float | None) -> None:
    printed = key_in(output.encode(), 1000.0)
    assert printed == (key, lifetime)
    assert key not in repr(printed)


@pytest.mark.parametrize(
    "output",
    [
        *(
            b"",
            b"\n",
            f"{KEY} and more".encode(),
            f"{KEY}\n{KEY}".encode(),
            f"ERROR: {KEY}".encode(),
            b"\xff\xfe",
        ),
        *(b"{", b"{}", b'{"access_token": 5}', json.dumps({"id_token": KEY}).encode(), b"x" * 20_000),
    ],
)
def test_all_else_is_no_key(output: bytes) -> None:
    with pytest.raises(KeyCommandFailed, match="printed no key") as failed:
        key_in(output, 1000.0)
    assert KEY not in str(failed.value)


def sh(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


def test_a_command_runs_without_a_shell_and_without_the_gateways_own_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GATEWAY_API_KEYS", KEY)
    monkeypatch.setenv("SOME_HOME", "found")
    assert run_key_command(sh('printf %s "$SOME_HOME${GATEWAY_API_KEYS:-}"')).key == "found"
    assert run_key_command(["printf", "%s", "$HOME;`id`"]).key == "$HOME;`id`"


@pytest.mark.parametrize(
    ("command", "patience", "text"),
    [
        (["/nowhere/at-all"], 5, "/nowhere/at-all cannot be run: No such file or directory"),
        (sh(f"echo {KEY}; exit 3"), 5, "/bin/sh ended with 3"),
        (sh("kill -9 $$"), 5, "/bin/sh ended with -9"),
        (sh(f"echo {KEY} >&2"), 5, "it printed no key"),
        (sh(f"echo {KEY}; exec sleep 60"), 0.2, "/bin/sh took more than 0.2 s"),
        (sh("exec >&-; sleep 60"), 0.2, "/bin/sh took more than 0.2 s"),
        (["yes", KEY], 5, "yes printed more than 65536 bytes"),
    ],
)
def test_a_command_that_fails(command: list[str], patience: float, text: str) -> None:
    began = time.monotonic()
    with pytest.raises(KeyCommandFailed) as failed:
        run_key_command(command, patience)
    assert str(failed.value).startswith(text)
    assert KEY not in str(failed.value)
    assert time.monotonic() - began < 30


def test_a_command_that_takes_too_long_ends_with_all_that_it_has_started(tmp_path: Path) -> None:
    script = f"sleep 60 & echo $! >{tmp_path}/pid; wait"
    with pytest.raises(KeyCommandFailed, match="took more than"):
        run_key_command(sh(script), 0.5)
    pid = int((tmp_path / "pid").read_text())
    assert until(lambda: _has_ended(pid))


def _has_ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True
