"""``deploy``: prints the files that come with the gateway, for nginx, systemd, Prometheus and Grafana."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from importlib.resources import files
from typing import NamedTuple

from .command import OK, Command, add_json, print_json


class Shipped(NamedTuple):
    """A file in ``flask_gateway/deploy/``. :param place: where it goes on Debian."""

    path: str
    place: str


#: The files that can be printed, by name.
SHIPPED = {
    "nginx-http": Shipped("nginx/conf.d/flask-gateway.conf", "/etc/nginx/conf.d/flask-gateway.conf"),
    "nginx-site": Shipped("nginx/sites-available/flask-gateway", "/etc/nginx/sites-available/flask-gateway"),
    "systemd-service": Shipped("systemd/flask-gateway.service", "/etc/systemd/system/flask-gateway.service"),
    "systemd-socket": Shipped("systemd/flask-gateway.socket", "/etc/systemd/system/flask-gateway.socket"),
    "systemd-litellm": Shipped(
        "systemd/flask-gateway-litellm.service", "/etc/systemd/system/flask-gateway-litellm.service"
    ),
    "fleet-script": Shipped("fleet/nginx-gateways.sh", "/usr/local/sbin/nginx-gateways.sh, mode 755"),
    "fleet-service": Shipped("fleet/nginx-gateways.service", "/etc/systemd/system/nginx-gateways.service"),
    "grafana": Shipped("grafana.json", "a dashboard to import into Grafana"),
    "alerts": Shipped("alerts.yml", "rule_files of Prometheus"),
    "compose": Shipped("compose.yaml", "an empty folder, or the root of a clone"),
    "dockerfile": Shipped("Dockerfile", "Dockerfile, next to compose.yaml; a clone has its own"),
    "docker-settings": Shipped("docker-gateway.toml", "docker/gateway.toml, next to compose.yaml"),
    "docker-prometheus": Shipped("docker-prometheus.yml", "docker/prometheus.yml, next to compose.yaml"),
    "settings": Shipped("gateway.toml", "/etc/flask-gateway/gateway.toml"),
    "environment": Shipped("flask-gateway.env", "/etc/flask-gateway/flask-gateway.env"),
    "example": Shipped("gateway.example.toml", "more settings, to copy from"),
}
#: Names that stand for several files.
GROUPS = {
    "nginx": ("nginx-http", "nginx-site"),
    "systemd": ("systemd-service", "systemd-socket"),
    "fleet": ("fleet-script", "fleet-service"),
}


def _arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="list|print", required=True, dest="action")
    listing = actions.add_parser("list", help="list the files, and where each goes", allow_abbrev=False)
    add_json(listing)
    printing = actions.add_parser("print", help="print a file, or the files of a group", allow_abbrev=False)
    printing.add_argument("name", metavar="NAME", choices=[*GROUPS, *SHIPPED], help="one of: %(choices)s")


def _run(arguments: Namespace, environ: Mapping[str, str]) -> int:
    if arguments.action == "print":
        sys.stdout.write(printed(arguments.name))
    elif arguments.json:
        print_json({"files": [{"name": name, "place": one.place} for name, one in SHIPPED.items()]})
    else:
        for name, one in SHIPPED.items():
            print(f"{name:<16} {one.place}")
    return OK


def text(name: str) -> str:
    """The content of one file."""
    return (files(f"{__package__.partition('.')[0]}") / "deploy" / SHIPPED[name].path).read_text("utf-8")


def printed(name: str) -> str:
    """One file as it is, or the files of a group with a line before each that says where it goes."""
    if name in SHIPPED:
        return text(name)
    return "\n".join(f"# ---- {SHIPPED[one].place} ({one})\n{text(one)}" for one in GROUPS[name])


COMMAND = Command(
    _arguments,
    _run,
    (
        ("flask-gateway deploy print nginx", "both files of nginx, with where each goes"),
        ("flask-gateway deploy print alerts >alerts.yml", "the alerts for Prometheus"),
    ),
    {OK: "printed"},
    {
        "list": (
            ("flask-gateway deploy list", "a line for each file, with its place on Debian"),
            ("flask-gateway deploy list --json", "the same for programs"),
        ),
        "print": (
            ("flask-gateway deploy print nginx", "both files of nginx, with where each goes"),
            ("flask-gateway deploy print alerts >alerts.yml", "the alerts for Prometheus"),
        ),
    },
)
