"""Reads YAML into a tree that keeps line numbers and doubled names.

PyYAML's composer does the parsing. It makes nodes with positions and constructs no objects. A loader that
constructs dictionaries, as LiteLLM's does, would drop the first of two equal names silently.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ...config.errors import one_line

#: The most nodes that are read, with every use of an anchor counted.
MOST_NODES = 50_000
#: The deepest nesting that is read.
MOST_LEVELS = 60


class Line(int):
    """A line of another file: an included one, or a table. It counts as its number, shown with the file."""

    file: str

    def __new__(cls, number: int, file: str) -> Line:
        line = super().__new__(cls, number)
        line.file = file
        return line

    def __str__(self) -> str:
        return f"{self.file}:{int(self)}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Line) and (int(self), self.file) == (int(other), other.file)

    def __hash__(self) -> int:
        return hash((int(self), self.file))


class UnreadableYaml(Exception):
    """The file is not YAML that can be imported. The text says why and repeats no value of the file."""


class Node(msgspec.Struct, frozen=True):
    """A value with its line, from 1.

    :param value: text, a number, a boolean or ``None``; a tuple of nodes for a list; a tuple of entries for
        a mapping.
    :param text: a scalar as it is written, without quotes; empty for others.
    """

    line: int
    value: Any
    text: str = ""
    is_mapping: bool = False

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The entries of a mapping, doubled names included; empty for everything else."""
        return self.value if self.is_mapping else ()

    @property
    def items(self) -> tuple[Node, ...]:
        """The items of a list; empty for everything else."""
        return self.value if isinstance(self.value, tuple) and not self.is_mapping else ()

    @property
    def is_scalar(self) -> bool:
        return not isinstance(self.value, tuple)

    @property
    def is_off(self) -> bool:
        """Whether the value switches its setting off: null, false, or empty."""
        nothing = self.value is None or self.value is False or self.value in ("", ())
        return nothing or str(self.value).lower() in ("false", "none", "null")

    def get(self, name: str) -> Node | None:
        """The value of a name in a mapping; the last one if there are several."""
        return next((entry.node for entry in reversed(self.entries) if entry.name == name), None)

    def plain(self) -> Any:
        """The value as dictionaries, lists and scalars."""
        if self.is_mapping:
            return {entry.name: entry.node.plain() for entry in self.entries}
        return [item.plain() for item in self.items] if isinstance(self.value, tuple) else self.value


class Entry(msgspec.Struct, frozen=True):
    """A name in a mapping, with its line and its value."""

    line: int
    name: str
    node: Node


def read_yaml(text: str, file: str = "") -> Node:
    """Parse one document.

    :param file: the name of an included file, for its lines.
    :raises UnreadableYaml: it is not YAML, has several documents, or is too large or too deep.
    """
    try:
        import yaml
    except ImportError:
        raise UnreadableYaml(
            "reading YAML needs the package PyYAML: install it with `pip install 'flask-llm-gateway[import]'`"
        ) from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise UnreadableYaml(f"{line}it is not valid YAML ({_kind(error)})") from None
    except yaml.YAMLError:
        raise UnreadableYaml("it has characters that YAML does not allow") from None
    except (RecursionError, ValueError):
        raise UnreadableYaml("it is nested too deeply") from None
    if root is None:
        raise UnreadableYaml("it is empty")
    return _Tree(yaml, one_line(file)).node(root, 0)


def _kind(error: Any) -> str:
    """The kind of a parser's error. Its own text may quote the file."""
    return type(error).__name__.removesuffix("Error").lower() + " error"


class _Tree:
    """Turns PyYAML's nodes into ours, within bounds: an anchor may be used in itself, or very often."""

    def __init__(self, yaml: Any, file: str) -> None:
        self._yaml = yaml
        self._file = file
        self._scalars = yaml.SafeLoader("")
        self._left = MOST_NODES

    def node(self, node: Any, level: int) -> Node:
        self._left -= 1
        if self._left < 0 or level > MOST_LEVELS:
            raise UnreadableYaml("it is nested too deeply, or has too many values")
        line = self._line(node)
        if isinstance(node, self._yaml.MappingNode):
            return Node(line, tuple(self._entries(node, level)), is_mapping=True)
        if isinstance(node, self._yaml.SequenceNode):
            return Node(line, tuple(self.node(item, level + 1) for item in node.value))
        return Node(line, self._scalar(node), node.value)

    def _line(self, node: Any) -> int:
        number: int = node.start_mark.line + 1
        return Line(number, self._file) if self._file else number

    def _entries(self, node: Any, level: int) -> Iterator[Entry]:
        merged: list[Entry] = []
        own: list[Entry] = []
        for key, value in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                merged += self._merged(value, level)
                continue
            name = key.value if isinstance(key, self._yaml.ScalarNode) else "?"
            own.append(Entry(self._line(key), name, self.node(value, level + 1)))
        names = {entry.name for entry in own}
        yield from (entry for entry in merged if entry.name not in names)
        yield from own

    def _merged(self, value: Any, level: int) -> Iterator[Entry]:
        """The entries that ``<<`` brings in. Of equal names, the first mapping's counts."""
        values = value.value if isinstance(value, self._yaml.SequenceNode) else [value]
        seen: set[str] = set()
        for one in values:
            for entry in self.node(one, level + 1).entries:
                if entry.name not in seen:
                    seen.add(entry.name)
                    yield entry

    def _scalar(self, node: Any) -> Any:
        """The value of a scalar. A value that JSON cannot express, such as a date, stays text."""
        try:
            value = self._scalars.construct_object(node)
        except (self._yaml.YAMLError, ValueError, OverflowError, AttributeError, TypeError, KeyError):
            return node.value
        return value if value is None or isinstance(value, bool | int | float | str) else node.value
