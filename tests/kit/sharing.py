"""Runs the tests that share gateways in one process of xdist.

Each process that runs one of them starts the gateways of ``scenarios/conftest.py`` and keeps them to its end.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

#: The files of ``scenarios`` whose tests use those gateways.
SHARING = frozenset(
    {
        "test_attacks_bodies.py",
        "test_attacks_keys.py",
        "test_attacks_proxy.py",
        "test_attacks_secrets.py",
        "test_attacks_upstream.py",
        "test_attacks_visible.py",
        "test_bad_input.py",
        "test_breaker.py",
        "test_credentials.py",
        "test_doctor.py",
        "test_fuzz.py",
        "test_headers.py",
        "test_limits.py",
        "test_metrics.py",
        "test_models.py",
        "test_nginx.py",
        "test_nginx_refusals.py",
        "test_openai_client.py",
        "test_smoke.py",
        "test_smuggling.py",
        "test_streams.py",
        "test_supply.py",
        "test_upstream_failures.py",
    }
)


def shares(path: Path) -> bool:
    """Whether the tests of a file use gateways of many files."""
    return path.parent.name == "scenarios" and path.name in SHARING


def check(items: list[pytest.Item]) -> None:
    """Refuse a run in which a file shares gateways and is not in ``SHARING``."""
    found = {item.path for item in items if "start_shared_gateway" in getattr(item, "fixturenames", ())}
    if lacking := sorted(path.name for path in found if not shares(path)):
        raise pytest.UsageError(f"add {', '.join(lacking)} to SHARING of tests/kit/sharing.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Distribute the tests by file, and those of ``SHARING`` as one. ``conftest.py`` registers this hook."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class BySharing(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return "sharing" if shares(Path(file)) else file

    return BySharing(config, log)
