"""An installation stays small. ``test_wheel.py`` measures a real one, which needs a package index."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
MIB = 1 << 20
#: The most packages; the most bytes of all others with their bytecode, and of the files of the gateway.
MOST_PACKAGES, MOST_OF_OTHERS, MOST_OF_ITS_OWN = 20, 14 * MIB, 4 * MIB


def needed(names: set[str]) -> dict[str, Distribution]:
    """The distributions of these names, and all that they need, by their normalized names (PEP 503)."""
    found: dict[str, Distribution] = {}
    waiting = sorted(names)
    for name in waiting:
        normal = re.sub(r"[-_.]+", "-", name).lower()
        if normal in found:
            continue
        found[normal] = one = distribution(name)
        requirements = map(Requirement, one.requires or ())
        waiting += [
            each.name for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""})
        ]
    return found


def test_an_installation_has_few_packages_and_few_bytes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(line) for line in project["dependencies"]]
    names = {each.name for each in wanted if each.marker is None or each.marker.evaluate()}
    found = needed(names)
    assert len(found) + 1 <= MOST_PACKAGES, sorted(found)
    places = {Path(str(one.locate_file(file))) for one in found.values() for file in one.files or ()}
    assert sum(place.stat().st_size for place in places if place.is_file()) < MOST_OF_OTHERS
    own = (path for path in (ROOT / "flask_gateway").rglob("*") if path.is_file())
    assert sum(path.stat().st_size for path in own if path.parent.name != "__pycache__") < MOST_OF_ITS_OWN
