"""Tests that a worker whose settings file is invalid starts with the last good settings."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from kit.calls import make_settings
from kit.stores import Child

from flask_gateway.app.preflight import load_for_worker
from flask_gateway.config import last_good
from flask_gateway.config.errors import ConfigError
from flask_gateway.config.schema import CandidateSettings, Settings, Timeouts
from flask_gateway.model.call import Continues

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
    monkeypatch.setattr(last_good, "_descriptor", None)
    monkeypatch.setattr(last_good, "_server", ((), None))
    last_good.attach(descriptor, ["0.0.0.0:8000"], 1)
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
        msgspec.structs.replace(settings.upstreams[0], clocks=Timeouts(total=7.5), continues=Continues.VLLM),
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


def test_saved_settings_are_loaded_unchanged(memory: int) -> None:
    assert last_good.load() is None
    last_good.save(full())
    assert last_good.load() == full()
    last_good.save(make_settings())  # shorter
    assert last_good.load() == make_settings()


def test_a_partial_record_is_ignored(memory: int) -> None:
    last_good.save(full())
    for at in (last_good._HALVES[0] + 100, last_good._HALVES[1] + 100):
        os.ftruncate(memory, max(at, 0))
        if last_good._half(memory) == (at > last_good._ROOM):
            assert last_good.load() is None


def test_a_writer_killed_at_any_step_leaves_the_old_settings(
    memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    last_good.save(full())
    write = os.pwrite
    for steps in range(2):
        left = [steps]

        def killed(descriptor: int, data: bytes, offset: int, left: list[int] = left) -> int:
            if not left[0]:
                write(descriptor, data[: len(data) // 2], offset)
                raise KeyboardInterrupt
            left[0] -= 1
            return write(descriptor, data, offset)

        monkeypatch.setattr(last_good.os, "pwrite", killed)
        with pytest.raises(KeyboardInterrupt):
            last_good.save(make_settings())
        monkeypatch.setattr(last_good.os, "pwrite", write)
        assert last_good.load() == full()


def test_a_reader_during_a_write_gets_the_old_or_the_new_settings(memory: int) -> None:
    """It found nothing while a writer had truncated the file and not written yet."""
    last_good.save(full())
    kinds = (full(), make_settings())

    def write() -> None:
        while True:
            for settings in kinds:
                last_good.save(settings)

    with Child(write):
        assert all(last_good.load() in kinds for _ in range(300))


def test_without_space_the_old_settings_stay(memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    last_good.save(full())
    with monkeypatch.context() as patched:
        patched.setattr(last_good.os, "pwrite", raising(OSError(errno.ENOSPC, "full")))
        last_good.save(make_settings())
    assert last_good.load() == full()


def raising(error: Exception) -> Callable[..., int]:
    def write(*_: object) -> int:
        raise error

    return write


def test_without_saved_settings_an_invalid_file_is_refused(environ: dict[str, str]) -> None:
    assert load_for_worker(environ).config == environ["GATEWAY_CONFIG"]
    Path(environ["GATEWAY_CONFIG"]).write_text("x")
    with pytest.raises(ConfigError):
        load_for_worker(environ)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("log = 1", "log=1"),
        ("", "GATEWAY_BIND='0.0.0.0:8000': expected an address of this machine"),
        (FILE.partition("[upstreams")[0] + "[keys" + FILE.partition("[keys")[2], "upstreams: expected some"),
    ],
)
def test_a_worker_that_starts_with_an_invalid_file_uses_the_last_good_settings(
    memory: int, environ: dict[str, str], caplog: pytest.LogCaptureFixture, text: str, said: str
) -> None:
    before = load_for_worker(environ)
    Path(environ["GATEWAY_CONFIG"]).write_text(text)
    assert load_for_worker(environ) == before
    (line,) = caplog.messages
    assert line.startswith("flask-gateway: ")
    assert said in line
    assert "planted" not in line
    assert last_good.load() == before


def test_a_worker_that_starts_with_a_valid_file_uses_it(memory: int, environ: dict[str, str]) -> None:
    load_for_worker(environ)
    Path(environ["GATEWAY_CONFIG"]).write_text("max_streams = 5\n" + FILE)
    assert load_for_worker(environ).max_streams == 5
    recalled = last_good.load()
    assert recalled is not None
    assert recalled.max_streams == 5
