"""Checks that all commands have one style: help, examples, exit codes, JSON, and imports on demand."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from kit.waiting import until

from flask_gateway import __version__
from flask_gateway.cli import terminal
from flask_gateway.cli.command import EX_CONFIG, OK, USAGE
from flask_gateway.cli.deploy import GROUPS, SHIPPED, text
from flask_gateway.cli.main import COMMANDS, command_of, main, parser_of, usage
from flask_gateway.cli.version import DEPENDENCIES

ROOT = Path(__file__).parents[2]
Capture = pytest.CaptureFixture[str]

# ---------------------------------------------------------------- wrong usage


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["chek"],
        ["--nonsense"],
        ["keys"],
        ["keys", "new", "a b"],
        ["deploy", "print", "apache"],
        ["completion", "tcsh"],
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_is_right(argv: list[str], capsys: Capture) -> None:
    try:
        status: object = main(argv, {})
    except SystemExit as ended:
        status = ended.code
    out, err = capsys.readouterr()
    assert (status, out) == (USAGE, "")
    assert "flask-gateway" in err


def test_the_nearest_command_is_offered(capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        main(["docter"], {})
    assert "'docter' is not a command; did you mean doctor?" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["", "has a blank", "ümlaut"])
def test_a_key_that_cannot_be_used_has_no_digest(
    key: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{key}\n"))
    assert main(["keys", "hash"], {}) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "expected a key of visible ASCII characters" in err
    assert not key or key not in err


def test_an_invalid_setting_is_json_with_json(capsys: Capture) -> None:
    assert main(["check", "--json"], {"GATEWAY_THREADS": "many"}) == EX_CONFIG
    (error,) = json.loads(capsys.readouterr().out)["errors"]
    assert error.startswith("GATEWAY_THREADS='many': expected")


# ---------------------------------------------------------------- style


def whole_help(name: str) -> str:
    return parser_of(name, command_of(name)).format_help()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_a_screen_and_has_two_examples_and_the_exit_codes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines, command = whole_help(name).splitlines(), command_of(name)
    assert len(lines) < 40
    assert lines[0].startswith(f"usage: flask-gateway {name}")
    assert len(command.examples) == 2
    assert all(f"flask-gateway {name}" in example for example, _ in command.examples)
    assert OK in command.exits
    for code in (*command.exits, USAGE):
        assert any(line.startswith(f"  {code:<3} ") for line in lines)


def test_the_list_of_commands_fits_a_screen(capsys: Capture) -> None:
    assert main(["--help"], {}) == 0
    assert capsys.readouterr().out == usage() + "\n"
    assert len(usage().splitlines()) < 40
    assert max(map(len, usage().splitlines())) < 100


def test_commands_and_exit_codes_are_documented() -> None:
    document = (ROOT / "docs" / "commands.md").read_text()
    assert not [name for name in COMMANDS if not re.search(rf"^\| `{name}\b", document, re.MULTILINE)]
    codes = {code for name in COMMANDS for code in command_of(name).exits} | {USAGE}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", document, re.MULTILINE)} == codes


def test_only_the_called_command_is_imported() -> None:
    code = (
        "import sys; from flask_gateway.cli.main import main; status = main(['version'], {})\n"
        "heavy = {'flask', 'requests', 'gunicorn', 'prometheus_client'} & set(sys.modules); print(heavy)\n"
        "sys.exit(bool(heavy) or status)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("argv", [["--help"], ["completion", "fish"], ["deploy", "print", "grafana"]])
def test_a_reader_that_closes_the_pipe_is_no_error(argv: list[str]) -> None:
    """As ``head`` does. The reader ends before anything is written."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "flask_gateway", *argv]
    try:
        done = subprocess.run(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


# ---------------------------------------------------------------- JSON


@pytest.mark.parametrize(
    ("argv", "field"),
    [
        (["check"], "settings"),
        (["explain", "mock"], "candidates"),
        (["keys", "new", "alice"], "key"),
        (["keys", "hash"], "sha256"),
        (["deploy", "list"], "files"),
        (["version"], "packages"),
        (["selftest", "--fast", "--only", "S01"], "scenarios"),
    ],
)
def test_json(argv: list[str], field: str, capsys: Capture) -> None:
    assert main([*argv, "--json"], {"FLASK_GATEWAY_KEY": "a-key-of-my-own"}) == OK
    assert json.loads(capsys.readouterr().out)[field]


def test_json_of_doctor_has_the_failed_check(capsys: Capture) -> None:
    assert main(["doctor", "http://127.0.0.1:9", "--json"], {"GATEWAY_BIND": "127.0.0.1:9"}) == 1
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert "fail" in {one["level"] for one in checks}
    assert all(one["remedy"] for one in checks if one["level"] != "ok")


# ---------------------------------------------------------------- settings


def test_the_settings_file_of_this_directory_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    (tmp_path / "gateway.toml").write_text("rate_limit_per_minute = 7\n")
    (tmp_path / "other.toml").write_text("rate_limit_per_minute = 8\n")
    monkeypatch.chdir(tmp_path)
    for argv, environ, limit in (
        ([], {}, "7"),
        (["--config", "other.toml"], {}, "8"),
        ([], {"GATEWAY_CONFIG": "other.toml"}, "8"),
        (["--config", "gateway.toml"], {"GATEWAY_CONFIG": "other.toml"}, "7"),
        (["--config="], {}, "60"),
    ):
        assert main(["check", *argv], environ) == OK
        assert f"rate_limit_per_minute = {limit} " in capsys.readouterr().out


# ---------------------------------------------------------------- keys


def test_a_new_key_is_shown_once_and_its_table_is_valid(tmp_path: Path, capsys: Capture) -> None:
    assert main(["keys", "new", "team.a"], {}) == OK
    out, err = capsys.readouterr()
    (key,) = re.findall(r"sk-[0-9a-f]{48}", err)
    assert "sk-" not in out
    assert tomllib.loads(out) == {"keys": {"team.a": {"sha256": hashlib.sha256(key.encode()).hexdigest()}}}
    (tmp_path / "gateway.toml").write_text(out)
    assert main(["check", "--quiet"], {"GATEWAY_CONFIG": str(tmp_path / "gateway.toml")}) == OK
    assert main(["keys", "hash"], {"FLASK_GATEWAY_KEY": key}) == OK
    assert capsys.readouterr().out.strip() in out


def test_two_keys_differ(capsys: Capture) -> None:
    main(["keys", "new", "a"], {})
    main(["keys", "new", "a"], {})
    assert len(set(re.findall(r"sk-\w+", capsys.readouterr().err))) == 2


# ---------------------------------------------------------------- deploy, completion, version


@pytest.mark.parametrize("name", SHIPPED)
def test_a_file_is_printed_as_it_is(name: str, capsys: Capture) -> None:
    assert main(["deploy", "print", name], {}) == OK
    printed = capsys.readouterr().out
    assert printed == (ROOT / "flask_gateway" / "deploy" / SHIPPED[name].path).read_text()


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_has_each_file_with_its_place(name: str, capsys: Capture) -> None:
    assert main(["deploy", "print", name], {}) == OK
    printed = capsys.readouterr().out
    for one in GROUPS[name]:
        assert SHIPPED[one].place in printed
        assert text(one) in printed


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("compose", "compose.yaml"),
        ("docker-settings", "docker/gateway.toml"),
        ("docker-prometheus", "docker/prometheus.yml"),
    ],
)
def test_a_file_for_containers_is_that_of_the_checkout(name: str, path: str) -> None:
    assert text(name) == (ROOT / path).read_text(), f"cp {path} flask_gateway/deploy/{SHIPPED[name].path}"


def test_the_dockerfile_of_the_package_installs_this_version_and_ends_as_that_of_the_checkout() -> None:
    """It installs the wheel, where the checkout's builds it. The image is the same."""
    build, begin, image = text("dockerfile").partition("\nFROM python:3.13-slim\n")
    assert (ROOT / "Dockerfile").read_text().endswith(begin + image)
    assert f'"flask-llm-gateway[redis]=={__version__}"' in build
    assert "COPY Dockerfile *.whl /wheels/" in build  # of no wheel, the Dockerfile is copied


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_know_every_command_and_option(shell: str, capsys: Capture) -> None:
    assert main(["completion", shell], {}) == OK
    script = capsys.readouterr().out
    for name in COMMANDS:
        assert re.search(rf"\b{name}\b", script)
    for word in ("quiet", "only", "nginx-site", "zsh"):
        assert word in script


def test_bash_completes(capsys: Capture) -> None:
    main(["completion", "bash"], {})
    script = capsys.readouterr().out
    for line, expected in (("flask-gateway ch", "check"), ("flask-gateway check --qu", "--quiet")):
        words = line.split()
        run = f"COMP_WORDS=({line}) COMP_CWORD={len(words) - 1}; _flask_gateway; echo ${{COMPREPLY[*]}}"
        done = subprocess.run(["bash", "-c", f"{script}\n{run}"], capture_output=True, text=True, check=True)
        assert done.stdout.split() == [expected]


def test_version_knows_the_dependencies(capsys: Capture) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in project["dependencies"]]
    assert sorted(named) == sorted(DEPENDENCIES)
    assert main(["version"], {}) == OK
    assert capsys.readouterr().out.startswith(f"flask-gateway {__version__}\n")
    assert main(["--version"], {}) == OK


# ---------------------------------------------------------------- the terminal


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environ", "colours"),
    [
        (Terminal(), {"TERM": "xterm"}, True),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {"TERM": "xterm"}, False),
    ],
)
def test_colours(stream: io.StringIO, environ: dict[str, str], colours: bool) -> None:
    assert terminal.coloured(stream, environ) is colours


def test_progress_is_shown_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "SILENCE", 0.01)
    for stream, shown in ((Terminal(), True), (io.StringIO(), False)):
        with terminal.ProgressLine("checks", 3, stream) as progress:
            progress.step()
            assert not shown or until(lambda stream=stream: stream.getvalue().count("…"))
        assert ("… 1 of 3 checks done" in stream.getvalue()) is shown
        assert not shown or stream.getvalue().endswith("\r\x1b[K")


def test_doctor_in_a_pipe_has_no_colours() -> None:
    command = [sys.executable, "-m", "flask_gateway", "doctor", "http://127.0.0.1:9"]
    done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True)
    assert "\x1b" not in done.stdout + done.stderr
