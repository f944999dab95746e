"""Tests the errors of settings: one line each, and all mistakes of a run together."""

from __future__ import annotations

import pytest

from flask_gateway.config.errors import ConfigError, Mistakes, dotted, nearest, one_line


def test_a_line_has_the_setting_its_value_what_was_expected_and_a_hint() -> None:
    error = ConfigError("GATEWAY_THREADS", "x", "a whole number", "did you mean 8?")
    assert str(error) == "GATEWAY_THREADS='x': expected a whole number; did you mean 8?"
    assert str(ConfigError("keys.a", None, "a digest")) == "keys.a: expected a digest"


def test_a_line_stays_one_line_and_readable() -> None:
    line = str(ConfigError("A\nB", "x\x1b[31m" * 100, "text"))
    assert line.isprintable()
    assert len(line) < 200
    assert one_line("a\r\n\u2028b\x00") == "a\\r\\n\\u2028b\\x00"


def test_all_mistakes_of_a_run_are_reported_once() -> None:
    mistakes = Mistakes()
    for setting in ("b", "a", "b"):
        with mistakes:
            raise ConfigError(setting, None, "something else")
    with pytest.raises(ConfigError) as caught:
        mistakes.raise_found()
    assert caught.value.lines() == ["b: expected something else", "a: expected something else"]
    assert str(caught.value).endswith("(and 1 more: `flask-gateway check` lists them)")


def test_mistakes_that_carry_others_are_taken_apart() -> None:
    inner, outer = Mistakes(), Mistakes()
    inner.add(ConfigError("a", None, "x"))
    inner.add(ConfigError("b", None, "x"))
    with outer:
        inner.raise_found()
    assert outer.any
    with pytest.raises(ConfigError) as caught:
        outer.raise_found()
    assert len(caught.value.lines()) == 2


def test_another_exception_passes_and_no_mistake_raises_nothing() -> None:
    mistakes = Mistakes()
    with pytest.raises(ZeroDivisionError), mistakes:
        raise ZeroDivisionError
    assert not mistakes.any
    mistakes.raise_found()


def test_the_nearest_name_ignores_case_and_gives_up_where_none_is_like_it() -> None:
    assert nearest("FALBACKS", ["aliases", "fallbacks"]) == "did you mean fallbacks?"
    assert nearest("zzz", ["aliases", "fallbacks"]) is None


def test_a_dotted_path_quotes_what_toml_would() -> None:
    assert dotted("models", "gpt-4o", "price") == "models.gpt-4o.price"
    assert dotted("models", "gpt-4.1") == 'models."gpt-4.1"'
