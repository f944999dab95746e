"""Starts, calls and stops the two processes of a live test: the gateway and the scripted upstream."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kit.stores import free_port
from kit.waiting import PATIENCE, until
from kit.wire import PROMPT, Answer, ask, stream_body

ROOT = Path(__file__).parents[2]
#: Runs a command with an inherited socket, as systemd does: sd_listen_fds(3).
HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execvp(sys.argv[2], sys.argv[2:])
"""


class Upstream:
    """The scripted upstream of ``scripted_upstream.py``."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "kit.scripted_upstream"]
        env = {**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}"}
        self._process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        self.port = int(self._process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}"
        self._has_script = False

    def requests(self) -> list[dict[str, Any]]:
        """The requests since the last reset, oldest first."""
        return self._control("GET", "/_requests")

    def last(self) -> dict[str, Any]:
        return self.requests()[-1]

    def reset(self) -> None:
        self._control("POST", "/_reset")

    def script(self, *behaviours: str) -> None:
        """Set the answers to the next requests, whatever their model."""
        self._has_script = True
        self._control("POST", "/_script", {"answers": behaviours})

    def forget_script(self) -> None:
        """Drop the answers that no request has taken. A later test would get them."""
        if self._has_script:
            self._control("POST", "/_script", {"answers": ()})
            self._has_script = False

    def stream(self, model: str) -> bytes:
        """The stream that the upstream itself sends for ``model``."""
        return ask(self.port, "POST", "/v1/chat/completions", stream_body(model)).body

    def _control(self, method: str, path: str, body: Any = None) -> Any:
        return ask(self.port, method, path, body).json

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)
        assert self._process.stdout
        self._process.stdout.close()


def headers_of(entry: dict[str, Any]) -> dict[str, str]:
    """The headers of a request that the upstream received, names in lower case."""
    return {name.lower(): value for name, value in entry["headers"]}


class Gateway:
    """A gunicorn with two workers on a free port.

    :param key: the API key of requests without credentials of their own.
    :param wrap: a command that runs the server's command. :param options: gunicorn's command-line options.
    :param listener: a listening socket, handed over as by systemd.
    """

    def __init__(
        self,
        folder: Path,
        key: str,
        env: dict[str, str],
        wrap: Sequence[str] = (),
        options: Sequence[str] = (),
        listener: socket.socket | None = None,
    ) -> None:
        self.key = key
        self.port = listener.getsockname()[1] if listener else free_port()
        if listener:
            wrap = [sys.executable, "-c", HAND_OVER, str(listener.fileno()), *wrap]
        self.url = f"http://127.0.0.1:{self.port}"
        self._errors = folder / f"gateway-{self.port}.err"
        keys = {value for name, value in env.items() if name.endswith(("_API_KEY", "_API_KEYS"))}
        #: Texts that the gateway must never print.
        self.secrets = {key, PROMPT, *keys}
        self._asked_to_end = False
        #: The number of tracebacks that the test provokes.
        self.faults = 0
        settings = {
            "GATEWAY_BIND": f"127.0.0.1:{self.port}",
            "GATEWAY_WORKERS": "2",
            "GATEWAY_THREADS": "32",
            "GATEWAY_GRACEFUL_SECONDS": "5",
        }
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        with self._errors.open("ab" if listener else "wb") as stderr:
            self._process = subprocess.Popen(
                [*wrap, sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", *options, "wsgi:app"],
                cwd=ROOT,
                env={**kept, **settings, **env},
                stdout=stderr,
                stderr=stderr,
                pass_fds=[listener.fileno()] if listener else [],
            )
        ended_or_up = until(lambda: self._process.poll() is not None or self._answers())
        if not ended_or_up or self._process.poll() is not None:
            self._process.kill()
            self._process.wait(PATIENCE)
            pytest.fail(f"the gateway did not start:\n{self.stderr}")

    def _answers(self) -> bool:
        try:
            return ask(self.port, "GET", "/health").status == 200
        except OSError:
            return False

    @property
    def stderr(self) -> str:
        return self._errors.read_text()

    def logged(self, request_id: str) -> dict[str, Any]:
        """The log line of a request."""

        def found() -> list[str]:
            return [line for line in self.stderr.splitlines() if f'"request_id":"{request_id}"' in line]

        (line,) = until(found) or [None]
        assert line, f"nothing is logged about {request_id}"
        return dict(json.loads(line))

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One request on a connection of its own. ``x_api_key="…"`` sets ``x-api-key``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if not {"x-api-key", "authorization"} & set(named):
            named["authorization"] = f"Bearer {self.key}"
        return ask(self.port, method, path, body, named)

    def chat(self, model: str, **more: Any) -> Answer:
        """A chat completion of the model, without streaming."""
        headers = more.pop("headers", {})
        body = {"model": model, "messages": [{"role": "user", "content": PROMPT}], **more}
        return self.ask("POST", "/v1/chat/completions", body, **headers)

    @property
    def workers(self) -> list[int]:
        """The process ids of the workers."""
        pid = self._process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    @property
    def pid(self) -> int:
        """The process id of the master."""
        return self._process.pid

    def hang_up(self) -> None:
        self._process.send_signal(signal.SIGHUP)

    def reload(self) -> None:
        """Replace all workers, and wait until they are replaced."""
        old = set(self.workers)
        self.hang_up()
        assert until(lambda: len(self.workers) == len(old) and not old & set(self.workers)), self.stderr

    def terminate(self) -> None:
        """Send SIGTERM once, as systemd does. A second one at the very end would kill the process."""
        if not self._asked_to_end:
            self._process.send_signal(signal.SIGTERM)
        self._asked_to_end = True

    def stop(self) -> None:
        """Stop the gateway. Asserts a clean exit, no traceback and no printed secret."""
        self.terminate()
        try:
            assert self._process.wait(PATIENCE) == 0, self.stderr[-2000:]
        finally:
            self._process.kill()
            self._process.wait(PATIENCE)
        assert self.stderr.count("Traceback") == self.faults, self.stderr[-4000:]
        assert not [secret for secret in self.secrets if secret in self.stderr], "it has printed a secret"
