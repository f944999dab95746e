"""``doctor`` runs the commands that print upstreams' keys, and shows none of their output."""

from __future__ import annotations

import pytest

from flask_gateway.cli.doctor.upstreams import check_all, printed_key
from flask_gateway.config.kinds import KeyCommand
from flask_gateway.config.schema import Timeouts, UpstreamSettings

SECRET = "PLANTED7secret"


@pytest.mark.parametrize(
    ("script", "level", "text"),
    [
        (f"echo {SECRET}", "ok", "prints a key in"),
        (f'echo \'{{"access_token": "{SECRET}", "expires_in": 60}}\'', "ok", "valid for 60 s"),
        (f"echo {SECRET}; echo {SECRET} >&2; exit 7", "fail", "sh ended with 7"),
        (f"echo not {SECRET}", "fail", "it printed no key"),
    ],
)
def test_a_command_is_run(script: str, level: str, text: str) -> None:
    found = printed_key("gcp", KeyCommand(("sh", "-c", script), 300.0))
    assert found.level.value == level
    assert text in found.what
    assert found.what.startswith("upstream gcp: api_key_command")
    assert SECRET not in repr(found)


def test_it_is_among_the_checks_of_upstreams() -> None:
    upstream = UpstreamSettings(name="gcp", url="mock://local", key_command=KeyCommand(("false",), 300.0))
    texts = [one.what for one in check_all([upstream], Timeouts())]
    assert any("api_key_command: false ended with 1" in text for text in texts)
