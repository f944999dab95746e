"""Fuzzes one target, guided by coverage: ``python tests/fuzz/run.py body -max_total_time=600``.

The options are libFuzzer's. New inputs go to a separate folder, so the corpus stays as chosen;
``-merge=1`` adds the useful ones to the corpus.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent))

with atheris.instrument_imports(include=["flask_gateway"]):
    sys.path.insert(0, str(HERE))
    import targets


def main() -> None:
    name, *options = sys.argv[1:]
    folders = [tempfile.mkdtemp(prefix=f"fuzz-{name}-"), str(HERE / "corpus" / name)]
    limits = ["-max_len=4096", "-timeout=10", "-rss_limit_mb=1024"]
    atheris.Setup([sys.argv[0], *limits, *options, *folders], targets.TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
