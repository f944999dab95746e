"""Tests ``kind`` and ``speaks`` of an upstream in the settings file."""

from __future__ import annotations

from pathlib import Path

import pytest

from flask_gateway.config.describe import describe
from flask_gateway.config.errors import ConfigError
from flask_gateway.config.kinds import KINDS
from flask_gateway.config.load import load, resolve
from flask_gateway.config.schema import UpstreamSettings
from flask_gateway.model.call import MEDIA, OPENAI, Operation

KEY = {"UPSTREAM_KEY": "upstream-key-of-a-test"}


def environ(folder: Path, table: str) -> dict[str, str]:
    path = folder / "gateway.toml"
    path.write_text(f"[upstreams.one]\n{table}\n")
    return {"GATEWAY_CONFIG": str(path), **KEY}


def read(folder: Path, table: str) -> UpstreamSettings:
    return load(environ(folder, table)).upstreams[0]


def test_a_kind_has_its_url_operations_and_timeouts(tmp_path: Path) -> None:
    claude = read(tmp_path, 'kind = "anthropic"\napi_key_env = "UPSTREAM_KEY"\ntotal_seconds = 900')
    assert claude.url == "https://api.anthropic.com/v1"
    assert claude.operations == {Operation.MESSAGE, Operation.COUNT}
    assert claude.clocks is not None
    assert (claude.clocks.first_token, claude.clocks.answer, claude.clocks.total) == (120, 300, 900)


def test_an_upstream_without_a_kind_is_as_before(tmp_path: Path) -> None:
    plain = read(tmp_path, 'url = "http://127.0.0.1:1"')
    assert (plain.kind, plain.operations, plain.clocks) == ("openai", frozenset((*OPENAI, *MEDIA)), None)
    assert plain.stream_usage


def test_each_part_of_a_kind_may_be_set_over(tmp_path: Path) -> None:
    own = read(
        tmp_path, 'kind = "cohere"\nurl = "http://127.0.0.1:1"\nspeaks = ["messages"]\nstream_usage = true'
    )
    assert (own.url, own.operations, own.stream_usage) == (
        "http://127.0.0.1:1/v1",
        {Operation.MESSAGE},
        True,
    )
    assert not read(tmp_path, 'kind = "cohere"').stream_usage


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('kind = "antropic"', "anthropic"),
        ('kind = "azure"', "upstreams.one.url"),
        ('kind = "vllm"\nurl = "mock://local"', "upstreams.one.kind"),
        ('speaks = ["messages"]\nurl = "mock://local"', "upstreams.one.speaks"),
        ('speaks = ["message"]\nurl = "http://127.0.0.1:1"', "messages"),
        ("speaks = []\nurl = 'http://127.0.0.1:1'", "upstreams.one.speaks"),
        ("speaks = 5\nurl = 'http://127.0.0.1:1'", "upstreams.one.speaks"),
    ],
)
def test_mistakes_name_the_setting_and_what_was_expected(tmp_path: Path, table: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, table)
    assert words in str(caught.value)


def test_check_shows_them(tmp_path: Path) -> None:
    table = 'kind = "vllm"\nurl = "http://127.0.0.1:1"\nspeaks = ["messages", "chat/completions"]'
    shown = "\n".join(describe(resolve(environ(tmp_path, table))))
    assert "upstreams.one.kind = vllm" in shown
    assert "upstreams.one.speaks = chat/completions, messages" in shown
    shown = "\n".join(describe(resolve(environ(tmp_path, 'kind = "anthropic"'))))
    assert "upstreams.one = https://api.anthropic.com/v1/messages" in shown


def test_quirks_are_those_of_the_kind_unless_they_are_set(tmp_path: Path) -> None:
    plain = read(tmp_path, 'kind = "mistral"')
    assert plain.quirks is None
    assert plain.of_kind.quirks.short_tool_ids
    table = 'kind = "mistral"\nunsupported = "drop"\nmax_output_tokens = 8192\ntop_k = true'
    own = read(tmp_path, table).quirks
    assert own is not None
    assert (own.unsupported, own.max_output_tokens) == ("drop", 8192)
    assert own.top_k
    assert own.short_tool_ids
    shown = "\n".join(describe(resolve(environ(tmp_path, table))))
    assert "upstreams.one.unsupported = drop" in shown
    assert "upstreams.one.max_output_tokens = 8192" in shown
    assert "short_tool_ids" not in shown


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ('unsupported = "ignore"', "refuse or drop"),
        ("max_output_tokens = 0", "a whole number from 1"),
        ('top_k = "yes"', "true or false"),
    ],
)
def test_a_wrong_quirk_is_a_mistake(tmp_path: Path, setting: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, f'kind = "vllm"\nurl = "http://127.0.0.1:1"\n{setting}')
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "key", "header"),
    [
        ("azure", "0123456789abcdef", "api-key"),
        ("azure", "eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "Authorization"),
        ("foundry", "eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "Authorization"),
        ("anthropic", "eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "x-api-key"),
        ("vertex", "ya29.token", "Authorization"),
    ],
)
def test_the_header_of_a_key(kind: str, key: str, header: str) -> None:
    assert list(KINDS[kind].headers_of(key)) == [header]
