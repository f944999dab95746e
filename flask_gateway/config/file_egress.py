"""Reads how upstreams are reached from the fields of the TOML file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from .errors import ConfigError, dotted
from .options import EGRESS, VARIABLE
from .schema import Proxy
from .secrets import SecretRef
from .value_types import ValueType

#: The fields of an upstream's table.
EGRESS_FIELDS: Mapping[str, ValueType] = {
    **{option.name: option.kind for option in EGRESS},
    "proxy_env": VARIABLE,
}


class FileEgress(msgspec.Struct, frozen=True, kw_only=True):
    """How upstreams are reached: at the top of the file, or in the table of one upstream."""

    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    proxy: Proxy | SecretRef | None = None

    def files(self) -> Iterator[Path]:
        yield from (path for path in (self.ca_file, self.client_cert, self.client_key) if path)


def egress_of(path: tuple[str, ...], fields: Mapping[str, Any], folder: Path) -> FileEgress:
    """Return the settings in checked fields.

    :param path: of the table; empty for the top of the file. :param folder: the base of relative paths.
    :raises ConfigError: two fields contradict each other.
    """
    place = only_one(path, fields, ("proxy", "proxy_env"))
    files = {
        name: folder / fields[name] for name in ("ca_file", "client_cert", "client_key") if name in fields
    }
    proxy = fields["proxy"] if place == "proxy" else None
    if place == "proxy_env":
        proxy = SecretRef(dotted(*path, place), fields[place])
    return FileEgress(proxy=proxy, **files)


def only_one(path: tuple[str, ...], fields: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """The one of the names that is set, if any.

    :raises ConfigError: several are set.
    """
    given = [name for name in names if name in fields]
    if len(given) > 1:
        raise ConfigError(dotted(*path, given[1]), None, f"only one of {' and '.join(given)}")
    return given[0] if given else None
