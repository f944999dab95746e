"""Limits in the file: of keys, teams, models and end users; and mistakes in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flask_gateway.config.describe import describe
from flask_gateway.config.errors import ConfigError
from flask_gateway.config.load import load, resolve
from flask_gateway.config.schema import Settings
from flask_gateway.model.calendar_windows import Window
from flask_gateway.model.limits import NO_OWNER_LIMITS, Budget, Limits

FULL = """
[ledger]
data = "books"
timezone = "Europe/Berlin"
week_starts = "sunday"
alerts = [1, 0.5]

[limits]
requests = 1000
models = { "gpt-4o" = { tokens = 9_000_000_000 } }

[teams.search]
tokens = 400_000
budgets = [{ amount = "500", window = "month" }, { amount = 50, window = "day", strict = true }]
users = { budgets = [{ amount = "0.25", window = "day" }] }
user_limits = { alice = { tokens = 5 } }
require_user = true

[keys.web]
sha256 = "%s"
team = "search"
tags = { env = "prod" }
requests = 5
concurrent = 3
tokens = 1000
model_limits = { "gpt-4o" = { concurrent = 1 } }
users = true
""" % ("ab" * 32)

Toml = Callable[[str], str]


def settings(toml: Toml, text: str) -> Settings:
    return load({"GATEWAY_CONFIG": toml(text)})


def test_all_of_it(toml: Toml) -> None:
    found = settings(toml, FULL)
    assert found.ledger.data is not None
    assert found.ledger.data.endswith("/books")
    assert (found.ledger.timezone, found.ledger.week_starts, found.ledger.alerts) == (
        "Europe/Berlin", 6, (0.5, 1.0),
    )  # fmt: skip
    assert found.limits.own.requests == 1000
    assert found.limits.models["gpt-4o"].tokens == 9 * 10**9
    team = found.teams["search"]
    assert team.own.budgets == (
        Budget(500 * 10**9, Window.MONTH), Budget(50 * 10**9, Window.DAY, strict=True),
    )  # fmt: skip
    assert team.user("bob").budgets == (Budget(250_000_000, Window.DAY),)
    assert team.user("alice") == Limits(tokens=5)
    assert team.require_user
    (key,) = found.keys
    assert (key.team, key.tags, key.rate_limit_per_minute, key.max_concurrent) == (
        "search",
        {"env": "prod"},
        5,
        3,
    )
    assert key.policy.own == Limits(tokens=1000)  # requests and calls at once are counted by other guards
    assert key.policy.models == {"gpt-4o": Limits(concurrent=1)}
    assert key.policy.users == Limits()


def test_without_any_of_it_nothing_is_limited(toml: Toml) -> None:
    found = settings(toml, f'[keys.web]\nsha256 = "{"ab" * 32}"\n')
    assert (found.keys[0].policy, found.limits, found.teams) == (NO_OWNER_LIMITS, NO_OWNER_LIMITS, {})
    assert found.ledger.data is None


KEY = f'[keys.web]\nsha256 = "{"ab" * 32}"\n'
LEDGER = '[ledger]\ndata = "/var/lib/x"\n'


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (KEY + 'budgets = [{ amount = "5", window = "day" }]', ["keys.web.budgets", "data in [ledger]"]),
        ("[teams.a]\nusers = { budgets = [{ amount = 5, window = 'day' }] }", ["teams.a.users.budgets"]),
        (LEDGER + KEY + "budgets = [{ amount = 0.5, window = 'day' }]", ["keys.web.budgets", "quotes"]),
        (LEDGER + KEY + "budgets = [{ amount = '-5', window = 'day' }]", ["keys.web.budgets", "'-5'"]),
        (LEDGER + KEY + "budgets = [{ amount = '0', window = 'day' }]", ["above 0"]),
        (LEDGER + KEY + "budgets = [{ amount = '5', window = 'year' }]", ["day, week, month or total"]),
        (LEDGER + KEY + "budgets = [{ amount = '5', windw = 'day' }]", ["keys.web.budgets"]),
        (
            LEDGER + KEY + "budgets = [{ amount='5', window='day' }, { amount='6', window='day' }]",
            ["a window may have one budget"],
        ),
        (KEY + "tokens = -1", ["keys.web.tokens"]),
        (KEY + "token = 1", ["keys.web.token", "tokens"]),
        (KEY + "requests = 1\nrate_limit_per_minute = 1", ["keys.web"]),
        (KEY + "team = 'serch'\n[teams.search]\ntokens = 1", ["keys.web.team", "search"]),
        (KEY + "team = 'search'", ["keys.web.team", "[teams.search]"]),
        (KEY + "tags = { env = 1 }", ["keys.web.tags"]),
        (KEY + "users = false", ["keys.web.users"]),
        (KEY + "user_limits = { alice = { window = 1 } }", ["keys.web.user_limits"]),
        ("[ledger]\ntimezone = 'Berlin'", ["ledger.timezone", "Europe/Berlin"]),
        ("[ledger]\nweek_starts = 'someday'", ["ledger.week_starts"]),
        ("[ledger]\nalerts = [80]", ["ledger.alerts"]),
        ("[ledger]\nwebhook_env = 'NOT_SET'", ["ledger.webhook_env", "NOT_SET", "variable that is set"]),
        ("[limits]\nmodels = { m = { tokens = 'x' } }", ["limits.models"]),
    ],
)
def test_a_mistake_names_its_setting(toml: Toml, text: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        settings(toml, text)
    assert all(part in str(error.value) for part in parts), str(error.value)


def test_systemds_directory_of_state_is_the_default(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('[ledger]\ntimezone = "Europe/Berlin"\n')
    made = {"STATE_DIRECTORY": "/var/lib/flask-gateway:/var/lib/other", "GATEWAY_CONFIG": str(file)}
    resolved = resolve(made)
    assert resolved.settings.ledger.data == "/var/lib/flask-gateway"
    assert "ledger.data = /var/lib/flask-gateway  (from environment)" in list(describe(resolved))
    assert load({"GATEWAY_CONFIG": str(file)}).ledger.data is None
    file.write_text('[ledger]\ndata = "mine"\n')
    assert load(made).ledger.data == str(tmp_path / "mine")
    assert load({"STATE_DIRECTORY": "relative"}).ledger.data is None


def test_the_webhook_is_in_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('[ledger]\ndata = "books"\nwebhook_env = "HOOK"\nwebhook_secret_env = "SIGN"\n')
    environ = {
        "GATEWAY_CONFIG": str(file),
        "HOOK": "https://hooks.example/planted?x=1",
        "SIGN": "planted-secret",
    }
    ledger = load(environ).ledger
    assert ledger.webhook is not None
    assert ledger.webhook_secret is not None
    assert ledger.webhook.reveal() == "https://hooks.example/planted?x=1"
    assert ledger.webhook_secret.reveal() == "planted-secret"
    assert "planted" not in repr(ledger)
    for wrong in (
        "ftp://planted",
        "https://user:planted@hooks.example/",
        "https://planted/#x",
        "https://a b",
    ):
        with pytest.raises(ConfigError) as refused:
            load({**environ, "HOOK": wrong})
        assert "planted" not in str(refused.value)
        assert "HOOK" in str(refused.value)
