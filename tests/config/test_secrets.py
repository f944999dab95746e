"""Tests secrets of the settings: which texts are keys, where they are read, and that no refusal shows one."""

from __future__ import annotations

from pathlib import Path

import pytest

from flask_gateway.config.errors import ConfigError, InvalidValue
from flask_gateway.config.schema import MASK
from flask_gateway.config.secrets import (
    AdminKey,
    Digest,
    Key,
    KeyList,
    SecretPath,
    SecretRef,
    Variable,
    digest,
)

SECRET = "sk-a-secret-of-a-test"
KEY = Key("a key")


@pytest.mark.parametrize(
    ("kind", "text", "hint"),
    [
        (KEY, "", "it is empty"),
        (KEY, "with space", None),
        (KEY, "schlüssel", None),
        (AdminKey("an admin's key"), "x" * 23, "openssl rand"),
        (AdminKey("an admin's key"), "x" * 23 + " ", None),
        (KeyList("keys"), "a,,b", "key 2 is empty"),
        (KeyList("keys"), "a,b c", "key 2 has a space"),
        (KeyList("keys"), "a,b,a", "key 3 repeats key 1"),
        (KeyList("keys"), '"a"', None),
        (Digest("a digest"), "12", None),
        (Digest("a digest"), digest("").hex(), "empty text"),
        (Variable("a variable"), "sk-1", "not the secret itself"),
        (SecretPath("a path"), "", None),
        (SecretPath("a path"), "a\nb", None),
    ],
)
def test_a_text_that_is_refused_is_not_shown(kind: Key, text: str, hint: str | None) -> None:
    with pytest.raises(InvalidValue) as caught:
        kind.parse(text)
    assert hint is None or hint in str(caught.value.hint)
    assert kind.show(text) == MASK


def test_keys_may_have_spaces_around_commas() -> None:
    assert KeyList("keys").parse(" a , b") == ("a", "b")
    assert Digest("a digest").parse(digest("a").hex().upper()) == digest("a")


def reference(place: str, folder: Path | None = None) -> SecretRef:
    return SecretRef("upstreams.a.api_key_env", place, folder)


def refused(ref: SecretRef, environ: dict[str, str]) -> str:
    with pytest.raises(ConfigError) as caught:
        ref.follow(environ, KEY)
    assert SECRET not in str(caught.value)
    return str(caught.value)


def test_a_variable_that_is_missing_empty_or_unusable_is_named() -> None:
    assert "'MY_KEY': expected the name of an environment variable that is set" in refused(
        reference("MY_KEY"), {}
    )
    assert "it is empty" in refused(reference("MY_KEY"), {"MY_KEY": ""})
    assert "expected a key there" in refused(reference("MY_KEY"), {"MY_KEY": SECRET + " x"})
    assert reference("MY_KEY").follow({"MY_KEY": SECRET}, KEY) == SECRET


def test_a_secret_in_place_of_its_name_is_masked(tmp_path: Path) -> None:
    assert MASK in refused(reference(SECRET), {})
    assert MASK in refused(reference(SECRET, tmp_path), {})


def test_a_file_is_read_without_its_byte_order_mark_and_line_end(tmp_path: Path) -> None:
    path = tmp_path / "key.txt"
    path.write_bytes(b"\xef\xbb\xbf" + SECRET.encode() + b"\r\n")
    assert reference("key.txt", tmp_path).follow({}, KEY) == SECRET
    path.write_bytes(b"\xff\xfe")
    assert "a file of text in UTF-8" in refused(reference("key.txt", tmp_path), {})
    assert "No such file" in refused(reference("other.txt", tmp_path), {})
