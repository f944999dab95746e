"""Reads metrics back: a ``Metrics`` of its own, and its figures by name and labels."""

from __future__ import annotations

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from flask_gateway.model.call import Ids
from flask_gateway.telemetry.exposition import Snapshot, exposition
from flask_gateway.telemetry.metric_families import Families
from flask_gateway.telemetry.metrics import Metrics
from flask_gateway.telemetry.request_record import RequestRecord

SNAPSHOT = Snapshot({("llama", ""): 1, ("llama", "llama-3"): 2}, True, 1e9)

#: By the name of the series and its labels.
Figures = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parse(text: str) -> Figures:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Counted:
    """Metrics of one test: records go in, figures come out."""

    def __init__(self) -> None:
        self.metrics = Metrics(Families(), ["fast"], ["llama", "openai"])

    def tell(self, **fields: Any) -> None:
        common: dict[str, Any] = {
            "ids": Ids("r", "t", "00"),
            "key": "team-a",
            "method": "POST",
            "path": "/v1/chat/completions",
            "route": "/v1/chat/completions",
            "status": 200,
            "seconds": 2.0,
            "model": "fast",
            "upstream": "llama",
            "outcome": "success",
        }
        self.metrics(RequestRecord(**{**common, **fields}))

    def figures(self) -> Figures:
        return parse(exposition(self.metrics.families, SNAPSHOT).decode())

    def of(self, name: str) -> dict[tuple[str, ...], float]:
        """A family's figures by the values of its labels, in the order of the labels' names."""
        return {
            tuple(value for _, value in labels): figure
            for (found, labels), figure in self.figures().items()
            if found == f"gateway_{name}"
        }
