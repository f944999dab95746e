"""How many examples a property test tries: few in `make test`, all of them in `make soak`."""

from __future__ import annotations

import os

#: `make soak` sets EXAMPLES=full.
FULL = os.environ.get("EXAMPLES") == "full"


def examples(usual: int, full: int) -> int:
    """The number of examples of this run."""
    return full if FULL else usual
