"""Sets the machine's clock forward and back for a gateway in processes of its own."""

from __future__ import annotations

from pathlib import Path

#: Found by every Python that starts with its folder in PYTHONPATH: what reads the machine's clock gets
#: it shifted by what stands in a file. (libfaketime breaks Python's own sleep, which sleeps until a
#: moment of the monotonic clock.)
_SHIFTED = """
import os, time

def shifted(real, unit):
    def now():
        with open(os.environ["CLOCK_OFFSET"]) as file:
            return real() + int(file.read() or 0) * unit
    return now

time.time, time.time_ns = shifted(time.time, 1), shifted(time.time_ns, 10**9)
"""


class ShiftedClock:
    """The clock of the gateways that start with its ``environment``."""

    def __init__(self, folder: Path) -> None:
        self._offset = folder / "offset"
        self.set(0)
        (folder / "sitecustomize.py").write_text(_SHIFTED)
        self.environment = {"PYTHONPATH": str(folder), "CLOCK_OFFSET": str(self._offset)}

    def set(self, seconds: int) -> None:
        """Shift the clock. It can be shifted while the gateways run."""
        # At once: a reader never finds the file empty.
        waiting = self._offset.with_suffix(".new")
        waiting.write_text(str(seconds))
        waiting.replace(self._offset)
