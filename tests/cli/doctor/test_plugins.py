"""Tests what doctor tells about plugins."""

from __future__ import annotations

from kit.calls import make_settings
from kit.plugins import Closing, plugin

from flask_gateway.cli.doctor.finding import Level
from flask_gateway.cli.doctor.plugins import check_all


def test_without_plugins_there_is_nothing_to_check() -> None:
    assert list(check_all(make_settings())) == []


def test_each_plugin_is_made_and_closed_and_all_faults_are_told() -> None:
    Closing.made.clear()
    tables = (plugin("Masking", "pii"), plugin("kit.plugins:unmade", "bad"), plugin("Watching", "watch"))
    found = list(check_all(make_settings(plugins=tables)))
    assert [one.level for one in found] == [Level.OK, Level.FAIL, Level.OK]
    assert found[0].what == (
        "plugins: pii can be made: inspect; chat/completions, completions, messages, responses; "
        "on error calls are refused"
    )
    assert "plugins.bad" in found[1].what
    assert found[2].what == "plugins: watch can be made: observe"
    assert [one.closed for one in Closing.made] == [1, 1]
