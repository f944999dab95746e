"""A CycloneDX bill of what is installed at run time, from the pins: ``make sbom``.

Written with the standard library, so that what lists the packages adds none.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
_PIN = re.compile(
    r"^([A-Za-z0-9._-]+)==(\S+)(?: ; [^\n\\]+?)?((?: \\\n +--hash=sha256:[0-9a-f]{64})+)", re.MULTILINE
)


def components(requirements: str) -> list[dict[str, Any]]:
    """One for each pin, with the digests of the files that may be installed for it."""
    return [
        {
            "type": "library",
            "name": name,
            "version": version,
            "purl": f"pkg:pypi/{name.lower()}@{version}",
            "hashes": [
                {"alg": "SHA-256", "content": digest} for digest in re.findall("[0-9a-f]{64}", hashes)
            ],
        }
        for name, version, hashes in _PIN.findall(requirements)
    ]


def version() -> str:
    """The version of the gateway, from its one place."""
    found = re.search(
        r'^__version__ = "(.+)"$', (ROOT / "flask_gateway/__init__.py").read_text(), re.MULTILINE
    )
    assert found
    return found[1]


def bill() -> dict[str, Any]:
    """All of it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    itself = {"type": "application", "name": project["name"], "version": version()}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": itself},
        "components": components((ROOT / "requirements.txt").read_text()),
    }


if __name__ == "__main__":
    print(json.dumps(bill(), indent=2))
