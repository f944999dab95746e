"""Tests that any text in any setting is accepted or refused in one line, and no secret is printed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.configuration import SECRET
from kit.examples import examples

from flask_gateway.config.describe import describe
from flask_gateway.config.errors import ConfigError
from flask_gateway.config.load import resolve
from flask_gateway.config.options import OPTIONS

JUNK = st.text(max_size=12) | st.text(alphabet=";=,@:/?#[] \n%v1", max_size=12)
VARIABLES = [option.variable for option in OPTIONS]
SECRETIVE = [
    ("GATEWAY_API_KEYS", "{0}{secret}{1}"),
    ("GATEWAY_STATE", "{0}{secret}{1}"),
    ("GATEWAY_STATE", "redis://{0}:{secret}@{1}"),
    ("GATEWAY_STATE", "redis://{0}:{secret}{1}@host"),
    ("GATEWAY_UPSTREAM_MOCK_API_KEY", "{0}{secret}{1}"),
    ("GATEWAY_UPSTREAMS", "a=http://{0}:{secret}@{1}"),
    ("GATEWAY_UPSTREAMS", "a=http://{0}:{1}{secret}@host"),
    ("GATEWAY_UPSTREAMS", "{0}http://u:{secret}{1}@host"),
    ("GATEWAY_DEFAULT_UPSTREAM", "http://u:{secret}@{0}{1}"),
    ("GATEWAY_MADE_UP", "{0}{secret}{1}"),
]


def one_line(text: str) -> str:
    assert text.isprintable()
    return text


def said(environ: dict[str, str]) -> str:
    """All that an operator would read."""
    try:
        resolved = resolve(environ)
    except ConfigError as error:
        return one_line(str(error))
    return "\n".join([*describe(resolved), *resolved.settings.warnings, repr(resolved)])


@settings(max_examples=examples(150, 400), deadline=None)
@given(
    variable=st.sampled_from(VARIABLES), text=JUNK | st.sampled_from(["0", "1", "1e3", "mock", "a=mock://b"])
)
def test_any_text_in_any_setting_is_accepted_or_refused(variable: str, text: str) -> None:
    said({variable: text})


@settings(max_examples=examples(200, 600), deadline=None)
@given(planted=st.sampled_from(SECRETIVE), before=JUNK, after=JUNK)
def test_a_secret_is_never_printed(planted: tuple[str, str], before: str, after: str) -> None:
    variable, form = planted
    assert SECRET not in said({variable: form.format(before, after, secret=SECRET)})


@settings(max_examples=examples(150, 300), deadline=None)
@given(text=st.text(alphabet="[]keysmodluptra.=\"'\n 0{},x_#", max_size=60))
def test_any_file_is_accepted_or_refused(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(text)
    said({"GATEWAY_CONFIG": str(path)})
