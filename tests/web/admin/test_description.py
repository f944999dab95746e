"""Compares docs/openapi-admin.yaml with the routes of /admin/v1, and with the document that is served."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml
from kit.admins import AdminClient

ROOT = Path(__file__).parents[3]
DOCUMENT = yaml.safe_load((ROOT / "docs/openapi-admin.yaml").read_text())


def test_the_served_file_is_up_to_date(admins: AdminClient) -> None:
    served = (ROOT / "flask_gateway/web/admin/openapi.json").read_text()
    assert served == json.dumps(DOCUMENT, indent=1) + "\n", "make openapi"
    assert admins.ask("GET", "/openapi.json").json == DOCUMENT


def test_the_document_has_every_route_of_admins_and_no_other(admins: AdminClient) -> None:
    there = {
        (re.sub("<(?:path:)?(.+?)>", r"{\1}", rule.rule), method.lower())
        for rule in admins.app.url_map.iter_rules()
        if rule.rule.startswith("/admin")
        for method in (rule.methods or set()) - {"HEAD"}
    }
    described = {
        (path, method)
        for path, item in DOCUMENT["paths"].items()
        for method in item
        if method != "parameters"
    }
    # The paths of one key are described once, by id; GET takes a name, too.
    assert there == described
