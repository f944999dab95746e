"""Tests the message about a settings file that is no TOML."""

from __future__ import annotations

import codecs
from typing import Any

import pytest

from flask_gateway.config.errors import ConfigError
from flask_gateway.config.load import load

BASE = {"GATEWAY_API_KEYS": "a-key-of-my-own-1"}


def refused(environ: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(environ)
    return caught.value.lines()


@pytest.fixture
def from_file(toml: Any) -> Any:
    """The environment of a gateway with this settings file."""
    return lambda content: {**BASE, "GATEWAY_CONFIG": toml(content)}


@pytest.mark.parametrize("text", ["[upstreams.a]\nurl = 'http://h'\n", "log = 'text'\r\n", "# nothing\n"])
def test_a_byte_order_mark_at_the_start_of_the_file_is_ignored(text: str, from_file: Any) -> None:
    assert load(from_file(codecs.BOM_UTF8 + text.encode())) == load(from_file(text))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_file_in_utf_16_is_refused_by_name(encoding: str, from_file: Any) -> None:
    mark = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}.get(encoding, b"")
    (line,) = refused(from_file(mark + "log = 'text'  # \u00e9".encode(encoding)))
    assert "its byte order mark says UTF-16: save it as UTF-8" in line


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[upstreams.a]\r\nurl = \u201chttp://a.test/v1\u201d\r\n", "U+201C"),
        ('[upstreams.a]\nurl\u00a0= "http://a.test/v1"\n', "U+00A0"),
        ('\u200b[upstreams.a]\nurl = "http://a.test/v1"\n', "U+200B"),
        ('\ufeff\ufeff[upstreams.a]\nurl = "http://a.test/v1"\n', "U+FEFF"),
        ("\0[\0u\0p\0", "U+0000"),
    ],
)
def test_a_character_that_an_editor_has_put_into_the_file_is_named(
    text: str, found: str, from_file: Any
) -> None:
    (line,) = refused(from_file(text.encode()))
    assert f"{found} is there" in line
