"""Plugins of a running gateway with two workers: masks and blocks in streams, faults, logins, reloads."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kit.gateways import StartGateway
from kit.plugins import TOKEN
from kit.scrape import figures
from kit.servers import ROOT, Gateway, Upstream
from kit.stores import free_port
from kit.waiting import PATIENCE, until
from kit.wire import Answer

from flask_gateway.model.call import Operation
from flask_gateway.testing.answers import heard_body, heard_events

pytestmark = pytest.mark.live

#: The upstream says "tok0 tok1 tok2 …", a token in each event: this word is in two of them.
WORD = "k1 to"
SAID = "".join(f"tok{number} " for number in range(40))
HEARD = SAID.replace(WORD, "[x]")
HEAD = """
rate_limit_per_minute = 0
circuit_breaker_max_failures = 2
[upstreams.scripted]
url = "{url}"
speaks = ["chat/completions", "responses"]
[keys.a]
key_env = "KEY_A"
"""
MODEL = """
[models.{name}]
upstream = "scripted"
model = "{behaviour}"
[plugins.{name}]
use = "kit.plugins:Masking"
models = ["{name}"]
{more}
"""
#: By model: how the upstream behaves, and the rest of the plugin's table.
TABLES = {
    "masked": ("ok,tokens=40", f'options = {{ word = "{WORD}" }}'),
    "early": ("ok,tokens=40", 'options = { bad = "tok0" }'),
    "late": ("ok,tokens=40,pause=0.03", 'options = { bad = "tok30" }'),
    "held": ("ok,tokens=40", 'options = { bad = "tok30", whole = true }'),
    "raising": ("ok,tokens=40", 'options = { fault = "raise" }'),
    "holding": ("ok,tokens=40", 'options = { fault = "hold everything" }'),
    "nonsense": ("ok,tokens=40", 'options = { fault = "nonsense" }'),
    "passing": ("ok,tokens=40", 'on_error = "pass"\noptions = { fault = "raise" }'),
    "hanging": ("ok,tokens=1", 'options = { fault = "hang", seconds = 2 }'),
}
KEY_A = "key-of-caller-a-with-plugins"
PATHS = {Operation.CHAT: "messages", Operation.RESPONSE: "input", Operation.MESSAGE: "messages"}


def settings(url: str, **changes: tuple[str, str]) -> str:
    tables = {**TABLES, **changes}
    models = [MODEL.format(name=name, behaviour=how, more=more) for name, (how, more) in tables.items()]
    login = '[plugins.login]\nuse = "kit.plugins:Login"\n'
    return HEAD.format(url=url) + "".join(models) + login


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plugins") / "gateway.toml"


@pytest.fixture(scope="module")
def gateway(start_gateway: StartGateway, scripted: Upstream, file: Path) -> Gateway:
    file.write_text(settings(scripted.url))
    file.chmod(0o600)
    return start_gateway(KEY_A, GATEWAY_CONFIG=str(file), KEY_A=KEY_A, PYTHONPATH=str(ROOT / "tests"))


def asked(
    gateway: Gateway, model: str, operation: Operation = Operation.CHAT, *, stream: bool = False, **more: Any
) -> Answer:
    prompt = "Hi" if operation is Operation.RESPONSE else [{"role": "user", "content": "Hi"}]
    body = {"model": model, PATHS[operation]: prompt, "max_tokens": 1000, "stream": stream}
    if operation is Operation.RESPONSE:
        del body["max_tokens"]
    return gateway.ask("POST", f"/v1/{operation}", body, **more)


def text(answer: Answer, operation: Operation, *, stream: bool) -> str:
    heard = heard_events(operation, answer.body) if stream else heard_body(operation, answer.json)
    return heard[0, "content"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("operation", [Operation.CHAT, Operation.MESSAGE])
def test_a_word_is_masked_across_events_also_in_translated_answers(
    gateway: Gateway, operation: Operation, stream: bool
) -> None:
    for _ in range(4):  # both workers
        answer = asked(gateway, "masked", operation, stream=stream)
        assert answer.status == 200, answer.body
        assert text(answer, operation, stream=stream) == HEARD
        assert answer.headers["x-gateway-plugins"].startswith("masked=masked(")


def test_a_word_is_masked_in_a_stream_of_responses(gateway: Gateway) -> None:
    answer = asked(gateway, "masked", Operation.RESPONSE, stream=True)
    assert answer.status == 200, answer.body
    assert WORD not in answer.body.decode()
    events = [json.loads(line[6:]) for line in answer.body.decode().splitlines() if line.startswith("data:")]
    assert "".join(one.get("delta", "") for one in events) == HEARD


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["early", "held"])
def test_a_block_before_the_first_byte(gateway: Gateway, model: str, stream: bool) -> None:
    for _ in range(4):  # twice as many as open a breaker
        answer = asked(gateway, model, stream=stream)
        assert (answer.status, answer.error["code"]) == (400, "content_blocked")
        assert answer.headers["x-gateway-plugins"] == f"{model}=blocked"
    assert asked(gateway, "masked").status == 200


@pytest.mark.parametrize("operation", [Operation.CHAT, Operation.MESSAGE, Operation.RESPONSE])
def test_a_block_after_the_first_byte(gateway: Gateway, operation: Operation) -> None:
    answer = asked(gateway, "late", operation, stream=True)
    assert answer.status == 200
    sent = answer.body.decode()
    said = "".join(re.findall(r'"(?:content|text|delta)": ?"([^"]*)"', sent))
    assert "tok25" in said
    assert "tok30" not in said
    assert "[DONE]" not in sent
    assert "This answer is not for you" in sent.removesuffix("\n\n").rpartition("\n\n")[2]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["raising", "nonsense", "holding"])
def test_a_plugin_that_fails_refuses_and_nothing_leaks(gateway: Gateway, model: str, stream: bool) -> None:
    answer = asked(gateway, model, stream=stream)
    assert (answer.status, answer.error["code"]) == (500, "plugin_failed")
    assert b"tok" not in answer.body
    assert until(lambda: figures(gateway, "requests_in_flight", "upstream")["scripted"] == 0)


@pytest.mark.parametrize("stream", [False, True])
def test_a_plugin_that_fails_may_be_passed(gateway: Gateway, stream: bool) -> None:
    answer = asked(gateway, "passing", stream=stream)
    assert text(answer, Operation.CHAT, stream=stream) == SAID


def test_a_plugin_that_hangs_is_counted_and_its_callers_are_served(gateway: Gateway) -> None:
    answer = asked(gateway, "hanging", stream=True)
    assert text(answer, Operation.CHAT, stream=True) == "tok0 "
    slow = figures(gateway, "plugin_slow_total", "plugin", "hook")
    assert slow["hanging inspect"] >= 1
    assert until(lambda: figures(gateway, "requests_in_flight", "upstream")["scripted"] == 0)
    assert until(lambda: figures(gateway, "streams_active")[""] == 0)


def test_metrics_and_log(gateway: Gateway) -> None:
    assert asked(gateway, "raising").status == 500
    assert figures(gateway, "plugin_errors_total", "plugin", "hook")["raising inspect"] >= 1
    assert asked(gateway, "masked").status == 200
    assert figures(gateway, "plugin_seconds_count", "plugin", "hook")["masked inspect"] >= 1
    assert until(lambda: '"plugins":"masked=masked(1)"' in gateway.stderr)
    assert "a text that is not logged" not in gateway.stderr


def test_a_login_of_a_plugin(gateway: Gateway) -> None:
    for _ in range(4):  # both workers
        assert asked(gateway, "masked", x_api_key=TOKEN).status == 200
    assert asked(gateway, "masked", x_api_key="somebody-else").status == 401


def test_a_reload_makes_a_changed_plugin_and_refuses_one_that_cannot_be_made(
    gateway: Gateway, scripted: Upstream, file: Path
) -> None:
    file.write_text(settings(scripted.url, masked=("ok,tokens=40", 'options = { word = "tok1 " }')))
    assert until(lambda: gateway.stderr.count("changed: plugins.masked") == 2)
    wanted = SAID.replace("tok1 ", "[x]")
    for _ in range(4):
        assert text(asked(gateway, "masked"), Operation.CHAT, stream=False) == wanted
    file.write_text(settings(scripted.url, masked=("ok,tokens=40", 'options = { word = "(" }')))
    assert until(lambda: gateway.stderr.count("plugins.masked='kit.plugins:Masking': expected a plugin") == 2)
    assert text(asked(gateway, "masked"), Operation.CHAT, stream=False) == wanted


def test_the_start_is_refused_in_one_line(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text('[plugins.broken]\nuse = "kit.plugins:unmade"\n')
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "tests"),
        "GATEWAY_CONFIG": str(path),
        "GATEWAY_BIND": f"127.0.0.1:{free_port()}",
        "GATEWAY_WORKERS": "2",
    }
    command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"]
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "flask-gateway: plugins.broken='kit.plugins:unmade': expected a plugin" in said
    assert "Traceback" not in said
