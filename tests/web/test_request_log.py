"""Tests the lines that the application logs: one per request, without secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from kit.calls import AUTH, chat
from kit.web_calls import post


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_each_request_is_logged_in_one_line(client: FlaskClient, capsys: pytest.CaptureFixture[str]) -> None:
    post(client, chat("mock"), X_Request_ID="r1", X_Trace_ID="t1")
    assert post(client, chat("mock", stream=True), X_Request_ID="r2").data
    post(client, b"{", X_Request_ID="r3")
    client.get("/v1/models", headers={"x-request-id": "r4"})
    client.get("/health")
    logged = lines(capsys)
    assert [(line["request_id"], line["status"]) for line in logged] == [
        ("r1", 200),
        ("r2", 200),
        ("r3", 400),
        ("r4", 401),
    ]
    first = logged[0]
    assert (first["trace_id"], first["key"], first["model"], first["upstream"]) == (
        "t1",
        "team-a",
        "mock",
        "mock",
    )
    assert first["outcome"] == "success"
    assert first["upstream_model"] == "mock"
    assert re.fullmatch(r"mock:200:\d+\.\d\ds", first["attempts"])
    assert first["completion_tokens"] > 0
    assert 0 <= first["overhead_seconds"] <= first["first_byte_seconds"] <= first["duration_seconds"]
    assert [line.get("stream") for line in logged] == [None, True, None, None]
    assert [line.get("code") for line in logged] == [None, None, "invalid_json", "invalid_api_key"]


def test_no_secret_and_no_prompt_is_logged(client: FlaskClient, capsys: pytest.CaptureFixture[str]) -> None:
    body = chat("mock")
    body["messages"][0]["content"] = "planted-prompt"
    post(client, body)
    client.get("/x", headers={"X-API-Key": "planted-wrong-key"})
    client.get("/v1/models?key=planted-query", headers=AUTH)
    said = capsys.readouterr()
    assert "planted" not in said.err + said.out


def test_prompts_are_logged_if_the_setting_is_on(
    make_client: Callable[..., FlaskClient], capsys: pytest.CaptureFixture[str]
) -> None:
    for switch, seen in ((True, '[{"role":"user","content":"Hello"}]'), (False, None)):
        post(make_client(log_prompts=switch), chat("mock"))
        (line,) = lines(capsys)
        assert (line.get("prompt") or "").replace(" ", "") == (seen or "")


def test_text_for_people_stays_on_one_line(
    make_client: Callable[..., FlaskClient], capsys: pytest.CaptureFixture[str]
) -> None:
    client = make_client(log="text")
    client.get("/v1/%0Aforged%20line", headers=AUTH)
    (line,) = capsys.readouterr().err.splitlines()
    assert "status=404" in line
    assert r"'/v1/\nforged line'" in line
