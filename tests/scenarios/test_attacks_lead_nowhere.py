"""Tests S15 of docs/security.md in a network namespace without a route to the outside.

The tests that name addresses, redirects included, run again inside it. The kernel counts every packet
to another machine, DNS queries included, because it has no route.
"""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from kit.needs import need
from kit.servers import ROOT

pytestmark = pytest.mark.live

AGAIN = (
    "test_no_redirect_and_no_field_is_followed",
    "test_a_faulty_upstream_is_a_502[away-upstream_misconfigured]",
)
COUNTS = "cat /proc/net/snmp /proc/net/snmp6"


def strays(command: str) -> tuple[int, subprocess.CompletedProcess[str]]:
    """The number of packets that a command sent to other machines, and its result."""
    script = f"set -e; ip link set lo up; {COUNTS}; {command}; {COUNTS}"
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    names, *values = (line.split() for line in re.findall(r"^Ip: .*", done.stdout, re.MULTILINE))
    before, after = (int(row[names.index("OutNoRoutes")]) for row in (values[0], values[2]))
    six = [int(count) for count in re.findall(r"^Ip6OutNoRoutes\s+(\d+)", done.stdout, re.MULTILINE)]
    return after - before + six[1] - six[0], done


@pytest.fixture(autouse=True)
def _programs() -> None:
    need("unshare")
    need("ip")


@pytest.mark.long
def test_s15_no_address_in_a_request_is_contacted():
    tests = " ".join(f"'tests/scenarios/test_attacks_upstream.py::{name}'" for name in AGAIN)
    count, done = strays(f"{sys.executable} -m pytest -q -p no:cacheprovider {tests}")
    assert "2 passed" in done.stdout
    assert count == 0


def test_s15_the_count_notices_a_connection():
    places = [("INET", "169.254.169.254"), ("INET", "192.0.2.1"), ("INET6", "2001:db8::1")]
    asks = [f"socket.socket(socket.AF_{family}).connect_ex(('{place}', 80))" for family, place in places]
    count, _ = strays(f'{sys.executable} -c "import socket; {"; ".join(asks)}"')
    assert count == len(places)
