"""Tests which servers on this machine are found, and what of them is used."""

from __future__ import annotations

import json

import pytest

from flask_gateway.cli.init.model_servers import ModelServer, find, read

# ---------------------------------------------------------------- answers that are none


@pytest.mark.parametrize(
    ("status", "headers", "body", "note"),
    [
        (200, {"X-Gateway-Upstream": "a"}, b'{"data":[]}', "it is a Flask Gateway"),
        (401, {"x-gateway-error-origin": "gateway"}, b"{}", "it is a Flask Gateway"),
        (401, {}, b"{}", "it wants a key"),
        (403, {}, b"no", "it wants a key"),
    ],
)
def test_a_server_that_cannot_be_used_is_noted(
    status: int, headers: dict[str, str], body: bytes, note: str
) -> None:
    server = read(8000, "vllm", status, headers, body)
    assert server is not None
    assert server.note.startswith(note)


@pytest.mark.parametrize(
    ("status", "body"),
    [(404, b"{}"), (200, b"<html>"), (200, b"[]"), (200, b'{"data":1}'), (200, b""), (500, b'{"data":[]}')],
)
def test_anything_else_is_no_model_server(status: int, body: bytes) -> None:
    assert read(8080, "llamacpp", status, {}, body) is None


def test_odd_names_of_models_are_left_out() -> None:
    rows = [{"id": name} for name in ("good", "", 7, None, "x\ny", "l" * 121)]
    server = read(8000, "vllm", 200, {}, json.dumps({"data": [*rows, "row"]}).encode())
    assert server == ModelServer("vllm", 8000, ("good",))


def test_a_port_without_a_server() -> None:
    assert find(((9, "ollama"),)) == []


@pytest.mark.parametrize(
    ("owner", "name"),
    [("library", "ollama"), ("vllm", "vllm"), ("organization_owner", "lmstudio"), ("else", "usual")],
)
def test_the_owner_of_the_models_names_the_server(owner: str, name: str) -> None:
    body = json.dumps({"data": [{"id": "m", "owned_by": owner}]}).encode()
    server = read(1, "usual", 200, {}, body)
    assert server
    assert server.name == name
