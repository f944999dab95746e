"""Tests the settings of the environment: which are accepted, and which are refused with which words."""

from __future__ import annotations

import hashlib

import msgspec
import pytest
from kit.configuration import SECRET, refusal

from flask_gateway.config.errors import ConfigError
from flask_gateway.config.load import load, resolve
from flask_gateway.config.options import OPTIONS, SCALARS, Option
from flask_gateway.config.schema import Secret, Settings

BASE = {"GATEWAY_API_KEYS": "a-key-of-my-own-1"}


# ---------------------------------------------------------------- refused: the environment

COUNT = "expected a whole number of requests per minute, 0 for unlimited"
SECONDS = "expected a number of seconds above 0"
FAILURES = "expected a whole number of failures, at least 1"


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("RATE_LIMIT_PER_MINUTE", "sixty", f"='sixty': {COUNT}"),
        ("RATE_LIMIT_PER_MINUTE", "", f"='': {COUNT}"),
        ("RATE_LIMIT_PER_MINUTE", "-1", f"='-1': {COUNT}"),
        ("RATE_LIMIT_PER_MINUTE", "1.5", f"='1.5': {COUNT}"),
        ("RATE_LIMIT_PER_MINUTE", "1_0", f"='1_0': {COUNT}"),
        ("RATE_LIMIT_PER_MINUTE", "٣", f"='٣': {COUNT}"),
        ("RATE_LIMIT_PER_MINUTE", "10000001", f"='10000001': {COUNT}, at most 10000000"),
        ("RATE_LIMIT_PER_MINUTE", "9" * 6000, f"='{'9' * 119}…: {COUNT}, at most 10000000"),
        ("RATE_LIMIT_PER_MINUTE", "a\nb", f"='a\\nb': {COUNT}"),
        ("MAX_CONCURRENT_PER_KEY", "-2", "='-2': expected a whole number of calls at once, 0 for unlimited"),
        ("CIRCUIT_BREAKER_MAX_FAILURES", "0", f"='0': {FAILURES}"),
        ("CIRCUIT_BREAKER_RESET_SECONDS", "nan", f"='nan': {SECONDS}"),
        ("CIRCUIT_BREAKER_RESET_SECONDS", "inf", f"='inf': {SECONDS}"),
        ("CIRCUIT_BREAKER_RESET_SECONDS", "1e999", f"='1e999': {SECONDS}, from 0.001 to 10000000"),
        (
            "CIRCUIT_BREAKER_SUCCESSES",
            "0",
            "='0': expected a whole number of successes, at least 1",
        ),
        (
            "CIRCUIT_BREAKER_SLOW_SECONDS",
            "-1",
            "='-1': expected a number of seconds, 0 for never",
        ),
        ("REQUEST_TIMEOUT_SECONDS", "0", f"='0': {SECONDS}, from 0.001 to 10000000"),
        ("REQUEST_TIMEOUT_SECONDS", "10s", f"='10s': {SECONDS}"),
        ("MAX_BODY_BYTES", "16MB", "='16MB': expected a whole number of bytes, at least 1"),
        ("MACHINES", "0", "='0': expected a whole number of machines, at least 1"),
        ("LOG", "jsn", "='jsn': expected json or text; did you mean json?"),
        ("WORKERS", "0", "='0': expected a whole number of processes, at least 1"),
        ("THREADS", "many", "='many': expected a whole number of threads, at least 1"),
        ("GRACEFUL_SECONDS", "0", "='0': expected a whole number of seconds, at least 1"),
        ("BIND", " ", "=' ': expected addresses to listen on, such as 127.0.0.1:8000"),
        (
            "UPSTREAM_MOCK_MAX_IN_FLIGHT",
            "x",
            "='x': expected a whole number of calls at once, 0 for unlimited",
        ),
        (
            "DEFAULT_UPSTREAM",
            "mok",
            "='mok': expected the name of an upstream that is set; did you mean mock?",
        ),
        ("DEFAULT_UPSTREAM", "zzz", "='zzz': expected the name of an upstream that is set; there are mock"),
    ],
)
def test_an_invalid_value_is_refused_with_its_name_and_the_expected_value(
    variable: str, value: str, line: str
) -> None:
    assert str(refusal(**{f"GATEWAY_{variable}": value})) == f"GATEWAY_{variable}{line}"


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("GATEWAY_RATE_LIMT_PER_MINUTE", "did you mean GATEWAY_RATE_LIMIT_PER_MINUTE?"),
        ("GATEWAY_API_KEY", "did you mean GATEWAY_API_KEYS?"),
        ("GATEWAY_UPSTREAM", "did you mean GATEWAY_UPSTREAMS?"),
        ("GATEWAY_UPSTREAM_LAMA_API_KEY", "did you mean GATEWAY_UPSTREAM_LLAMA_API_KEY?"),
        ("GATEWAY_UPSTREAM_LLAMA_APIKEY", "did you mean GATEWAY_UPSTREAM_LLAMA_API_KEY?"),
        (
            "GATEWAY_PORT_8000_TCP",
            "Kubernetes sets it for a Service named gateway: turn enableServiceLinks off",
        ),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest_name_and_without_its_value(
    variable: str, hint: str
) -> None:
    error = refusal(**{variable: SECRET, "GATEWAY_UPSTREAMS": "llama=http://h"})
    assert str(error) == f"{variable}='****': expected a known setting; {hint}"


@pytest.mark.parametrize(
    ("keys", "hint"),
    [
        ("", "key 1 is empty"),
        (f"{SECRET},", "key 2 is empty"),
        (f"{SECRET}, ,b", "key 2 is empty"),
        (f"a,{SECRET} x", "key 2 has a space or another character that is not allowed"),
        (f"{SECRET}é", "key 1 has a space or another character that is not allowed"),
        (f"a\x00{SECRET}", "key 1 has a space or another character that is not allowed"),
        (f"{SECRET}\udc80", "key 1 has a space or another character that is not allowed"),
        (f"{SECRET},b,{SECRET}", "key 3 repeats key 1"),
    ],
)
def test_invalid_api_keys_are_refused_with_their_position(keys: str, hint: str) -> None:
    error = refusal(GATEWAY_API_KEYS=keys)
    assert (error.setting, error.value, error.hint) == ("GATEWAY_API_KEYS", "****", hint)


@pytest.mark.parametrize("key", ["", " ", f"{SECRET} ", f"{SECRET}\n", f"{SECRET}ü"])
def test_an_invalid_upstream_key_is_refused_and_masked(key: str) -> None:
    error = refusal(GATEWAY_UPSTREAM_MOCK_API_KEY=key)
    assert (error.setting, error.value) == ("GATEWAY_UPSTREAM_MOCK_API_KEY", "****")


@pytest.mark.parametrize(
    ("listed", "expected", "hint"),
    [
        ("", "name=url;name=url, for example llama=http://localhost:8001", None),
        (" ; ", "name=url;name=url, for example llama=http://localhost:8001", "entry 1 has no ="),
        ("http://h", "name=url;name=url, for example llama=http://localhost:8001", "entry 1 has no ="),
        (
            "a=http://h;;b=http://h",
            "name=url;name=url, for example llama=http://localhost:8001",
            "entry 2 has no =",
        ),
        ("a=http://h;a=http://i", "every upstream to have a name of its own", "entry 2 repeats one"),
        ("=http://h", None, "see the name in entry 1"),
        ("-a=http://h", None, "see the name in entry 1"),
        ("a b=http://h", None, "see the name in entry 1"),
        (f"{'a' * 65}=http://h", None, "see the name in entry 1"),
        ("ä=http://h", None, "see the name in entry 1"),
        (f"a=http://u:p;{SECRET}=x@h", None, None),
        (f"a=http://u:p={SECRET};x@h", None, None),
        (f"http://u:{SECRET}=p@h", None, None),
    ],
)
def test_an_invalid_list_of_upstreams_is_refused_with_the_position(
    listed: str, expected: str | None, hint: str | None
) -> None:
    error = refusal(GATEWAY_UPSTREAMS=listed)
    assert error.setting == "GATEWAY_UPSTREAMS"
    assert error.expected == (expected or error.expected)
    assert error.hint == (hint or error.hint)


def test_upstreams_that_share_the_name_of_their_variables_are_refused() -> None:
    assert str(refusal(GATEWAY_UPSTREAMS="a.b=http://h;a-B=http://h")) == (
        "upstreams.a-B: expected a name that makes GATEWAY_UPSTREAM_A_B_API_KEY its own; a.b has that one too"
    )


@pytest.mark.parametrize(
    "state",
    [
        "",
        SECRET,
        f"reds://:{SECRET}@h",
        f"shared://{SECRET}",
        "redis://",
        f"redis://:{SECRET}",
        f"redis://:{SECRET}@",
        f"redis://:{SECRET}/x@h",
        f"redis://u:80/{SECRET}@h",
        f"redis://:a#{SECRET}@h",
        f"redis://:a@{SECRET}@h",
        f"redis://:{SECRET} @h",
        f"redis://h:{SECRET}",
        f"redis://:{SECRET}@h:0",
        f"redis://h?password={SECRET}@x",
    ],
)
def test_an_invalid_state_url_is_refused_and_masked(state: str) -> None:
    error = refusal(GATEWAY_STATE=state)
    assert (error.setting, error.value) == ("GATEWAY_STATE", "****")


# ---------------------------------------------------------------- accepted


def test_without_settings_the_mock_serves_with_the_defaults() -> None:
    settings = load({"PATH": "/bin"})
    assert [(upstream.name, upstream.url) for upstream in settings.upstreams] == [("mock", "mock://local")]
    assert settings.default_upstream == "mock"
    assert [key.digest for key in settings.keys] == [hashlib.sha256(b"dev-key").digest()]
    for name in (option.name for option in SCALARS if option.name != "default_upstream"):
        assert getattr(settings, name) == getattr(Settings(keys=(), upstreams=()), name), name
    assert "dev-key" in settings.warnings[0]
    assert "GATEWAY_UPSTREAMS" in settings.warnings[1]


@pytest.mark.parametrize(
    "option", [option for option in OPTIONS if option.default is not None], ids=lambda o: o.name
)
def test_setting_the_default_is_the_same_as_not_setting_it(option: Option) -> None:
    same = load({option.variable: option.default or ""})
    expected = load({})
    if option.name == "upstreams":
        same = msgspec.structs.replace(same, warnings=expected.warnings)
    assert same == expected


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://host:8001", "http://host:8001/v1"),
        ("http://host:8001/", "http://host:8001/v1"),
        ("http://host:8001/v1", "http://host:8001/v1"),
        ("http://host:8001/v1/", "http://host:8001/v1"),
        ("HTTP://HOST:8001/V", "http://host:8001/V/v1"),
        ("http://h/llm", "http://h/llm/v1"),
        ("http://h/llm/v1", "http://h/llm/v1"),
        ("https://x/v1beta/openai", "https://x/v1beta/openai"),
        ("https://x/api/paas/v4/", "https://x/api/paas/v4"),
        ("https://x/vision", "https://x/vision/v1"),
        ("http://[::1]:8001", "http://[::1]:8001/v1"),
        ("http://[2001:DB8::1]", "http://[2001:db8::1]/v1"),
        ("http://127.0.0.1", "http://127.0.0.1/v1"),
        ("http://vllm_1.internal.:80", "http://vllm_1.internal.:80/v1"),
        ("mock://local", "mock://local"),
        ("mock://local?fail=503&delay=1", "mock://local?fail=503&delay=1"),
    ],
)
def test_an_upstream_url_becomes_a_base(url: str, base: str) -> None:
    (upstream,) = load({"GATEWAY_UPSTREAMS": f"llama={url}"}).upstreams
    assert upstream.url == base
    if base.startswith("http"):
        (again,) = load({"GATEWAY_UPSTREAMS": f"llama={base}"}).upstreams
        assert again.url == base


def test_upstreams_of_the_environment() -> None:
    settings = load(
        {
            **BASE,
            "GATEWAY_UPSTREAMS": " llama = http://h ;\n qwen-2.5=https://q/v2 ; ",
            "GATEWAY_UPSTREAM_QWEN_2_5_API_KEY": SECRET,
            "GATEWAY_UPSTREAM_LLAMA_MAX_IN_FLIGHT": "4",
        }
    )
    llama, qwen = settings.upstreams
    assert (llama.name, llama.url, llama.api_key, llama.max_in_flight) == ("llama", "http://h/v1", None, 4)
    assert (qwen.name, qwen.url, qwen.max_in_flight) == ("qwen-2.5", "https://q/v2", 0)
    assert isinstance(qwen.api_key, Secret)
    assert qwen.api_key.reveal() == SECRET
    assert settings.default_upstream is None
    assert settings.warnings == (
        "there are 2 upstreams and no default, so a model that no rule places is refused: "
        "set GATEWAY_DEFAULT_UPSTREAM to one of llama, qwen-2.5",
    )
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    ("environ", "default"),
    [
        ({"GATEWAY_UPSTREAMS": "a=http://h"}, "a"),
        ({"GATEWAY_UPSTREAMS": "a=http://h;b=http://h"}, None),
        ({"GATEWAY_UPSTREAMS": "a=http://h;b=http://h", "GATEWAY_DEFAULT_UPSTREAM": "b"}, "b"),
    ],
)
def test_the_default_upstream(environ: dict[str, str], default: str | None) -> None:
    assert load(environ).default_upstream == default


def test_keys_of_the_environment_are_stored_as_digests() -> None:
    one, two = load({"GATEWAY_API_KEYS": f"{SECRET} , b=c;d"}).keys
    assert one.digest == hashlib.sha256(SECRET.encode()).digest()
    assert one.id == f"key-{one.digest.hex()[:8]}"
    assert (one.rate_limit_per_minute, one.models) == (None, None)
    assert two.digest == hashlib.sha256(b"b=c;d").digest()


@pytest.mark.parametrize(
    "state",
    [
        "memory://",
        "shared://",
        f"redis://:{SECRET}@h:6379/0",
        f"rediss://u:{SECRET}@[::1]",
        "redis://127.0.0.1:6379/0",
        "rediss://cache",
    ],
)
def test_the_state_url_is_stored_and_masked(state: str) -> None:
    settings = load({**BASE, "GATEWAY_STATE": state})
    assert settings.state == state
    assert SECRET not in repr(settings)


@pytest.mark.parametrize("name", ["staging", "a.b-c_1"])
def test_a_namespace_of_the_state(name: str) -> None:
    environ = {"GATEWAY_STATE_NAMESPACE": name, "GATEWAY_STATE": "redis://localhost:6379/0"}
    resolved = resolve(environ)
    assert resolved.settings.state_namespace == name
    assert not [warning for warning in resolved.settings.warnings if "namespace" in warning]
    del environ["GATEWAY_STATE"]
    assert "state_namespace is set but the state is not in Redis, so it changes nothing" in (
        resolve(environ).settings.warnings
    )


@pytest.mark.parametrize("name", ["a/b", "a:b", "*", "", "a b", "x" * 65])
def test_an_invalid_namespace_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="GATEWAY_STATE_NAMESPACE"):
        resolve({"GATEWAY_STATE_NAMESPACE": name})
