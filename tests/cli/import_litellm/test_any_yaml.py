"""Tests that any YAML becomes a file of settings that can be used, or exit code 2, and shows no secret."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from flask_gateway.cli.command import LOOK, OK, USAGE
from flask_gateway.cli.import_litellm.parameters import PINS, PLACE, WITHOUT_COUNTERPART
from flask_gateway.cli.main import main
from flask_gateway.config.load import load

SECRET = "PLANTED7secret"
CONFIGS = sorted((Path(__file__).parent / "configs").glob("*.yaml"))


def imported(folder: Path, text: str | bytes, *more: str) -> tuple[int, str, str, str]:
    """The exit code, the settings file, and what was printed."""
    source, target = folder / "config.yaml", folder / "gateway.toml"
    source.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    for old in (target, *folder.glob("secrets/*")):
        old.unlink(missing_ok=True)
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main(["import", "litellm", str(source), "-o", str(target), *more], {})
    return status, target.read_text() if target.exists() else "", out.getvalue(), err.getvalue()


def check(folder: Path, text: str | bytes, *, twice: bool = True) -> None:
    status, toml, out, err = imported(folder, text)
    assert status in (OK, LOOK, USAGE)
    assert bool(toml) == (status != USAGE), err
    assert SECRET not in toml + out + err
    assert "mistake here" not in err
    assert not twice or imported(folder, text) == (status, toml, out, err)


NAMES = st.sampled_from(
    (
        "writer",
        "reader",
        "openai/*",
        "*",
        "gpt-*",
        "a/b/*",
        'q"uo\\te',
        "a.b",
        "ü",
        " ",
        "x" * 300,
        "\u202e",
        "7",
    )
)
MODELS = st.sampled_from(
    (
        *("openai/gpt-5", "openai/*", "*", "gpt-4o", "azure/dep", "anthropic/claude-x", "bedrock/x", "odd/m"),
        *("ollama/x:1", "huggingface/together/a/b", "openai/", "/", "gpt-*", "hosted_vllm/m", "groq/m"),
    )
)
TEXTS = st.sampled_from(
    (
        *(
            "os.environ/A_KEY",
            "os.environ/",
            "${X}",
            "EMPTY",
            f"sk-{SECRET}",
            "",
            "35",
            "-1",
        ),
        *(
            f"http://u:{SECRET}@h/v1",
            "http://[::1",
            "h",
            "http://h:8000/v1/",
            "https://api.example/v1/embeddings",
        ),
        *(
            "https://h.openai.azure.com/openai/deployments/x/chat/completions?a=b",
            "http://localhost:11434/api/chat",
        ),
        *("3.5", "true", "none"),
    )
)
SCALARS = st.one_of(
    *(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.dates(), TEXTS, NAMES, MODELS)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=5,
)
KEYS = TEXTS | st.sampled_from((SECRET, f"a {SECRET}\n", f" {SECRET}", f"{SECRET}\u00e9"))
PARAMETERS = st.dictionaries(
    st.sampled_from(
        sorted(PLACE | {"extra_body", "temperature", "stop", "tools", "tags", "aws_x", "odd", "set"})
    )
    | st.sampled_from(sorted({*PINS, *WITHOUT_COUNTERPART})),
    VALUES,
    max_size=5,
)
ENTRIES = st.fixed_dictionaries(
    {
        "model_name": st.sampled_from(("writer", "reader", "openai/*", "*")) | NAMES | VALUES,
        "litellm_params": st.builds(
            lambda own, model, key: {**own, **key, "model": model},
            PARAMETERS,
            MODELS,
            st.fixed_dictionaries({}, optional={"api_key": KEYS}),
        ),
    },
    optional={"model_info": st.dictionaries(st.sampled_from(("mode", "id", "access_groups", "odd")), VALUES)},
)
CHAINS = (
    st.lists(st.dictionaries(NAMES, st.lists(NAMES, max_size=3) | VALUES, max_size=2), max_size=3) | VALUES
)
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "fallbacks": CHAINS,
        "default_fallbacks": st.lists(NAMES, max_size=2) | VALUES,
        "context_window_fallbacks": CHAINS,
        "content_policy_fallbacks": CHAINS,
        "model_group_alias": st.dictionaries(
            NAMES, NAMES | st.fixed_dictionaries({"model": NAMES}), max_size=3
        )
        | VALUES,
        "request_timeout": VALUES,
        "timeout": VALUES,
        "stream_timeout": VALUES,
        "allowed_fails": VALUES,
        "cooldown_time": VALUES,
        "routing_strategy": VALUES,
        "redis_host": TEXTS,
        "redis_password": KEYS,
        "redis_port": VALUES,
        "redis_url": VALUES,
        "master_key": KEYS,
        "max_request_size_mb": VALUES,
        "default_litellm_params": VALUES,
        "database_url": KEYS,
        "odd": VALUES,
    },
)
CONFIGURATIONS = st.fixed_dictionaries(
    {"model_list": st.lists(ENTRIES, min_size=1, max_size=4)},
    optional={
        "litellm_settings": SETTINGS | VALUES,
        "router_settings": SETTINGS | VALUES,
        "general_settings": SETTINGS | VALUES,
        "environment_variables": st.dictionaries(st.sampled_from(["A_KEY", "OPENAI_API_KEY", "X"]), TEXTS)
        | VALUES,
        "credential_list": VALUES,
        "include": VALUES,
    },
)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_configuration_gives_the_same_twice(path: Path, tmp_path: Path) -> None:
    check(tmp_path, path.read_bytes())


@settings(max_examples=30, suppress_health_check=list(HealthCheck))
@given(configuration=CONFIGURATIONS)
def test_any_configuration_gives_settings_or_exit_2(
    configuration: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = yaml.safe_dump(configuration, allow_unicode=True, sort_keys=False)
    check(tmp_path_factory.mktemp("any"), text)


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    text=st.text(alphabet="ab: -[]{}#&*!|>'\"%@`\n\t?,0.~<\x00\ud800é", max_size=60) | st.binary(max_size=40)
)
@example(text="&a [*a]")
@example(text="a: &a [1]\nb: &b [*a, *a, *a]\nc: [*b, *b]\n<<: *b")
@example(text="[" * 1200)
@example(text="model_list: !!python/object:os.system x")
@example(text="a: 1\n---\nb: 2")
@example(text="\ufeffmodel_list: []")
def test_any_text_gives_settings_or_exit_2(
    text: str | bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    check(tmp_path_factory.mktemp("text"), text, twice=False)


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_damaged_configuration_gives_settings_or_exit_2(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lines = data.draw(st.sampled_from(CONFIGS)).read_text().splitlines()
    place = data.draw(st.integers(0, len(lines) - 1))
    other = data.draw(st.integers(0, len(lines) - 1))
    what = data.draw(st.sampled_from(["drop", "copy", "cut", "dent"]))
    line = lines[place]
    changed = {
        "drop": [],
        "copy": [line, lines[other]],
        "cut": [line[: len(line) // 2]],
        "dent": [f"  {line}"],
    }[what]
    check(
        tmp_path_factory.mktemp("damaged"),
        "\n".join([*lines[:place], *changed, *lines[place + 1 :]]),
        twice=False,
    )


def test_an_alias_that_grows_without_bound_is_refused(tmp_path: Path) -> None:
    text = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 20))
    status, _, _, err = imported(tmp_path, text)
    assert status == USAGE
    assert "too many values" in err


def test_the_imported_settings_load_where_the_variables_are_set(tmp_path: Path) -> None:
    status, _, _, _ = imported(tmp_path, CONFIGS[0].read_bytes())
    assert status == LOOK
    places = {"OPENAI_API_KEY": "a", "ANTHROPIC_API_KEY": "b", "LITELLM_MASTER_KEY": "a-long-enough-key"}
    found = load({"GATEWAY_CONFIG": str(tmp_path / "gateway.toml"), **places})
    assert [key.id for key in found.keys] == ["master"]
