"""Reads an upstream from the fields of its table in the TOML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ..model.call import WITH_MODEL, Continues, Operation
from ..model.quirks import Quirks
from ..model.raw_path import RawPath
from .errors import ConfigError, dotted
from .file_egress import EGRESS_FIELDS, FileEgress, egress_of
from .file_quirks import QUIRKS, quirks_of
from .key_command_syntax import CommandWords
from .kinds import DEFAULT, KINDS, KeyCommand
from .options import SECRET_PATH, UPSTREAM_MAX_IN_FLIGHT, VARIABLE
from .raw_syntax import RawPaths
from .route_syntax import CLOCKS, clocks_of
from .secrets import Forbidden, SecretRef
from .value_types import Continuing, Flag, Names, OneOf, Seconds, TextLine, UpstreamUrl, UrlPath, ValueType

URL = UpstreamUrl("a URL such as http://localhost:8001")
UPSTREAM: Mapping[str, ValueType] = {
    "url": URL,
    "url_env": VARIABLE,
    "url_path": UrlPath("a path such as /openai/v1, to be appended to the URL in url_env"),
    "api_key_env": VARIABLE,
    "api_key_file": SECRET_PATH,
    "api_key_command": CommandWords('a list of words such as ["gcloud", "auth", "print-access-token"]'),
    "api_key_seconds": Seconds("a number of seconds, at least 10", 10.0),
    "max_in_flight": UPSTREAM_MAX_IN_FLIGHT.kind,
    **EGRESS_FIELDS,
    "kind": OneOf(f"one of {', '.join(KINDS)}", tuple(KINDS)),
    "speaks": Names(f"a list of operations: {', '.join(WITH_MODEL)}", tuple(WITH_MODEL)),
    "stream_usage": Flag("true or false"),
    "list_models": Flag("true or false"),
    "raw": RawPaths('a list of methods and paths such as ["GET files/*", "POST batches"]'),
    "provider": TextLine("the name of a provider, as traces show it"),
    "prices": TextLine("the name of a provider whose prices apply, or free"),
    "continues": Continuing("true, false, vllm, prefix or plain", tuple(Continues)),
    **QUIRKS,
    **CLOCKS,
    "api_key": Forbidden(
        "no secret in the file", "name its place with api_key_env, api_key_file or api_key_command"
    ),
}


#: How long a printed key is used that does not say how long it is valid, seconds.
KEY_SECONDS = 300.0


class FileUpstream(msgspec.Struct, frozen=True, kw_only=True):
    """An upstream in the file.

    :param url_ref: the variable that has its URL, if ``url`` is empty. :param url_path: appended to that.
    """

    name: str
    url: str = ""
    url_ref: SecretRef | None = None
    url_path: str = ""
    api_key: SecretRef | None = None
    key_command: KeyCommand | None = None
    max_in_flight: int | None = None
    stream_usage: bool | None = None
    list_models: bool = False
    prices: str | None = None
    provider: str | None = None
    continues: Continues | None = None
    egress: FileEgress = FileEgress()
    clocks: Mapping[str, float] = {}
    kind: str = DEFAULT
    speaks: frozenset[Operation] | None = None
    quirks: Quirks | None = None
    raw: tuple[RawPath, ...] = ()


def upstream_of(
    name: str, fields: Mapping[str, Any], url: SecretRef | None, api_key: SecretRef | None, folder: Path
) -> FileUpstream:
    """Return the upstream with these checked fields.

    :param url: names the variable that has its URL. :param folder: the base of relative paths.
    :raises ConfigError: two fields contradict each other.
    """
    path, kind = ("upstreams", name), fields.get("kind", DEFAULT)
    for field in {"kind", "speaks", "raw"} & fields.keys():
        if str(fields.get("url")).startswith("mock:"):
            raise ConfigError(dotted(*path, field), None, "an upstream that is no mock", "leave it out")
    if "speaks" in fields and not fields["speaks"]:
        raise ConfigError(dotted(*path, "speaks"), None, UPSTREAM["speaks"].expected, "it is empty")
    own_url = "" if url is not None or "url" in fields else KINDS[kind].url
    return FileUpstream(
        name=name,
        url=fields.get("url", own_url),  # empty when the URL was refused
        url_ref=url,
        url_path=fields.get("url_path", ""),
        api_key=api_key,
        key_command=_key_command(path, fields),
        max_in_flight=fields.get("max_in_flight"),
        stream_usage=fields.get("stream_usage"),
        list_models=fields.get("list_models", False),
        prices=fields.get("prices"),
        provider=fields.get("provider"),
        continues=Continues(fields["continues"]) if fields.get("continues") else None,
        egress=egress_of(path, fields, folder),
        clocks=clocks_of(fields),
        kind=kind,
        speaks=frozenset(map(Operation, fields["speaks"])) if "speaks" in fields else None,
        quirks=quirks_of(fields, KINDS[kind].quirks),
        raw=fields.get("raw", ()),
    )


def _key_command(path: tuple[str, ...], fields: Mapping[str, Any]) -> KeyCommand | None:
    """:raises ConfigError: there are seconds without a command."""
    if "api_key_command" in fields:
        return KeyCommand(fields["api_key_command"], fields.get("api_key_seconds", KEY_SECONDS))
    if "api_key_seconds" in fields:
        raise ConfigError(dotted(*path, "api_key_seconds"), None, "api_key_command with it")
    return None
