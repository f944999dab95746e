"""The settings in force are there for the worker that finds a file it cannot begin with."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from conftest import make_settings
from stores_support import Child

from flask_gateway.config import CandidateSettings, Clocks, Settings
from flask_gateway.core import Continues
from flask_gateway.settings import ConfigError, proven
from flask_gateway.to_serve import load_to_serve

FILE = """
state = "memory://"
[upstreams.llama]
url = "http://llama.test"
api_key_env = "LLAMA_KEY"
[keys.one]
sha256 = "{digest}"
""".format(digest="1f" * 32)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server of one process on an address that others can reach."""
    descriptor = os.memfd_create("test")
    monkeypatch.setattr(proven, "_descriptor", None)
    monkeypatch.setattr(proven, "_server", ((), None))
    proven.attach(descriptor, ["0.0.0.0:8000"], 1)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "gateway.toml").write_text(FILE)
    return {"GATEWAY_CONFIG": str(tmp_path / "gateway.toml"), "LLAMA_KEY": "planted"}


def full() -> Settings:
    """Settings with something in every field that can hold something."""
    settings = make_settings()
    upstreams = (
        msgspec.structs.replace(settings.upstreams[0], clocks=Clocks(total=7.5), continues=Continues.VLLM),
        *settings.upstreams[1:],
    )
    spare = CandidateSettings(upstream="mock", model="m", clocks={"idle": 3.0})
    return msgspec.structs.replace(
        settings,
        upstreams=upstreams,
        fallbacks={"fast": (spare,)},
        metrics_digest=b"d" * 32,
        warnings=("look out",),
        config="gateway.toml",
    )


def test_what_is_kept_comes_back_as_it_was(memory: int) -> None:
    assert proven.recall() is None
    proven.keep(full())
    assert proven.recall() == full()
    proven.keep(make_settings())  # shorter
    assert proven.recall() == make_settings()


def test_half_of_it_is_nothing(memory: int) -> None:
    proven.keep(full())
    for at in (proven._HALVES[0] + 100, proven._HALVES[1] + 100):
        os.ftruncate(memory, max(at, 0))
        if proven._half(memory) == (at > proven._ROOM):
            assert proven.recall() is None


def test_a_writer_killed_at_any_step_leaves_what_was_there(
    memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    proven.keep(full())
    write = os.pwrite
    for steps in range(2):
        left = [steps]

        def killed(descriptor: int, data: bytes, offset: int, left: list[int] = left) -> int:
            if not left[0]:
                write(descriptor, data[: len(data) // 2], offset)
                raise KeyboardInterrupt
            left[0] -= 1
            return write(descriptor, data, offset)

        monkeypatch.setattr(proven.os, "pwrite", killed)
        with pytest.raises(KeyboardInterrupt):
            proven.keep(make_settings())
        monkeypatch.setattr(proven.os, "pwrite", write)
        assert proven.recall() == full()


def test_a_reader_beside_a_writer_finds_one_or_the_other(memory: int) -> None:
    """It found nothing while a writer had truncated the file and not written yet."""
    proven.keep(full())
    kinds = (full(), make_settings())

    def write() -> None:
        while True:
            for settings in kinds:
                proven.keep(settings)

    with Child(write):
        assert all(proven.recall() in kinds for _ in range(300))


def test_without_room_the_old_ones_stay(memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    proven.keep(full())
    with monkeypatch.context() as patched:
        patched.setattr(proven.os, "pwrite", raising(OSError(errno.ENOSPC, "full")))
        proven.keep(make_settings())
    assert proven.recall() == full()


def raising(error: Exception) -> Callable[..., int]:
    def write(*_: object) -> int:
        raise error

    return write


def test_without_a_server_that_keeps_them_a_wrong_file_is_refused(environ: dict[str, str]) -> None:
    assert load_to_serve(environ).config == environ["GATEWAY_CONFIG"]
    Path(environ["GATEWAY_CONFIG"]).write_text("x")
    with pytest.raises(ConfigError):
        load_to_serve(environ)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("log = 1", "log=1"),
        ("", "GATEWAY_BIND='0.0.0.0:8000': expected an address of this machine"),
        (FILE.partition("[upstreams")[0] + "[keys" + FILE.partition("[keys")[2], "upstreams: expected some"),
    ],
)
def test_who_begins_with_a_wrong_file_begins_with_the_old_settings(
    memory: int, environ: dict[str, str], caplog: pytest.LogCaptureFixture, text: str, said: str
) -> None:
    before = load_to_serve(environ)
    Path(environ["GATEWAY_CONFIG"]).write_text(text)
    assert load_to_serve(environ) == before
    (line,) = caplog.messages
    assert line.startswith("flask-gateway: ")
    assert said in line
    assert "planted" not in line
    assert proven.recall() == before


def test_who_begins_with_a_good_file_begins_with_that(memory: int, environ: dict[str, str]) -> None:
    load_to_serve(environ)
    Path(environ["GATEWAY_CONFIG"]).write_text("max_streams = 5\n" + FILE)
    assert load_to_serve(environ).max_streams == 5
    recalled = proven.recall()
    assert recalled is not None
    assert recalled.max_streams == 5
