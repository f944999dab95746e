"""The Dockerfile and compose.yaml, compared with the settings and the files. No engine runs here."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from flask_gateway.cli.main import COMMANDS
from flask_gateway.config.load import load
from flask_gateway.config.options import OPTIONS
from flask_gateway.config.upstream_url import split_url

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
GATEWAY = COMPOSE["services"]["gateway"]
SETTINGS = {option.variable: option for option in OPTIONS}


def instructions(stage: int) -> list[tuple[str, str]]:
    """The instructions of a stage of the Dockerfile, each with its arguments on one line."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.startswith("#")]
    joined = re.sub(r" *\\\n *", " ", "\n".join(lines))
    stages = re.split(r"^(?=FROM )", joined, flags=re.MULTILINE)[1:]
    parts = (line.partition(" ") for line in stages[stage].splitlines() if line)
    return [(name, rest) for name, _, rest in parts]


FINAL = instructions(1)


def argument(name: str) -> str:
    (found,) = [rest for instruction, rest in FINAL if instruction == name]
    return found


def test_the_build_stage_copies_files_that_exist_and_are_sent_to_the_engine() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [rest.split()[:-1] for name, rest in instructions(0) if name == "COPY"]
    names = {name for each in copied for name in each}
    assert names == sent
    assert all((ROOT / name).exists() for name in names)


def test_every_package_is_pinned_by_its_hash() -> None:
    (run, *_) = [rest for name, rest in instructions(0) if name == "RUN"]
    sed = re.search(r"(sed -n '[^']+' requirements-dev.txt)", run)
    assert sed is not None
    found = subprocess.run(["sh", "-c", sed[1]], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.fullmatch(r"redis==[\d.]+ \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+", found), found
    assert run.count("pip install --require-hashes") == 2


def test_the_image_has_no_rights_and_runs_the_command() -> None:
    assert argument("USER") == "10001:10001"
    assert not any(name in ("RUN", "ADD") for name, _ in FINAL)
    assert argument("STOPSIGNAL") == "SIGTERM"
    with (ROOT / "pyproject.toml").open("rb") as file:
        scripts = tomllib.load(file)["project"]["scripts"]
    (program,) = yaml.safe_load(argument("ENTRYPOINT"))
    (command,) = yaml.safe_load(argument("CMD"))
    assert program in scripts
    assert command in COMMANDS


def test_one_port_everywhere() -> None:
    (bind,) = re.findall(r"GATEWAY_BIND=(\S+)", argument("ENV"))
    port = str(split_url(f"http://{bind}", ("http",)).port)
    assert (
        port == SETTINGS["GATEWAY_BIND"].kind.parse(str(SETTINGS["GATEWAY_BIND"].default)).rpartition(":")[2]
    )
    assert argument("EXPOSE") == port
    assert f"http://127.0.0.1:{port}/health" in argument("HEALTHCHECK")
    assert GATEWAY["ports"] == [f"127.0.0.1:{port}:{port}"]
    prometheus = yaml.safe_load((ROOT / "docker" / "prometheus.yml").read_text())
    (job,) = prometheus["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"gateway:{port}"]}]
    assert job["metrics_path"] == "/metrics"


def test_every_variable_is_a_setting() -> None:
    named = set(re.findall(r"GATEWAY_\w+", DOCKERFILE + (ROOT / "compose.yaml").read_text()))
    assert named <= SETTINGS.keys()
    for name, value in GATEWAY["environment"].items():
        default = re.sub(r"\$\{\w+:-(.*)\}", r"\1", value)
        assert SETTINGS[name].kind.parse(default)


def test_the_settings_of_compose_are_valid(tmp_path: Path) -> None:
    text = (ROOT / "docker" / "gateway.toml").read_text()
    every = re.sub(r"^# (?=\[|url|api_key)", "", text, flags=re.MULTILINE)
    for content in (text, every):
        secrets = set(re.findall(r'"/run/secrets/(\w+)"', content))
        assert secrets <= set(GATEWAY["secrets"])
        for name in secrets:
            (tmp_path / name).write_text("a-secret-of-some-length")
        file = tmp_path / "gateway.toml"
        file.write_text(content.replace("/run/secrets", str(tmp_path)))
        settings = load({"GATEWAY_CONFIG": str(file), "GATEWAY_BIND": "0.0.0.0:8000"})
        assert [upstream.name for upstream in settings.upstreams] in (["ollama"], ["ollama", "openai"])
        hosts = {split_url(upstream.url, ("http", "https")).hostname for upstream in settings.upstreams}
        assert hosts & COMPOSE["services"].keys() == {"ollama"}
    assert GATEWAY["environment"]["GATEWAY_CONFIG"] in GATEWAY["volumes"][0]


def test_files_and_secrets_of_compose_exist() -> None:
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / source).is_file(), volume
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    for name in GATEWAY["secrets"]:
        assert COMPOSE["secrets"][name]["file"] == f"./secrets/{name}"
    assert "/secrets/" in ignored


def test_the_gateway_is_confined_and_has_the_time_to_drain() -> None:
    assert GATEWAY["read_only"] is True
    assert GATEWAY["cap_drop"] == ["ALL"]
    assert GATEWAY["tmpfs"] == ["/tmp"]
    assert int(GATEWAY["stop_grace_period"].removesuffix("s")) > int(
        str(SETTINGS["GATEWAY_GRACEFUL_SECONDS"].default)
    )
    others = {name: service["profiles"] for name, service in COMPOSE["services"].items() if name != "gateway"}
    assert others == {name: [name] for name in ("ollama", "redis", "prometheus")}


@pytest.mark.parametrize("profile", ["ollama", "redis", "prometheus"])
def test_the_comment_explains_each_profile(profile: str) -> None:
    assert f"--profile {profile} up" in (ROOT / "compose.yaml").read_text()
