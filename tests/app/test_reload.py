"""Tests the reload of settings while the gateway serves: all of a change is applied, or nothing."""

from __future__ import annotations

import gc
import logging
import os
import weakref
from pathlib import Path

import msgspec
import pytest
from kit.calls import make_call

from flask_gateway.app import build
from flask_gateway.app.build import Gateway
from flask_gateway.app.preflight import load_checked
from flask_gateway.app.reload import Reloader
from flask_gateway.config.describe import changed
from flask_gateway.config.load import Resolved, load
from flask_gateway.config.schema import Secret, Settings
from flask_gateway.model.call import Outcome
from flask_gateway.model.errors import Overloaded, RateLimited, Unauthorized, Verdict
from flask_gateway.telemetry.metric_families import families

FILE = """
state = "memory://"
max_streams = 2
[upstreams.mock]
url = "mock://local?tokens=3"
[upstreams.llama]
url = "http://127.0.0.1:1"
[models.fast]
upstream = "mock"
[keys.one]
key_file = "one.key"
rate_limit_per_minute = 3
"""
WRONG = FILE.replace("max_streams = 2", 'max_streams = "two"')
DONE = Outcome(Verdict.SUCCESS)


class Following:
    """A gateway and its settings file, which is checked only when the test calls ``check``."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.file = folder / "gateway.toml"
        self.secret = folder / "one.key"
        self.secret.write_text("first-key\n")
        self.write(FILE)
        self.environ = {"GATEWAY_CONFIG": str(self.file), **environ}
        self.gateways = [build.build(load(self.environ))]
        log = logging.getLogger("reload under test")
        self.reloader = Reloader(self.gateway, self.load, self.gateways.append, log)
        self.loads = 0
        self.settle()

    @property
    def gateway(self) -> Gateway:
        return self.gateways[-1]

    def load(self) -> Resolved:
        self.loads += 1
        return load_checked(self.environ, ["127.0.0.1:8000"], 1)

    def write(self, text: str) -> None:
        """Replace the file as editors do: by another one of the same name."""
        new = self.file.with_suffix(".new")
        new.write_text(text)
        new.rename(self.file)

    def settle(self) -> None:
        """Run both checks that a change needs before it is read."""
        self.reloader.check()
        self.reloader.check()


@pytest.fixture
def following(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Following:
    caplog.set_level(logging.INFO)
    return Following(tmp_path)


def reloads(result: str) -> float:
    return families().reloads(result)._value.get()


def test_unchanged_files_are_not_read_again(following: Following, caplog: pytest.LogCaptureFixture):
    assert following.loads == 1  # what may have changed between the start and the first look
    for _ in range(5):
        following.settle()
    assert (following.loads, len(following.gateways), caplog.messages) == (1, 1, [])


def test_a_change_before_the_first_check_is_seen(tmp_path: Path):
    following = Following(tmp_path)
    fresh = Reloader(following.gateway, following.load, following.gateways.append, logging.getLogger())
    following.write(FILE.replace("max_streams = 2", "max_streams = 7"))
    fresh.check()
    fresh.check()
    assert following.gateway.settings.max_streams == 7


def test_a_change_is_applied_and_logged_by_name(following: Following, caplog: pytest.LogCaptureFixture):
    before = reloads("success")
    following.write(
        FILE.replace("minute = 3", "minute = 9")
        .replace("max_streams = 2", "max_streams = 5")
        .replace("[models.fast]", '[models.slow]\nupstream = "llama"\n[models."fast.er"]')
    )
    following.settle()
    assert following.gateway.settings == load(following.environ)
    assert set(following.gateway.routes.listed()) == {"mock", "llama", "slow", "fast.er"}
    (said,) = caplog.messages
    assert said == (
        'settings reloaded; changed: keys.one, models.fast, models.slow, models."fast.er", max_streams'
    )
    assert reloads("success") == before + 1


def test_a_change_is_read_one_check_later(following: Following):
    following.write(FILE.replace("max_streams = 2", "max_streams = 5"))
    following.reloader.check()
    assert (following.loads, following.gateway.settings.max_streams) == (1, 2)
    following.write(FILE.replace("max_streams = 2", "max_streams = 6"))
    following.reloader.check()
    assert (following.loads, following.gateway.settings.max_streams) == (2, 6)
    following.settle()
    assert following.loads == 2


def test_a_write_during_the_read_causes_another_read(following: Following, monkeypatch):
    read = following.load

    def late() -> Resolved:
        resolved = read()
        if following.loads == 2:
            following.write(FILE.replace("max_streams = 2", "max_streams = 8"))
        return resolved

    monkeypatch.setattr(following.reloader, "_load", late)
    following.write(FILE.replace("max_streams = 2", "max_streams = 7"))
    following.settle()
    assert following.gateway.settings.max_streams == 7
    following.settle()
    assert following.gateway.settings.max_streams == 8


def test_a_change_in_place_that_leaves_size_and_time_is_seen(following: Following):
    times = following.file.stat()
    following.file.write_text(FILE.replace("max_streams = 2", "max_streams = 3"))
    os.utime(following.file, ns=(times.st_atime_ns, times.st_mtime_ns))
    following.settle()
    assert following.gateway.settings.max_streams == 3


def test_a_changed_secret_file_changes_the_key(following: Following, caplog: pytest.LogCaptureFixture):
    following.secret.write_text("other-key\n")
    following.settle()
    assert following.gateway.key_guesses.identify("other-key", lambda: b"here", 0.0).id == "one"
    with pytest.raises(Unauthorized):
        following.gateway.key_guesses.identify("first-key", lambda: b"here", 0.0)
    assert caplog.messages == ["settings reloaded; changed: keys.one"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (WRONG, "max_streams='two': expected a whole number of streams"),
        (FILE[: FILE.index("url") + 6], "expected a TOML file"),
        (FILE.replace("tokens=3", "tokns=3"), "did you mean 'tokens'?"),
        (FILE.replace('"one.key"', '"two.key"'), "expected a file that can be read"),
        ("", "keys: expected some, as before"),
        (FILE[: FILE.index("[keys")], "keys: expected some, as before"),
        (
            "[keys.one]" + FILE.partition("[keys.one]")[2],
            "upstreams: expected some, as before",
        ),
    ],
)
def test_an_invalid_file_changes_nothing_and_is_logged_once(
    following: Following, caplog, text: str, said: str
):
    before = reloads("failure")
    following.write(text)
    for _ in range(4):
        following.settle()
    (line,) = caplog.messages
    assert line.startswith("flask-gateway: ")
    assert said in line
    assert line.endswith(" (the change is refused, the old settings stay)")
    assert len(following.gateways) == 1
    assert reloads("failure") == before + 1
    following.file.touch()
    following.settle()
    assert len(caplog.messages) == 1
    following.write(text + "\n# still wrong\n")
    following.settle()
    assert len(caplog.messages) == 2
    assert said in caplog.messages[1]
    following.write(FILE)
    following.settle()
    assert caplog.messages[2:] == ["settings reloaded; changed: nothing"]
    assert len(following.gateways) == 1


def test_a_file_that_vanishes_changes_nothing_until_it_is_back(following: Following, caplog):
    following.file.unlink()
    for _ in range(3):
        following.settle()
    assert ["No such file" in line for line in caplog.messages] == [True]
    following.write(FILE.replace("max_streams = 2", "max_streams = 5"))
    following.settle()
    assert following.gateway.settings.max_streams == 5


@pytest.mark.parametrize("name", ["file", "secret"])
def test_a_fifo_instead_of_a_file_changes_nothing_and_blocks_nothing(following: Following, caplog, name: str):
    path = getattr(following, name)
    before, content = following.gateway, path.read_text()
    path.unlink()
    os.mkfifo(path)
    following.settle()
    following.settle()
    assert following.gateway is before
    assert "it is no regular file" in caplog.text
    path.unlink()
    path.write_text(content.replace("max_streams = 2", "max_streams = 3").replace("first-key", "other-key"))
    following.settle()
    assert following.gateway is not before


def test_a_missing_secret_file_is_read_when_it_appears(following: Following):
    following.write(FILE.replace('"one.key"', '"two.key"'))
    following.settle()
    assert len(following.gateways) == 1
    following.file.with_name("two.key").write_text("second-key")
    following.settle()
    assert following.gateway.key_guesses.identify("second-key", lambda: b"here", 0.0).id == "one"


def test_a_reload_does_not_expose_the_public_key(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    following = Following(tmp_path)

    def exposed() -> Resolved:
        return load_checked(following.environ, ["0.0.0.0:8000"], 2)

    reloader = Reloader(following.gateway, exposed, following.gateways.append, logging.getLogger())
    following.write(FILE[: FILE.index("[keys.one]")].replace('state = "memory://"', ""))
    reloader.check()
    reloader.check()
    assert "GATEWAY_BIND='0.0.0.0:8000': expected an address of this machine only" in caplog.text
    assert len(following.gateways) == 1


def test_admins_follow_the_file_and_only_the_first_needs_a_restart(following: Following, caplog):
    text = f'{FILE}[ledger]\ndata = "{following.file.parent}"\n[admins.%s]\nsha256 = "{"ab" * 32}"\n'
    following.write(text % "ann")
    following.settle()
    assert "the setting admins.ann has changed; that needs a restart or a HUP" in caplog.text
    assert following.gateway.settings.admins == ()
    again = Following(following.file.parent)
    again.write(text % "ann")
    with_ann = build.build(load(again.environ))
    again.gateways.append(with_ann)
    again.reloader = Reloader(with_ann, again.load, again.gateways.append, logging.getLogger("again"))
    again.write(text % "bob")
    again.settle()
    assert [admin.name for admin in again.gateway.settings.admins] == ["bob"]


def test_a_change_of_the_store_needs_a_restart_and_the_rest_is_applied(following: Following, caplog):
    following.write(FILE.replace("memory://", "shared://").replace("streams = 2", "streams = 4"))
    following.settle()
    assert following.gateway.settings.state == "memory://"
    assert following.gateway.settings.max_streams == 4
    assert caplog.messages == [
        "the setting state has changed; that needs a restart or a HUP",
        "settings reloaded; changed: max_streams",
    ]


def test_an_unexpected_exception_keeps_the_old_settings(following: Following, monkeypatch, caplog):
    before = reloads("failure")
    with monkeypatch.context() as patched:
        patched.setattr("flask_gateway.app.reload.rebuild", lambda settings, before: 1 / 0)
        following.write(FILE.replace("max_streams = 2", "max_streams = 5"))
        following.settle()
    assert "the old ones stay in force" in caplog.messages[-1]
    assert reloads("failure") == before + 1
    following.write(FILE.replace("max_streams = 2", "max_streams = 6"))
    following.settle()
    assert following.gateway.settings.max_streams == 6


# ---------------------------------------------------------------- what a reload keeps


def test_a_reload_keeps_the_counts(following: Following):
    def ask() -> None:
        caller = following.gateway.key_guesses.identify("first-key", lambda: b"here", 0.0)
        following.gateway.service.send(make_call("fast", caller=caller)).close()

    for _ in range(3):
        ask()
    following.write(FILE.replace("minute = 3", "minute = 5"))
    following.settle()
    ask()
    ask()
    with pytest.raises(RateLimited):
        ask()


def test_a_reload_keeps_calls_in_flight(following: Following):
    old = following.gateway
    permits = [old.inflight.admit(make_call(stream=True)) for _ in range(2)]
    following.write(FILE.replace("max_streams = 2", "max_streams = 3"))
    following.settle()
    new = following.gateway
    assert new is not old
    assert new.inflight.streams == 2
    permits.append(new.inflight.admit(make_call(stream=True)))
    with pytest.raises(Overloaded):
        new.inflight.admit(make_call(stream=True))
    for permit in permits:
        permit.settle(DONE)
    assert new.inflight.streams == 0


def test_leases_are_released_to_the_same_count_after_a_reload(following: Following):
    following.write(FILE.replace('tokens=3"', 'tokens=3"\nmax_in_flight = 5'))
    following.settle()
    old = following.gateway
    reply = old.service.send(make_call("mock"))
    following.write(FILE.replace('tokens=3"', 'tokens=3"\nmax_in_flight = 1'))
    following.settle()
    assert following.gateway.leases.taken("slots:upstream:mock") == 1
    reply.close()
    assert following.gateway.leases.taken("slots:upstream:mock") == 0


def test_a_reload_keeps_connections_if_the_addresses_are_the_same(following: Following):
    old = following.gateway
    following.write(FILE.replace("max_streams = 2", "max_streams = 5"))
    following.settle()
    assert following.gateway.http is old.http
    assert following.gateway.http._adapter.most == following.gateway.settings.max_streams
    following.write(FILE.replace("127.0.0.1:1", "127.0.0.1:2"))
    following.settle()
    assert following.gateway.http is not old.http


def test_a_reload_leaves_no_reference_to_the_old_gateway(following: Following):
    old = following.gateways.pop()
    gone = [weakref.ref(part) for part in (old.http, old.service, old.limiter)]
    following.gateways.append(old)
    following.write(FILE.replace("127.0.0.1:1", "127.0.0.1:2"))
    following.settle()
    gc.disable()
    try:
        del old, following.gateways[0]
        assert [one() for one in gone] == [None] * 3
    finally:
        gc.enable()


def test_new_models_become_labels_and_unknown_ones_stay_other(following: Following):
    def label(model: str) -> str:
        metrics = following.gateway.metrics
        return model if model in metrics._models else "other"

    assert [label("fast"), label("slow")] == ["fast", "other"]
    following.write(FILE.replace("[models.fast]", "[models.slow]"))
    following.settle()
    assert [label("fast"), label("slow")] == ["other", "slow"]


# ---------------------------------------------------------------- names of changed settings


def test_changed_returns_names_without_values(following: Following):
    before = following.gateway.settings
    key = Secret("planted")
    upstreams = tuple(msgspec.structs.replace(one, api_key=key) for one in before.upstreams)
    after = msgspec.structs.replace(before, upstreams=upstreams, state="redis://planted@host")
    assert list(changed(before, after)) == ["upstreams.mock", "upstreams.llama", "state"]


def test_equal_secrets_are_no_change_but_a_new_order_is():
    def settings(*names: str) -> Settings:
        environ = {"GATEWAY_UPSTREAMS": ";".join(f"{name}=http://{name}" for name in names)}
        return load({**environ, **{f"GATEWAY_UPSTREAM_{name.upper()}_API_KEY": "secret" for name in names}})

    assert list(changed(settings("a", "b"), settings("a", "b"))) == []
    assert list(changed(settings("a", "b"), settings("b", "a"))) == ["upstreams"]
    assert Secret("a") != Secret("b")
