"""Builds the wheel, installs it into an environment of its own, and serves from an empty directory."""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.needs import lacking, need
from kit.ollama import MODELS, WORDS
from kit.servers import ROOT
from kit.stores import free_port
from kit.waiting import PATIENCE, until
from kit.wheel import Environment, build, changed
from kit.wire import ask

from flask_gateway import __version__

pytestmark = [pytest.mark.live, pytest.mark.long]

MB = 1_000_000
#: The most of a wheel, of an installation with all it needs, bytes; of the time to the first 200, seconds.
MOST_WHEEL, MOST_INSTALLED, MOST_SECONDS = MB, 25 * MB, 2.0


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    made = Environment(tmp_path_factory.mktemp("environment") / "venv")
    made.install(wheel)
    return made


class Served:
    """``flask-gateway serve`` in an empty directory."""

    def __init__(self, environment: Environment, folder: Path, *options: str) -> None:
        self.folder, self.port = folder / "empty", free_port()
        self.folder.mkdir(exist_ok=True)
        self._out, self._errors = folder / "out", folder / "errors"
        command = [
            environment.program("flask-gateway"),
            "serve",
            "--bind",
            f"127.0.0.1:{self.port}",
            *options,
        ]
        kept = {"PATH": os.environ["PATH"], "HOME": str(folder), "GATEWAY_WORKERS": "1"}
        self.began = time.monotonic()
        with self._out.open("wb") as out, self._errors.open("wb") as errors:
            self.process = subprocess.Popen(command, cwd=self.folder, env=kept, stdout=out, stderr=errors)
        assert until(self._answers), self.errors

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.errors
        try:
            return ask(self.port, "GET", "/health").status == 200
        except OSError:
            return False

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def errors(self) -> str:
        return self._errors.read_text()

    def cpu_seconds(self) -> float:
        """The CPU time of the master, its worker and its children: the time to start on an idle machine."""
        pid, ticks = self.process.pid, 0
        for one in (pid, *Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def version(self) -> str:
        """The version of the code that answers."""
        text = ask(self.port, "GET", "/metrics").body.decode()
        return re.findall(r'gateway_build_info\{[^}]*version="([^"]+)"', text)[-1]


@pytest.fixture
def served(environment: Environment, tmp_path: Path) -> Iterator[Served]:
    gateway = Served(environment, tmp_path)
    yield gateway
    gateway.process.terminate()
    assert gateway.process.wait(PATIENCE) == 0, gateway.errors
    assert "Traceback" not in gateway.errors


# ---------------------------------------------------------------- the file


def test_every_file_of_the_package_is_in_the_wheel_and_nothing_else(wheel: Path) -> None:
    package = (path for path in (ROOT / "flask_gateway").rglob("*") if path.is_file())
    files = {str(path.relative_to(ROOT)) for path in package if path.parent.name != "__pycache__"}
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == files


def test_the_wheel_is_small_and_for_every_machine(wheel: Path) -> None:
    assert wheel.name == f"flask_llm_gateway-{__version__}-py3-none-any.whl"
    assert wheel.stat().st_size < MOST_WHEEL


def test_the_modules_of_the_wheel_are_the_package_s_without_docstrings_and_comments(wheel: Path) -> None:
    """Line by line the same otherwise, so tracebacks name the lines of the repository."""
    with zipfile.ZipFile(wheel) as archive:
        emptied = ("cli/terminal.py", "state/store.py", "plugins/loaded.py")
        kept_as_they_are = ("model/call.py", "app/extensions.py", "plugin.py", "testing/__init__.py")
        for name in (*emptied, *kept_as_they_are):
            built = archive.read(f"flask_gateway/{name}").decode()
            source = (ROOT / "flask_gateway" / name).read_text()
            assert ('"""' in built) is (name in kept_as_they_are)
            assert built == source or name not in kept_as_they_are
            assert "#:" not in built or name in kept_as_they_are
            assert _lines_of_code(built) == _lines_of_code(source)


def _lines_of_code(source: str) -> list[tuple[int, str]]:
    """The statements but for docstrings, each with its line."""
    return [
        (node.lineno, ast.dump(node) if not hasattr(node, "body") else type(node).__name__)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.stmt)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    ]


# ---------------------------------------------------------------- serving


def test_it_serves_from_an_empty_directory_and_a_reload_brings_a_new_version(
    served: Served, environment: Environment, wheel: Path, tmp_path: Path
) -> None:
    """The command line that it prints works as it is, and it writes nothing into the directory."""
    need("curl")
    (line,) = [line for line in served.out.splitlines() if line.startswith("  Try    ")]
    called = subprocess.run(
        ["sh", "-c", line.removeprefix("  Try    ") + " -sS"], capture_output=True, text=True
    )
    assert json.loads(called.stdout)["choices"][0]["message"]["content"], called.stderr
    assert served.version() == __version__
    assert served.cpu_seconds() < MOST_SECONDS
    environment.install(changed(wheel, tmp_path, "99.0"))
    served.process.send_signal(signal.SIGHUP)
    assert until(lambda: served.version() == "99.0"), served.errors
    assert os.listdir(served.folder) == []


def test_no_module_of_the_current_directory_takes_the_place_of_an_installed_one(
    environment: Environment, tmp_path: Path
) -> None:
    """Neither at the start nor after a reload: a clone may be there, or a file named like a package."""
    for name in ("flask_gateway", "flask", "msgspec", "gunicorn", "wsgi", "redis"):
        (tmp_path / "empty" / name).mkdir(parents=True)
        (tmp_path / "empty" / name / "__init__.py").write_text(
            "raise SystemExit('a module of the directory')"
        )
    gateway = Served(environment, tmp_path)
    try:
        before = ask(gateway.port, "GET", "/metrics").body
        gateway.process.send_signal(signal.SIGHUP)
        assert until(lambda: gateway.errors.count("Booting worker") >= 2), gateway.errors
        assert until(lambda: ask(gateway.port, "GET", "/health").status == 200)
        assert before
    finally:
        gateway.process.terminate()
        assert gateway.process.wait(PATIENCE) == 0
    assert "a module of the directory" not in gateway.errors + gateway.out


def test_the_settings_of_init_serve(environment: Environment, tmp_path: Path) -> None:
    options = ["--yes", "--no-scan", "--no-env", "--json", "--output", str(tmp_path / "gateway.toml")]
    made = subprocess.run(
        [environment.program("flask-gateway"), "init", *options], capture_output=True, text=True
    )
    key = json.loads(made.stdout)["keys"]["first"]
    gateway = Served(environment, tmp_path, "--config", str(tmp_path / "gateway.toml"))
    try:
        body = {"model": "mock", "messages": [{"role": "user", "content": "Hi"}]}
        answer = ask(gateway.port, "POST", "/v1/chat/completions", body, {"authorization": f"Bearer {key}"})
        assert answer.status == 200
        assert (
            ask(gateway.port, "GET", "/v1/models", headers={"authorization": "Bearer dev-key"}).status == 401
        )
    finally:
        gateway.process.terminate()
        assert gateway.process.wait(PATIENCE) == 0
    assert key not in gateway.errors + gateway.out


#: The README's commands after the installation, and then the curl that init has printed. The network has only
#: loopback, so the usual ports are free. The standard output is that of the curl.
FROM_NOTHING = """
ip link set lo up
"$1" -m kit.ollama 11434 & ollama=$!
cd "$2"
ready() { curl -sSf --retry 50 --retry-delay 1 --retry-connrefused "$1" >/dev/null; }
ready http://127.0.0.1:11434/v1/models
INIT >init.out
SERVE >serve.out 2>serve.err & served=$!
ready http://127.0.0.1:8000/health
sh -c "$(grep '^  curl' init.out) -sS"
kill $served $ollama && wait $served
"""


def test_the_commands_of_the_readme_lead_to_an_answer_of_a_model_server(
    environment: Environment, tmp_path: Path
) -> None:
    """Installing is left to the fixture: it needs a package index."""
    for program in ("curl", "unshare", "ip"):
        need(program)
    alone = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        lacking("this user may make no network of its own")
    (block,) = re.findall(r"^```sh from-nothing\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)
    install, init, serve = block.splitlines()
    assert "pip install" in install
    script = FROM_NOTHING.replace("INIT", init).replace("SERVE", serve)
    (tmp_path / "env").symlink_to(environment.folder)
    command = [*alone, "sh", "-euc", script, "sh", sys.executable, str(tmp_path)]
    kept = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GATEWAY_WORKERS": "1"}
    done = subprocess.run(command, cwd=ROOT / "tests", env=kept, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["model"], answer["choices"][0]["message"]["content"]) == (MODELS[0], WORDS)


# ---------------------------------------------------------------- measured, on an idle machine


@pytest.mark.soak
def test_the_first_answer_comes_soon(environment: Environment, tmp_path: Path) -> None:
    gateway = Served(environment, tmp_path)
    seconds = time.monotonic() - gateway.began
    gateway.process.terminate()
    gateway.process.wait(PATIENCE)
    assert seconds < MOST_SECONDS


@pytest.mark.soak
def test_an_installation_is_small(wheel: Path, tmp_path: Path) -> None:
    """With compiled bytecode. Needs a package index."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(tmp_path)]
    subprocess.run([*command, str(wheel)], check=True)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < MOST_INSTALLED
    assert len(list(tmp_path.glob("*.dist-info"))) <= 20
