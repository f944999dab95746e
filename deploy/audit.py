"""Known faults of what is installed at run time: ``make audit``.

Asks the advisory databases with pip-audit. That nothing was found is told from that nobody could be asked:
pip-audit itself is content with a package that no database knew of.

Exits with 0: asked about all of them, nothing found. 1: there are findings. 69 (EX_UNAVAILABLE): no database
could be asked about all; with ``--where-possible`` that is said, and is no failure.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

REQUIREMENTS = Path(__file__).parent.parent / "requirements.txt"
CLEAN, FINDINGS, UNAVAILABLE = 0, 1, 69
SERVICES = ("pypi", "osv")
#: Seconds, for one of them.
PATIENCE = 120


class Audit(NamedTuple):
    """What one database has said."""

    #: Packages it was asked about, and answered.
    known: int
    #: Packages it said nothing of.
    unknown: int
    #: Package, version and name of each fault.
    findings: list[str]

    @property
    def verdict(self) -> int:
        if self.findings:
            return FINDINGS
        return CLEAN if self.known and not self.unknown else UNAVAILABLE


def read(said: str) -> Audit:
    """:param said: what pip-audit writes as JSON; anything else is no answer."""
    try:
        packages = json.loads(said)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return Audit(0, 0, [])
    answered = [one for one in packages if "skip_reason" not in one]
    findings = [
        f"{one['name']} {one['version']}: {fault['id']}" for one in answered for fault in one["vulns"]
    ]
    return Audit(len(answered), len(packages) - len(answered), findings)


def ask(service: str) -> str:
    """What pip-audit has to say, or nothing."""
    command = [sys.executable, "-m", "pip_audit", "--vulnerability-service", service, "--format", "json"]
    command += ["--progress-spinner", "off", "--require-hashes", "--disable-pip", "-r", str(REQUIREMENTS)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout


def main(options: list[str]) -> int:
    for service in SERVICES:
        audit = read(ask(service))
        if audit.verdict != UNAVAILABLE:
            break
        print(f"audit: {service} could not be asked about all: {audit.known} answered, {audit.unknown} not")
    for finding in audit.findings:
        print(f"audit: {finding}")
    if audit.verdict == UNAVAILABLE:
        print("audit: NOT DONE. No advisory database could be reached, so nothing is known of known faults.")
        return CLEAN if "--where-possible" in options else UNAVAILABLE
    print(f"audit: {len(audit.findings)} known faults in {audit.known} packages, says {service}")
    return audit.verdict


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
