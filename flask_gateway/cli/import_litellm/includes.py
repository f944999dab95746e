"""Joins the files that ``include`` names with the file that names them, as LiteLLM does.

LiteLLM (``ProxyConfig._process_includes``) finds them from the folder of the first file, also where an
included file includes others. It appends their lists, such as ``model_list``, to its own. Of a mapping that
stands in two files it keeps the later one; here all settings count, and the later one wins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ...config.errors import one_line
from .report import Report
from .yaml_tree import Entry, Node, UnreadableYaml

#: The most files that are read.
MOST_FILES = 64

#: Reads a file by its path as it is written. Raises OSError, ValueError or UnreadableYaml.
Reader = Callable[[str], Node]


def with_includes(root: Node, own: str, read: Reader, report: Report) -> Node:
    """The file with those that it includes. A file that is included already is refused.

    :param own: the name of the file itself.
    """
    entries = [entry for entry in root.entries if entry.name != "include"]
    waiting = list(_includes(root))
    seen = {own}
    for item in waiting:
        included = _included(item, seen, read, report)
        for entry in included.entries if included is not None else ():
            if entry.name == "include":
                waiting += _files(entry.node)
            else:
                _join(entries, entry)
    return Node(root.line, tuple(entries), is_mapping=root.is_mapping) if root.is_mapping else root


def _includes(root: Node) -> Iterator[Node]:
    for entry in root.entries:
        if entry.name == "include":
            yield from _files(entry.node)


def _files(node: Node) -> tuple[Node, ...]:
    return node.items if not node.is_scalar else (() if node.is_off else (node,))


def _included(item: Node, seen: set[str], read: Reader, report: Report) -> Node | None:
    """The content of a file; ``None``, with a finding, if there is none to take."""
    name = item.text
    setting = f"include {one_line(name)}"
    if not item.is_scalar or not name:
        report.left_out(item.line, "include", "it is not the path of a file")
    elif name in seen:
        report.left_out(item.line, setting, "refused: this file is read already")
    elif len(seen) > MOST_FILES:
        report.left_out(item.line, setting, f"more than {MOST_FILES} files are not read")
    else:
        seen.add(name)
        try:
            content = read(name)
        except OSError as error:
            report.left_out(item.line, setting, f"it cannot be read: {error.strerror}")
        except (ValueError, UnreadableYaml) as error:
            reason = str(error) if isinstance(error, UnreadableYaml) else "it is not text in UTF-8"
            report.left_out(item.line, setting, reason)
        else:
            if content.is_mapping:
                report.mapped(item.line, setting, "read, with its lines under its name")
                return content
            report.left_out(item.line, setting, "it is not a mapping of sections, as LiteLLM reads it")
    return None


def _join(entries: list[Entry], added: Entry) -> None:
    """Add an entry of the top level. A list continues the list of that name."""
    for place, entry in enumerate(entries):
        if entry.name == added.name and entry.node.items and added.node.items:
            node = Node(entry.node.line, (*entry.node.items, *added.node.items))
            entries[place] = Entry(entry.line, entry.name, node)
            return
    entries.append(added)
