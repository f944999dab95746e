"""Tests the names in the settings file that is written."""

from __future__ import annotations

from flask_gateway.cli.init.model_servers import ModelServer, unique


def test_two_servers_of_a_kind_have_two_names() -> None:
    servers = [ModelServer("vllm", 8000), ModelServer("vllm", 8001), ModelServer("ollama", 1)]
    assert [server.name for server in unique(servers)] == ["vllm", "vllm-2", "ollama"]
