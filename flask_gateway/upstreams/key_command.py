"""Runs a command that prints an upstream's key (``api_key_command``): ``gcloud auth print-access-token``.

Its output holds the key, so it is shown and logged nowhere.
"""

from __future__ import annotations

import base64
import json
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

#: The time that a command may take, seconds, and the most that it may print, bytes.
PATIENCE, MOST_OUTPUT = 10.0, 64 * 1024
#: The longest key, characters: a header of 16 KiB is refused by many servers.
MOST_KEY = 16 * 1024
_USABLE = re.compile(r"[\x21-\x7e]+")
#: The fields of a document in JSON that hold the key: of OAuth (RFC 6749), of Azure's ``az``, of others.
_FIELDS = ("access_token", "accessToken", "token")


class KeyCommandFailed(Exception):
    """The command gave no key. The text says why, without its output."""


class PrintedKey(NamedTuple):
    """A key.

    :param lifetime: how long it is valid, seconds; ``None``: it does not say.
    """

    key: str
    lifetime: float | None = None

    def __repr__(self) -> str:
        return f"PrintedKey('****', {self.lifetime})"


def run_key_command(command: Sequence[str], patience: float = PATIENCE) -> PrintedKey:
    """Run the command, and return the key that it prints. Blocks for at most ``patience``, seconds.

    :raises KeyCommandFailed: it cannot be run, fails, takes too long, or prints no key.
    """
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    try:
        # The operator's settings name it. No shell reads it.
        process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=environ,
        )
    except OSError as error:
        raise KeyCommandFailed(f"{command[0]} cannot be run: {error.strerror}") from None
    try:
        return key_in(_output(process, command[0], patience), time.time())
    finally:
        _end(process)


def _output(process: subprocess.Popen[bytes], program: str, patience: float) -> bytes:
    """All that it prints, once it has ended well."""
    assert process.stdout is not None
    until, poll, output = time.monotonic() + patience, select.poll(), b""
    poll.register(process.stdout, select.POLLIN | select.POLLHUP)
    while True:
        if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
            raise KeyCommandFailed(f"{program} took more than {patience:g} s")
        data = os.read(process.stdout.fileno(), MOST_OUTPUT)
        if not data:
            break
        output += data
        if len(output) > MOST_OUTPUT:
            raise KeyCommandFailed(f"{program} printed more than {MOST_OUTPUT} bytes")
    try:
        status = process.wait(max(0.1, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise KeyCommandFailed(f"{program} took more than {patience:g} s") from None
    if status:
        raise KeyCommandFailed(f"{program} ended with {status}")
    return output


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the command with all that it has started, and collect it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def key_in(output: bytes, now: float) -> PrintedKey:
    """The key in what a command has printed: one word, or a document in JSON with the key in a field.

    :param now: epoch seconds.
    :raises KeyCommandFailed: there is none.
    """
    text = output.decode("utf-8-sig", "replace").strip()
    key, lifetime = _in_document(text) if text.startswith("{") else (text, None)
    if not _USABLE.fullmatch(key) or len(key) > MOST_KEY:
        raise KeyCommandFailed(
            "it printed no key: expected one word of visible ASCII characters, "
            f"or JSON with one of {', '.join(_FIELDS)}"
        )
    return PrintedKey(key, _jwt_lifetime(key, now) if lifetime is None else lifetime)


def _in_document(text: str) -> tuple[str, float | None]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return "", None
    key = next((document[name] for name in _FIELDS if isinstance(document.get(name), str)), "")
    lifetime = document.get("expires_in")
    try:
        seconds = None if lifetime is None or isinstance(lifetime, bool) else float(lifetime)
    except (TypeError, ValueError, OverflowError):
        seconds = None
    return key, seconds if seconds is not None and 0 < seconds < 10**9 else None


def _jwt_lifetime(key: str, now: float) -> float | None:
    """How long a JSON Web Token (RFC 7519) is still valid; ``None``: the key is none, or does not say."""
    parts = key.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        expires = claims.get("exp") if isinstance(claims, dict) else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(expires, int | float) or isinstance(expires, bool) or not now < expires < 10**12:
        return None
    return expires - now
