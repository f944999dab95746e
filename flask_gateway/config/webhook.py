"""Reads the URLs of the ledger that may have secrets: of the webhook for alerts, and of the database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from .errors import InvalidValue
from .schema import LedgerSettings, Secret
from .secrets import USABLE_KEY, Key, Masked, SecretRef
from .upstream_url import split_url


class WebhookUrl(Masked, frozen=True):
    """A URL that may have a secret in its path or query."""

    def parse(self, text: str) -> str:
        if not text.isascii() or not text.isprintable() or " " in text:
            raise InvalidValue(self.expected)
        parts = split_url(text, ("https", "http"))
        if "@" in parts.netloc or parts.fragment:
            raise InvalidValue(self.expected, "without a user name, a password and a fragment")
        return text


class DatabaseUrl(Masked, frozen=True):
    """The URL of a database, which may have a password."""

    def parse(self, text: str) -> str:
        scheme, separator, rest = text.partition("://")
        if not text.isprintable() or " " in text or not (separator and rest):
            raise InvalidValue(self.expected)
        if scheme not in ("postgresql", "postgres"):
            raise InvalidValue(self.expected)
        return text


_URL = WebhookUrl("a URL such as https://hooks.example/budgets")
_SECRET = Key(USABLE_KEY)
_DATABASE = DatabaseUrl("a URL such as postgresql://gateway@db.example/gateway?sslmode=verify-full")


class FileWebhook(NamedTuple):
    """The variables that the file names."""

    url: SecretRef | None = None
    secret: SecretRef | None = None
    database: SecretRef | None = None

    def in_force(self, ledger: LedgerSettings, environ: Mapping[str, str]) -> LedgerSettings:
        """Return the ledger's settings with the values of the variables.

        :raises ConfigError: a variable is not set, or its value cannot be used.
        """
        url = Secret(self.url.follow(environ, _URL)) if self.url else None
        secret = Secret(self.secret.follow(environ, _SECRET)) if self.secret else None
        database = Secret(self.database.follow(environ, _DATABASE)) if self.database else None
        return msgspec.structs.replace(ledger, webhook=url, webhook_secret=secret, database=database)
