"""Reads where alerts of budgets are posted: a URL and a signing secret, both from the environment."""

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


_URL = WebhookUrl("a URL such as https://hooks.example/budgets")
_SECRET = Key(USABLE_KEY)


class FileWebhook(NamedTuple):
    """The variables that the file names."""

    url: SecretRef | None = None
    secret: SecretRef | None = None

    def in_force(self, ledger: LedgerSettings, environ: Mapping[str, str]) -> LedgerSettings:
        """Return the ledger's settings with the values of the variables.

        :raises ConfigError: a variable is not set, or its value cannot be used.
        """
        url = Secret(self.url.follow(environ, _URL)) if self.url else None
        secret = Secret(self.secret.follow(environ, _SECRET)) if self.secret else None
        return msgspec.structs.replace(ledger, webhook=url, webhook_secret=secret)
