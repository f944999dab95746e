"""Tests an upstream of the file: its defaults, what its kind adds, and fields that contradict each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flask_gateway.config.errors import ConfigError
from flask_gateway.config.file_upstream import UPSTREAM, FileUpstream, upstream_of
from flask_gateway.config.kinds import KINDS
from flask_gateway.config.secrets import SecretRef
from flask_gateway.model.call import Continues, Operation


def read(**fields: Any) -> FileUpstream:
    checked = {name: UPSTREAM[name].check(value) for name, value in fields.items()}
    return upstream_of("one", checked, None, None, Path("/etc"))


@pytest.mark.parametrize("field", [{"kind": "vllm"}, {"speaks": ["messages"]}])
def test_a_mock_has_neither_kind_nor_operations(field: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^upstreams\.one\.(kind|speaks): expected an upstream that is no"):
        read(url="mock://local", **field)


def test_an_empty_list_of_operations_is_refused() -> None:
    with pytest.raises(ConfigError, match="it is empty"):
        read(url="http://a.test", speaks=[])


def test_a_key_in_the_file_is_refused_with_the_way_to_name_its_place() -> None:
    with pytest.raises(ValueError, match="no secret in the file"):
        read(api_key="sk-1")


def test_a_kind_brings_its_url_and_a_reference_leaves_it_open() -> None:
    assert read(kind="anthropic").url == KINDS["anthropic"].url
    assert read(kind="anthropic", url="http://a.test").url == "http://a.test/v1"
    ref = SecretRef("upstreams.one.url_env", "URL")
    assert upstream_of("one", {"kind": "anthropic"}, ref, None, Path("/etc")).url == ""


def test_fields_are_read_into_their_types() -> None:
    one = read(url="http://a.test", speaks=["messages"], continues=True, idle_seconds=5, max_in_flight=7)
    assert one.speaks == {Operation.MESSAGE}
    assert one.continues is Continues("vllm")
    assert one.clocks == {"idle": 5.0}
    assert (one.max_in_flight, one.list_models, one.stream_usage) == (7, False, None)
