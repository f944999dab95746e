"""Writes the text of a new settings file. Pure: reads nothing and writes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ...config.errors import dotted
from ..keys import table

#: The upstream of a file for which nothing was found: slow enough for `doctor` to see whether streams flow.
MOCK = "mock://local?tokens=20&rate=20"


class Upstream(NamedTuple):
    """One upstream of the new file.

    :param source: where it comes from, for a comment.
    :param models: names of its models. :param example: a model for a first call, if they are unknown.
    :param secret: the path of the file with its key, relative to the settings.
    :param lists: whether the gateway asks it for its models. :param kind: empty: none is written.
    """

    name: str
    url: str
    source: str
    models: tuple[str, ...] = ()
    secret: str | None = None
    example: str = "MODEL"
    lists: bool = False
    kind: str = ""


def first_model(upstreams: Sequence[Upstream]) -> str:
    """The model of a first call."""
    if not upstreams:
        return "mock"
    known = (model for upstream in upstreams for model in upstream.models)
    return next(known, f"{upstreams[0].name}/{upstreams[0].example}")


def text(upstreams: Sequence[Upstream], keys: Sequence[tuple[str, str]]) -> str:
    """The settings file.

    :param keys: the name and the key of each caller. Only the digests are in the text.
    """
    lines = [*_HEAD]
    if upstreams:
        default = _padded(f"default_upstream = {_quoted(upstreams[0].name)}")
        lines += ["", f"{default}# for models that no other rule places"]
        for upstream in upstreams:
            lines += ["", *_upstream(upstream)]
    else:
        lines += ["", *_NOTHING_FOUND]
    lines += ["", *_models(upstreams)]
    for name, key in keys:
        lines += [table(name, key), ""]
    return "\n".join(lines)


_HEAD = (
    "# Settings of Flask Gateway, made by `flask-gateway init`. `flask-gateway check` validates a change.",
    "# A running gateway takes a change over within 5 seconds, and refuses one with a mistake.",
    "# No secret is in this file: callers' keys are SHA-256 digests, and providers' keys are in other files.",
    "",
    "rate_limit_per_minute = 60          # requests of one key in any 60 seconds; 0 for unlimited",
    "",
    "# A model that loads, reads a long prompt or reasons can be silent for longer than the defaults allow.",
    "request_timeout_seconds = 60        # the longest silence of a stream",
    "answer_timeout_seconds = 300        # the longest time for an answer in one piece",
)
_NOTHING_FOUND = (
    "# No model server and no provider's key was found, so a mock answers. Replace it:",
    "[upstreams.mock]",
    f'url = "{MOCK}"',
    "",
    "#[upstreams.ollama]",
    '#url = "http://127.0.0.1:11434"',
    "",
    "#[upstreams.openai]",
    '#url = "https://api.openai.com"',
    '#api_key_file = "secrets/openai.key"    # a file of mode 0600, next to this one',
)


def _upstream(upstream: Upstream) -> Iterator[str]:
    yield _padded(f"[{dotted('upstreams', upstream.name)}]") + f"# {upstream.source}"
    if upstream.kind:
        yield f"kind = {_quoted(upstream.kind)}"
    yield f"url = {_quoted(upstream.url)}"
    if upstream.secret:
        yield _padded(f"api_key_file = {_quoted(upstream.secret)}") + "# mode 0600; relative to this file"
    if upstream.lists:
        yield _padded("list_models = true") + "# GET /v1/models shows its models"


def _models(upstreams: Sequence[Upstream]) -> Iterator[str]:
    """A table for each model, for the first upstream that has it."""
    seen = set()
    for upstream in upstreams:
        for model in upstream.models:
            if model not in seen:
                seen.add(model)
                yield f"[models.{_quoted(model)}]"
                yield f"upstream = {_quoted(upstream.name)}"
                yield ""


def _quoted(value: str) -> str:
    """A basic string of TOML. JSON's escapes are a part of TOML's."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _padded(line: str) -> str:
    return f"{line:<35} "
