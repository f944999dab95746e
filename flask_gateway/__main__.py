"""Runs the command line: ``python -m flask_gateway check``."""

from __future__ import annotations

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main())
