"""The dashboard, the alerts and docs/observability.md name the metrics that exist, and all log fields."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from kit.metric_figures import Counted, Figures

from flask_gateway.model.call import Attempt, Usage
from flask_gateway.model.spend import Leg
from flask_gateway.model.units import Units
from flask_gateway.telemetry.access_log import LOG_FIELDS

ROOT = Path(__file__).parents[2]


def touched() -> Figures:
    """One figure of every metric, with all its labels."""
    counted = Counted()
    counted.tell(
        stream=True,
        first_byte=0.1,
        overhead=0.1,
        usage=Usage(1, 1, 1, parts={"seconds": 1}),
        legs=(
            Leg(upstream="llama", model="m", units=Units(), cost=1),
            Leg(upstream="llama", model="m", units=Units(), cost=None),
        ),
        attempts=(Attempt("openai", "500", 0.1), Attempt("llama", "200", 0.1)),
    )
    counted.metrics.shed("threads")
    counted.metrics.budget_alert("key", "day", 0.8)
    counted.metrics.budget_overshoot(1)
    counted.metrics.alert_posted(True)
    counted.metrics.budget_unverified()
    counted.metrics.plugin_ran("pii", "admit", 0.1)
    counted.metrics.plugin_slow("pii", "admit")
    counted.metrics.plugin_failed("pii", "admit")
    counted.metrics.traced("exported", 1)
    counted.metrics.cache_lookup("m", "hit")
    counted.metrics.cache_refused("sampled")
    counted.metrics.cache_saved("m", 1, 1)
    counted.metrics.cache_written(kept=True, evicted=1)
    counted.metrics.breaker_changed("llama", None, "closed", "open")
    counted.metrics.in_flight([("llama", 1.0)])
    return counted.figures()


LABELS = {name: {label for label, _ in labels} for name, labels in touched()}
#: Labels that Prometheus adds.
TARGET = {"instance", "job"}


def expressions(text: str) -> list[str]:
    """The expressions of the dashboard, or the lines of the rules."""
    if not text.startswith("{"):
        return [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    panels = json.loads(text)["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


@pytest.mark.parametrize("file", ["grafana.json", "alerts.yml"])
def test_dashboard_and_alerts_use_existing_metrics_and_labels(file: str) -> None:
    seen = set()
    for line in expressions((ROOT / "flask_gateway" / "deploy" / file).read_text()):
        names = set(re.findall(r"\bgateway_\w+", line))
        seen |= names
        for name in names:
            assert name in LABELS, f"{file} asks for {name}, which is not exposed"
        selected = re.findall(r"\bgateway_\w+\{([^}]*)\}", line)
        asked = {label for text in selected for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\"", text)}
        asked |= {label for text in re.findall(r"by \(([^)]*)\)", line) for label in text.split(", ")}
        if names:
            there = set().union(*(LABELS[name] for name in names)) | TARGET
            assert asked <= there, f"{file} asks for {asked - there} in {line}"
    assert len(seen) >= 8


def test_every_family_is_on_the_dashboard() -> None:
    text = (ROOT / "flask_gateway" / "deploy" / "grafana.json").read_text()
    families = {re.sub("_(bucket|sum|count)$", "", name) for name in LABELS if name.startswith("gateway_")}
    assert {name for name in families if name not in text} == set()


def test_every_family_is_documented(client: FlaskClient) -> None:
    text = (ROOT / "docs" / "observability.md").read_text()
    exposed = set(re.findall(r"^# TYPE (\w+) ", client.get("/metrics").text, re.MULTILINE))
    rows = re.findall(r"^\| (`(?:gateway|process)_[^|]+) \|", text, re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`(\w+)", row)}
    assert documented == exposed
    for name, labels in LABELS.items():
        family = re.sub("_(bucket|sum|count)$", "", name)
        if shown := sorted(labels - {"le"}):
            (row,) = re.findall(rf"^\|[^|]*`{family}\{{([^}}]*)\}}`", text, re.MULTILINE)
            assert sorted(row.split(", ")) == shown, family


def test_every_log_field_is_documented() -> None:
    text = (ROOT / "docs" / "observability.md").read_text()
    table = text[text.index("| field |") : text.index("No line has a key")]
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", table, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"\w+", row)} == set(LOG_FIELDS)
