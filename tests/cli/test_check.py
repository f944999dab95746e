"""``python -m flask_gateway check``: exit statuses, what it prints, and what it never prints."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from flask_gateway.cli.main import main

SECRET = "PLANTED7secret"
Capture = pytest.CaptureFixture[str]

# ---------------------------------------------------------------- refused


@pytest.mark.parametrize("argv", [[], ["chek"], ["check", "--quite"], ["check", "x"], ["check", "--bind"]])
def test_wrong_usage_exits_with_2(argv: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv, {})
    assert caught.value.code == 2
    assert "usage: flask-gateway" in capsys.readouterr().err


@pytest.mark.parametrize(("given", "status"), [({"WEB_CONCURRENCY": "1"}, 0), ({"WEB_CONCURRENCY": "2"}, 78)])
def test_check_counts_the_workers_of_web_concurrency(given: dict[str, str], status: int) -> None:
    assert main(["check", "--quiet"], {"GATEWAY_STATE": "memory://", **given}) == status


def test_too_few_open_files_are_a_warning(capsys: Capture) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))\n"
        "from flask_gateway.cli.main import main; sys.exit(main(['check', '--quiet'], {}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "flask-gateway: warning: files: only 512 may be open" in done.stderr
    assert main(["check", "--quiet"], {"GATEWAY_MAX_STREAMS": "1"}) == 0
    assert "files: " not in capsys.readouterr().err
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


def test_an_invalid_setting_exits_with_78_and_one_line(capsys: Capture) -> None:
    assert main(["check"], {"GATEWAY_RATE_LIMIT_PER_MINUTE": "sixty"}) == 78
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "flask-gateway: GATEWAY_RATE_LIMIT_PER_MINUTE='sixty': "
        "expected a whole number of requests per minute, 0 for unlimited\n"
    )


@pytest.mark.parametrize(
    ("argv", "environ"),
    [
        (["check", "--bind", "0.0.0.0:8000"], {}),
        (["check", "--bind", "127.0.0.1:1", ":8000"], {}),
        (["check", "--bind", "unix:g", "--bind", ":8000"], {}),
        (["check", "--quiet"], {"GATEWAY_BIND": ":8000"}),
    ],
)
def test_the_dev_key_on_an_open_address_exits_with_78(
    argv: list[str], environ: dict[str, str], capsys: Capture
) -> None:
    assert main(argv, environ) == 78
    out, err = capsys.readouterr()
    assert out == ""
    assert "while 'dev-key' is among the keys; set GATEWAY_API_KEYS to keys of your own\n" in err
    assert main(argv, {**environ, "GATEWAY_API_KEYS": "a-key-of-my-own"}) == 0


def test_as_a_process(tmp_path: Path) -> None:
    def check(**environ: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "flask_gateway", "check"]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
        root = Path(__file__).parents[2]
        return subprocess.run(
            command, env=clean | environ, cwd=root, capture_output=True, text=True, timeout=30
        )

    good, bad = check(), check(GATEWAY_STATE=f"redis://:{SECRET}")
    assert (good.returncode, bad.returncode) == (0, 78)
    assert "upstreams.mock = mock://local  (from default)" in good.stdout.splitlines()
    assert bad.stderr.startswith("flask-gateway: GATEWAY_STATE='****': expected ")
    assert bad.stderr.count("\n") == 1


# ---------------------------------------------------------------- shown

FILE = """
machines = 2
state_namespace = "staging"
state_env = "REDIS_URL"
default_upstream = "llama"

[upstreams.llama]
url = "http://llama:8001"
api_key_file = "llama.key"
max_in_flight = 8

[upstreams."qwen.2"]
url = "https://q.example/v2"
api_key_env = "QWEN_KEY"

[models."gpt-4.1"]
upstream = "llama"
model = "llama-3.3"

[keys.ci]
key_env = "CI_KEY"
rate_limit_per_minute = 5
models = ["b", "a"]
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Secrets in every place a secret can be."""
    (tmp_path / "gateway.toml").write_text(FILE)
    (tmp_path / "llama.key").write_text(f"{SECRET}1\n")
    return {
        "GATEWAY_CONFIG": str(tmp_path / "gateway.toml"),
        "QWEN_KEY": f"{SECRET}2",
        "CI_KEY": f"{SECRET}-33",
        "REDIS_URL": f"rediss://user:{SECRET}4@cache:6379/0?password={SECRET}5",
        "GATEWAY_REQUEST_TIMEOUT_SECONDS": "2.5",
        "GATEWAY_METRICS_KEY": f"{SECRET}6",
    }


def test_the_effective_settings_are_shown_with_their_origins(
    environ: dict[str, str], capsys: Capture
) -> None:
    assert main(["check"], environ) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines() == [
        f"config = {environ['GATEWAY_CONFIG']}  (from environment)",
        "bind = 127.0.0.1:8000  (from default)",
        "threads = 64  (from default)",
        "pin_workers = auto  (from default)",
        "graceful_seconds = 30  (from default)",
        "server_log_level = info  (from default)",
        "rate_limit_per_minute = 60  (from default)",
        "max_concurrent_per_key = 0  (from default)",
        "failed_keys_per_minute = 60  (from default)",
        "circuit_breaker_max_failures = 5  (from default)",
        "circuit_breaker_reset_seconds = 30  (from default)",
        "circuit_breaker_successes = 1  (from default)",
        "circuit_breaker_slow_seconds = 0  (from default)",
        "request_timeout_seconds = 2.5  (from environment)",
        "answer_timeout_seconds = 120  (from default)",
        "ca_file = none  (from default)",
        "client_cert = none  (from default)",
        "client_key = none  (from default)",
        "proxy = none  (from default)",
        "no_proxy = none  (from default)",
        "default_upstream = llama  (from file)",
        "unlisted_models = *  (from default)",
        "max_body_bytes = 16777216  (from default)",
        "body_memory_bytes = 268435456  (from default)",
        "max_upload_bytes = 33554432  (from default)",
        "upload_space_bytes = 2147483648  (from default)",
        "upload_dir = none  (from default)",
        "max_streams = 2000  (from default)",
        "stream_buffer_bytes = 262144  (from default)",
        "session_idle_seconds = 900  (from default)",
        "session_seconds = 3600  (from default)",
        "send_timeout_seconds = 30  (from default)",
        "state = rediss://****@cache:6379/0?****  (from file)",
        "state_namespace = staging  (from file)",
        "machines = 2  (from file)",
        "log = json  (from default)",
        "log_prompts = off  (from default)",
        "trace_slow_seconds = 30  (from default)",
        "cors_origins = none  (from default)",
        "compat = none  (from default)",
        "metrics_key = ****  (from environment)",
        "upstreams.llama = http://llama:8001/v1/chat/completions  (from file)",
        "upstreams.llama.api_key = ****  (from file)",
        "upstreams.llama.max_in_flight = 8  (from file)",
        'upstreams."qwen.2" = https://q.example/v2/chat/completions  (from file)',
        'upstreams."qwen.2".api_key = ****  (from file)',
        'upstreams."qwen.2".max_in_flight = 0  (from default)',
        'models."gpt-4.1" = llama-3.3 at llama  (from file)',
        "keys.ci = ****  (from file)",
        "keys.ci.rate_limit_per_minute = 5  (from file)",
        "keys.ci.models = a, b  (from file)",
    ]


def test_warnings_go_to_stderr_also_when_quiet(capsys: Capture) -> None:
    assert main(["check", "--quiet"], {}) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.partition(": ")[2][:8] for line in err.splitlines()] == ["warning:", "warning:"]
    quiet = {"GATEWAY_API_KEYS": "a-key-of-my-own-1", "GATEWAY_UPSTREAMS": "m=mock://local"}
    assert main(["check", "--quiet"], quiet) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["check", "--quiet"], {**quiet, "GATEWAY_LOG_PROMPTS": "on"}) == 0
    assert "warning: prompts are written to the log" in capsys.readouterr().err


# ---------------------------------------------------------------- never shown


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, 0),
        ({"GATEWAY_API_KEYS": f"{SECRET}6,{SECRET}7"}, 0),
        ({"GATEWAY_UPSTREAM_LLAMA_API_KEY": f"{SECRET}8"}, 0),
        ({"GATEWAY_STATE": f"redis://:{SECRET}@h"}, 0),
        ({"GATEWAY_API_KEYS": f"{SECRET},{SECRET}"}, 78),
        ({"GATEWAY_API_KEYS": f"{SECRET} x"}, 78),
        ({"GATEWAY_API_KEY": SECRET}, 78),
        ({"GATEWAY_UPSTREAM_LLAMA_API_KEY": f"{SECRET}\n"}, 78),
        ({"GATEWAY_UPSTREAM_LAMA_API_KEY": SECRET}, 78),
        ({"GATEWAY_STATE": f"redis://:{SECRET}"}, 78),
        ({"GATEWAY_STATE": f"redis//:{SECRET}@h"}, 78),
        ({"REDIS_URL": f"redis://:{SECRET}@h:x"}, 78),
        ({"QWEN_KEY": f"{SECRET} {SECRET}"}, 78),
        ({"CI_KEY": f"{SECRET}é"}, 78),
        ({"GATEWAY_UPSTREAMS": f"llama=http://u:{SECRET}@h"}, 78),
        ({"GATEWAY_UPSTREAMS": f"llama=http://h?api_key={SECRET}"}, 78),
        ({"GATEWAY_RATE_LIMIT_PER_MINUTE": "x"}, 78),
        ({"GATEWAY_CONFIG": "/nowhere"}, 78),
    ],
)
def test_no_secret_is_ever_printed(
    change: dict[str, str], status: int, environ: dict[str, str], capsys: Capture
) -> None:
    assert main(["check"], environ | change) == status
    out, err = capsys.readouterr()
    assert SECRET not in out + err
    assert status == 0 or err.count("\n") == 1


@pytest.mark.parametrize(
    "text",
    [
        f"[keys.x]\nkey = '{SECRET}'",
        f"[keys.x]\nkye = '{SECRET}'",
        f"[keys.x]\nkey_env = '{SECRET}'",
        f"[keys.x]\nkey_file = '{SECRET}'",
        f"[keys.x]\nsha256 = '{SECRET}'",
        f"[keys]\nx = '{SECRET}'",
        f"keys = ['{SECRET}']",
        f"key = '{SECRET}'",
        f"log = {{key = '{SECRET}'}}",
        f"[upstreams.x]\nurl = 'http://u:{SECRET}@h'",
        f"[upstreams.x]\nurl = 'http://h'\napi_key = '{SECRET}'",
        f"[upstreams.x]\nurl = 'http://h'\napi_key_env = '{SECRET}'",
        f"state = 'redis://:{SECRET}@h'",
        f"state = 'redis://h?password={SECRET}'",
        f"state = 'redis://:{SECRET}'",
        f"state = 1\nkey = {SECRET}",
    ],
)
def test_no_secret_is_printed_of_a_file_that_should_not_hold_it(
    text: str, tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(text)
    assert main(["check"], {"GATEWAY_CONFIG": str(path)}) == 78
    out, err = capsys.readouterr()
    assert SECRET not in out + err
    assert err.count("\n") == 1


def test_a_redis_without_its_package_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("flask_gateway.app.preflight.find_spec", lambda name: None)
    assert main(["check"], {"GATEWAY_STATE": "redis://127.0.0.1"}) == 78
    assert "the redis package, which is not installed" in capsys.readouterr().err


def test_plugins_are_made_and_listed(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text('[plugins.quiet]\nuse = "kit.plugins:Admitting"\non_error = "pass"\n')
    assert main(["check"], {"GATEWAY_CONFIG": str(path)}) == 0
    said = capsys.readouterr().out.splitlines()
    assert "plugins.quiet = kit.plugins:Admitting, on error pass  (from file)" in said
    assert said[-1] == "plugin quiet can be made: admit; all operations; on error calls pass"
    path.write_text('[plugins.a]\nuse = "kit.plugins:unmade"\n[plugins.b]\nuse = "kit.plugins:Hookless"\n')
    assert main(["check"], {"GATEWAY_CONFIG": str(path)}) == 78
    said = capsys.readouterr().err.splitlines()
    assert [line.partition("=")[0] for line in said] == [
        "flask-gateway: plugins.a",
        "flask-gateway: plugins.b",
    ]
