"""Reads metrics from a scrape of a running gateway."""

from __future__ import annotations

import re
from collections import Counter

from kit.servers import Gateway
from kit.wire import ask

_SAMPLE = re.compile(r"^((?:gateway|process)_\w+)(?:\{(.*)\})? ([0-9.e+]+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def figures(gateway: Gateway, family: str, *labels: str) -> Counter[str]:
    """The samples of a metric family, summed by the values of ``labels``."""
    scrape = ask(gateway.port, "GET", "/metrics")
    assert scrape.status == 200
    sums: Counter[str] = Counter()
    for name, labelled, figure in _SAMPLE.findall(scrape.body.decode()):
        if name in (family, f"gateway_{family}"):
            values = dict(_LABEL.findall(labelled))
            sums[" ".join(values[label] for label in labels)] += float(figure)
    return sums
