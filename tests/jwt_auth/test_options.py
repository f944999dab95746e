"""Options of the authenticator: a refusal names the option and the values that it may have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flask_gateway.config.errors import ConfigError
from flask_gateway.jwt_auth.options import options_of

GOOD: dict[str, Any] = {
    "issuer": "https://login.example/realms/company",
    "audience": "gateway",
    "groups": {"staff": {"team": "staff", "models": ["fast"], "requests": 30, "tokens": 1000}},
}


def options(**changed: Any) -> Any:
    return options_of({name: value for name, value in (GOOD | changed).items() if value is not None}, {})


def test_the_defaults() -> None:
    found = options()
    assert found.rules == (GOOD["issuer"], {"gateway"}, 60.0, "sub", "groups", {})
    assert found.algorithms == {"RS256"}
    assert (found.ages, found.keep) == ((600.0, 86400.0), None)
    assert found.accounts.prefix == "login.example.realms.company"
    grant = found.accounts.groups["staff"]
    assert (grant.team, grant.models, grant.requests, grant.concurrent) == ("staff", {"fast"}, 30, None)
    assert grant.policy.own.tokens == 1000


def test_a_list_of_audiences_and_a_default_alone() -> None:
    found = options(audience=["a", "b"], groups=None, default={})
    assert (found.rules.audiences, found.accounts.groups) == ({"a", "b"}, {})
    assert found.accounts.default is not None


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"issuer": None}, "issuer: expected .* missing"),
        ({"audience": None}, "audience: expected .* missing"),
        ({"groups": None}, "groups: expected"),
        ({"groups": {}}, "groups=.*expected"),
        ({"issuer": "http://login.example"}, "issuer=.*https://"),
        ({"jwks_url": "http://login.example/keys"}, "jwks_url=.*https://"),
        ({"algorithms": ["HS256"]}, "algorithms=.*public keys alone"),
        ({"algorithms": ["RS256", "none"]}, "public keys alone"),
        ({"algorithms": []}, "algorithms="),
        ({"algorithms": "RS265"}, "did you mean RS256"),
        ({"isuer": "x"}, "isuer: expected a known option; did you mean issuer"),
        ({"leeway_seconds": 3600}, "leeway_seconds=3600"),
        ({"stale_seconds": "long"}, "stale_seconds='long'"),
        ({"keep": "/no/such/place"}, "keep='/no/such/place'"),
        ({"require": {"hd": ["x"]}}, "require="),
        ({"groups": {"staff": {"modles": ["x"]}}}, "groups=.*expected one of"),
        ({"groups": {"staff": {"requests": -1}}}, "groups="),
        ({"groups": {"staff": 1}}, "groups="),
        ({"prefix": "a:b"}, "prefix='a:b'"),
    ],
)
def test_refused_options(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        options(**changed)
    assert "\n" not in str(error.value)


def test_the_directory_that_systemd_made_keeps_the_keys(tmp_path: Path) -> None:
    environ = {"STATE_DIRECTORY": "/no/such/place", "CACHE_DIRECTORY": f"{tmp_path}:/x"}
    assert options_of(GOOD, environ).keep == tmp_path
    assert options_of(GOOD | {"keep": str(tmp_path.parent)}, environ).keep == tmp_path.parent
