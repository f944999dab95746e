"""Finds model servers on this machine: asks the usual ports of loopback for their models."""

from __future__ import annotations

import http.client
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

#: The usual ports, and the server that listens there by default.
PORTS = ((11434, "ollama"), (8000, "vllm"), (8001, "vllm"), (1234, "lmstudio"), (8080, "llamacpp"))
#: ``owned_by`` in the lists of models, by server.
_OWNERS = {"library": "ollama", "vllm": "vllm", "organization_owner": "lmstudio", "llamacpp": "llamacpp"}
HOST = "127.0.0.1"
#: The timeout of one request, seconds: a server on this machine lists its models at once.
PATIENCE = 2.0
MOST_BYTES, MOST_MODELS, LONGEST_NAME = 1 << 20, 20, 120


class ModelServer(NamedTuple):
    """A server that answers on loopback.

    :param models: the names of its models. :param note: why it cannot be used, or empty.
    """

    name: str
    port: int
    models: tuple[str, ...] = ()
    note: str = ""

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"


def find(ports: Sequence[tuple[int, str]] = PORTS) -> list[ModelServer]:
    """Ask all ports at the same time. The order is that of the ports; names are unique."""
    with ThreadPoolExecutor(len(ports), "init") as pool:
        found = [server for server in pool.map(lambda port: ask(*port), ports) if server]
    return unique(found)


def unique(servers: Sequence[ModelServer]) -> list[ModelServer]:
    """The servers, the second of a name with a number behind it."""
    seen: dict[str, int] = {}
    result = []
    for server in servers:
        seen[server.name] = number = seen.get(server.name, 0) + 1
        result.append(server._replace(name=f"{server.name}-{number}") if number > 1 else server)
    return result


def ask(port: int, usual: str) -> ModelServer | None:
    """Ask one port for its models. ``None`` if no server of models answers there."""
    connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE)
    try:
        connection.request("GET", "/v1/models", headers={"Accept": "application/json"})
        answer = connection.getresponse()
        return read(port, usual, answer.status, dict(answer.getheaders()), answer.read(MOST_BYTES))
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def read(port: int, usual: str, status: int, headers: dict[str, str], body: bytes) -> ModelServer | None:
    """The server that has answered so.

    :param usual: its name, unless the list of models shows another.
    """
    if any(name.lower().startswith("x-gateway-") for name in headers):
        return ModelServer(usual, port, note="it is a Flask Gateway")
    if status in (401, 403):
        return ModelServer(usual, port, note="it wants a key: add it as [upstreams.NAME] with api_key_file")
    try:
        rows = json.loads(body)["data"] if status == 200 else None
    except (ValueError, KeyError, TypeError):
        rows = None
    if not isinstance(rows, list):
        return None
    models = [row for row in rows if isinstance(row, dict) and _is_name(row.get("id"))]
    owners = {_OWNERS.get(str(row.get("owned_by"))) for row in models} - {None}
    name = str(owners.pop()) if len(owners) == 1 else usual
    return ModelServer(name, port, tuple(row["id"] for row in models[:MOST_MODELS]))


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and 0 < len(name) <= LONGEST_NAME and name.isprintable()
