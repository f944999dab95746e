"""Provides what the tests of settings share: a secret, and the refusal of an environment."""

from __future__ import annotations

import pytest

from flask_gateway.config.errors import ConfigError
from flask_gateway.config.load import load

SECRET = "PLANTED7secret"


def refusal(**environ: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(environ)
    line = str(caught.value)
    assert "\n" not in line
    assert SECRET not in line + repr(caught.value)
    return caught.value
