"""Tests the webhook of budgets: its URL may be a secret, and comes from the environment alone."""

from __future__ import annotations

import pytest

from flask_gateway.config.errors import ConfigError
from flask_gateway.config.schema import LedgerSettings, Secret
from flask_gateway.config.secrets import SecretRef
from flask_gateway.config.webhook import FileWebhook

URL = FileWebhook(url=SecretRef("ledger.webhook_env", "HOOK"))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.test/x",
        "https://user:hunter2@a.test",
        "https://a.test/hunter2#x",
        "https://a.test/ hunter2",
        "x",
    ],
)
def test_a_url_that_is_refused_is_not_shown(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        URL.in_force(LedgerSettings(), {"HOOK": url})
    assert str(caught.value).startswith("ledger.webhook_env='HOOK': expected a URL ")
    assert "hunter2" not in str(caught.value)


def test_a_variable_that_is_not_set_is_named() -> None:
    with pytest.raises(ConfigError, match="'HOOK': expected the name of an environment variable that is set"):
        URL.in_force(LedgerSettings(), {})


def test_both_values_are_kept_as_secrets() -> None:
    both = FileWebhook(URL.url, SecretRef("ledger.webhook_secret_env", "SIGN"))
    ledger = both.in_force(LedgerSettings(), {"HOOK": "https://a.test/x?y", "SIGN": "signing-key"})
    assert (ledger.webhook, ledger.webhook_secret) == (Secret("https://a.test/x?y"), Secret("signing-key"))
    assert FileWebhook().in_force(LedgerSettings(), {}) == LedgerSettings()


@pytest.mark.parametrize("text", ["", "mysql://db.test/x", "db.test", "postgresql://", "postgresql://a b/x"])
def test_a_url_that_is_no_postgresql_is_refused_without_showing_it(text: str) -> None:
    named = FileWebhook(database=SecretRef("ledger.database_env", "BOOKS"))
    with pytest.raises(ConfigError) as caught:
        named.in_force(LedgerSettings(), {"BOOKS": text})
    assert str(caught.value).startswith("ledger.database_env='BOOKS': expected")
    assert "db.test" not in str(caught.value)


def test_the_database_is_in_the_environment() -> None:
    url = "postgresql://gateway:secret@db1,db2/gateway?sslmode=verify-full&target_session_attrs=read-write"
    named = FileWebhook(database=SecretRef("ledger.database_env", "BOOKS"))
    assert named.in_force(LedgerSettings(), {"BOOKS": url}).database == Secret(url)
