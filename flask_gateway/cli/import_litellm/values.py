"""Reads the values of LiteLLM's settings: references to variables, placeholders, numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import msgspec

from .yaml_tree import Node

#: LiteLLM's own spelling, and two that people use, which it does not resolve.
_REFERENCE = re.compile(r"os\.environ/(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*")
_OTHER_REFERENCE = re.compile(
    r"""\$\{?(?P<shell>[A-Za-z_][A-Za-z0-9_]*)(:-[^}]*)?\}?|os\.environ\[['"](?P<python>[A-Za-z_]\w*)['"]\]"""
)
#: Keys that stand for "no key", as servers of one's own are set up.
_PLACEHOLDERS = frozenset(
    {"empty", "none", "null", "dummy", "fake", "fake-key", "fake_key", "anything", "any", "na", "n/a", "x"}
    | {
        "xxx",
        "test",
        "no-key",
        "nokey",
        "not-needed",
        "not_needed",
        "notneeded",
        "noop",
        "placeholder",
        "key",
    }
    | {
        "sk-none",
        "sk-dummy",
        "sk-fake",
        "sk-xxx",
        "ollama",
        "vllm",
        "lm-studio",
        "local",
        "unused",
        "ignored",
    }
    | {"no_key", "no-key-required", "no-key-needed", "not-required", "sk-no-key-required", "api-key", "token"}
)
_USABLE = re.compile(r"[\x21-\x7e]+")
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")


class VariableRef(msgspec.Struct, frozen=True):
    """A value that stands in an environment variable."""

    name: str


class Literal(msgspec.Struct, frozen=True):
    """A secret in the open. Its value is never shown.

    :param variable: a name for it: the variable that would usually hold it.
    """

    value: str
    variable: str

    def __repr__(self) -> str:
        return f"Literal({self.variable})"


Credential = VariableRef | Literal | None


class Environment:
    """The section ``environment_variables``: values that LiteLLM puts into its environment.

    :param values: text by name, without the empty ones.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)
        self.used: set[str] = set()

    def variable(self, node: Node | None) -> str | None:
        """The variable that a value refers to, through the section; ``None`` if it refers to none."""
        name = reference(node)
        for _ in range(8):
            inner = self._values.get(name or "", "")
            following = reference_in(inner)
            if name is None or following is None:
                break
            self.used.add(name)
            name = following
        return name

    def literal(self, name: str) -> str | None:
        """The value that the section gives a variable, if it does."""
        value = self._values.get(name)
        if value is not None:
            self.used.add(name)
        return value

    def text(self, node: Node | None) -> str | None:
        """The text of a value that stands in the file, in the section or directly."""
        if node is None or not node.is_scalar or node.value is None:
            return None
        name = self.variable(node)
        return node.text if name is None else self.literal(name)


def reference_in(text: str) -> str | None:
    """The variable that a text names; ``None`` if it names none."""
    if match := _REFERENCE.fullmatch(text):
        return match["name"]
    match = _OTHER_REFERENCE.fullmatch(text)
    return (match["shell"] or match["python"]) if match else None


def reference(node: Node | None) -> str | None:
    return reference_in(node.text) if node is not None and isinstance(node.value, str) else None


def is_foreign_reference(node: Node | None) -> bool:
    """Whether the value names a variable in a way that LiteLLM itself does not resolve."""
    return reference(node) is not None and node is not None and not _REFERENCE.fullmatch(node.text)


def is_placeholder(text: str) -> bool:
    is_template = text[:1] + text[-1:] == "<>" or text[:2] + text[-2:] == "{{}}"
    return text.strip().lower() in _PLACEHOLDERS or not text.strip("-x* ") or is_template


def is_usable_key(text: str) -> bool:
    """Whether the text can be sent in a header."""
    return _USABLE.fullmatch(text) is not None


def number(node: Node | None) -> float | None:
    """A positive number, also one that is written as text; ``None`` for everything else."""
    if node is None or isinstance(node.value, bool):
        return None
    if isinstance(node.value, int | float):
        value = float(node.value) if abs(node.value) < 1e15 else math.inf
    elif isinstance(node.value, str) and _NUMBER.fullmatch(node.value.strip()[:30]):
        value = float(node.value.strip()[:30])
    else:
        return None
    return value if math.isfinite(value) and value > 0 else None


def whole(node: Node | None, most: int = 10_000_000) -> int | None:
    """A positive whole number of at most ``most``."""
    value = number(node)
    return int(value) if value is not None and value == int(value) and value <= most else None


def seconds(node: Node | None) -> float | None:
    """A number of seconds that the gateway accepts."""
    value = number(node)
    return value if value is not None and 0.001 <= value <= 10_000_000 else None


def shown(value: float) -> str:
    """A number without needless digits."""
    return str(int(value)) if value == int(value) else str(value)
