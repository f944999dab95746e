"""The page from an installed wheel: every page, every format and every file that they name."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.admins import ADMIN_KEY
from kit.page_session import JSON, PAGES, PageSession
from kit.servers import free_port
from kit.waiting import PATIENCE, until
from kit.wheel import Environment, build
from kit.wire import ask

pytestmark = [pytest.mark.live, pytest.mark.browser, pytest.mark.xdist_group("wheel")]


def answers(port: int) -> bool:
    try:
        return ask(port, "GET", "/health").status == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an installed gateway that serves from an empty directory."""
    folder, port = tmp_path_factory.mktemp("installed"), free_port()
    environment = Environment(folder / "venv")
    environment.install(build(folder))
    (folder / "empty").mkdir()
    settings = folder / "gateway.toml"
    settings.write_text(f'[ledger]\ndata = "{folder / "data"}"\n')
    named = {"GATEWAY_CONFIG": str(settings), "GATEWAY_ADMIN_KEY": ADMIN_KEY, "GATEWAY_WORKERS": "1"}
    server = subprocess.Popen(
        [environment.program("flask-gateway"), "serve", "--bind", f"127.0.0.1:{port}"],
        cwd=folder / "empty",
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **named},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert until(lambda: answers(port))
    yield f"http://127.0.0.1:{port}"
    server.terminate()
    server.wait(PATIENCE)


def test_every_page_and_every_file_is_there(url: str) -> None:
    session = PageSession(url)
    assert until(lambda: session.get("spend").status == 200)
    assets = session.assets()
    assert {Path(one).suffix.partition("?")[0] for one in assets} == {".css", ".js", ".svg"}
    for path in (*PAGES, *JSON, "upstream?name=mock", "requests.csv", "spend.csv", *assets):
        assert session.get(path).status == 200, path
    assert session.get("request?id=none").status == 404


def test_the_doctor_runs_from_the_wheel(url: str) -> None:
    said = PageSession(url).send("doctor").body.decode()
    assert "It has ended" in said
    assert "settings: those of this shell are valid" in said
