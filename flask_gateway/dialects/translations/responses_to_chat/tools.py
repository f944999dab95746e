"""Translates tools of a Responses request into functions of chat, and keeps their names for the way back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from .fields import LEFT_OUT_TOOLS
from .raw import Fields, Raw, is_null, is_text, list_of, object_of, text_of, value_of
from .refusals import Refusals

#: Between a namespace and the name of its tool.
SEPARATOR = "__"
#: The parameters of a function that stands for a custom tool: the field that has its text.
INPUT = "input"
_ONE_TEXT = {
    "type": "object",
    "properties": {INPUT: {"type": "string"}},
    "required": [INPUT],
    "additionalProperties": False,
}


class Tool(NamedTuple):
    """A tool by the names of the Responses API.

    :param custom: its input is a text, not JSON.
    """

    name: str
    namespace: str = ""
    custom: bool = False


class ToolNames:
    """The tools of one request by their names in chat.

    :ivar functions: what chat has of them.
    """

    def __init__(self) -> None:
        self.functions: dict[str, dict[str, Any]] = {}
        self._tools: dict[str, Tool] = {}
        #: The names in chat by the tool's own name, and by its namespace.
        self._parts: dict[str, list[str]] = {}

    def add(self, tool: Tool, function: Mapping[str, Any], path: str, refusals: Refusals) -> None:
        name = chat_name(tool.name, tool.namespace)
        if name in self._tools:
            raise refusals.invalid(path, f"a tool of its own name: chat has two of the name '{name}'")
        self._tools[name] = tool
        for part in {tool.name, tool.namespace} - {name, ""}:
            self._parts.setdefault(part, []).append(name)
        self.functions[name] = {"type": "function", "function": {"name": name, **function}}

    def tool_of(self, name: str) -> Tool:
        """The tool that a call of chat means. A model may also call what it was not offered."""
        return self._tools.get(name) or Tool(name)

    def names_of(self, name: str) -> list[str]:
        """The names in chat of the tool or the tools of this name."""
        if name in self._tools:
            return [name]
        return self._parts.get(name, [])


def chat_name(name: str, namespace: str = "") -> str:
    return f"{namespace}{SEPARATOR}{name}" if namespace else name


def read_tools(raw: Raw | None, refusals: Refusals) -> ToolNames:
    """Translate ``tools``. Hosted tools are left out while other tools remain.

    :raises UnsupportedField: there are only tools that chat does not have.
    """
    names = ToolNames()
    hosted: list[tuple[str, str]] = []
    tools = [] if is_null(raw) else list_of(raw)
    if tools is None:
        raise refusals.invalid("tools", "a list")
    for number, tool in enumerate(tools):
        path = f"tools.{number}"
        kind = _read_tool(names, object_of(tool) or {}, path, refusals)
        if kind:
            hosted.append((path, kind))
    for path, kind in hosted:
        if not names.functions:
            refusals.leave_out(path, f"tool of type '{kind}'")
        else:
            refusals.note(f"{path}:{kind}")
    return names


def _read_tool(names: ToolNames, tool: Fields, path: str, refusals: Refusals) -> str:
    """Add a tool. Return its type if chat has no such tool."""
    kind = text_of(tool.get("type"))
    if kind == "namespace":
        namespace = text_of(tool.get("name"))
        for number, inner in enumerate(list_of(tool.get("tools")) or []):
            fields = object_of(inner) or {}
            _read_own(names, fields, namespace, f"{path}.tools.{number}", refusals)
        return ""
    if kind in ("function", "custom"):
        _read_own(names, tool, "", path, refusals)
        return ""
    if kind not in LEFT_OUT_TOOLS:
        raise refusals.refuse(path, f"tool of type '{kind}'")
    return kind


def _read_own(names: ToolNames, tool: Fields, namespace: str, path: str, refusals: Refusals) -> None:
    """Add a tool that the caller runs."""
    name = text_of(tool.get("name"))
    if not name:
        raise refusals.invalid(f"{path}.name", "the tool's name")
    custom = text_of(tool.get("type")) == "custom"
    function = _custom(tool) if custom else _function(tool)
    names.add(Tool(name, namespace, custom), function, path, refusals)


def _function(tool: Fields) -> dict[str, Any]:
    function: dict[str, Any] = {
        name: tool[name] for name in ("description", "parameters") if not is_null(tool.get(name))
    }
    if value_of(tool.get("strict")) is True:
        function["strict"] = True
    return function


def _custom(tool: Fields) -> dict[str, Any]:
    description = text_of(tool.get("description"))
    format = object_of(tool.get("format")) or {}
    if is_text(format.get("definition")):
        syntax, definition = text_of(format.get("syntax")), text_of(format["definition"])
        description += f"\n\nThe text in '{INPUT}' follows this {syntax} grammar:\n{definition}"
    return {"description": description.strip(), "parameters": _ONE_TEXT}


def read_choice(raw: Raw | None, names: ToolNames, refusals: Refusals) -> Any:
    """Translate ``tool_choice``. Of ``allowed_tools``, the other tools are taken out of ``names``.

    :raises UnsupportedField: it demands a tool that chat does not have.
    """
    if is_null(raw) or is_text(raw):
        return None if is_null(raw) else raw
    choice = object_of(raw) or {}
    kind = text_of(choice.get("type"))
    if kind == "allowed_tools":
        return _allow(choice, names)
    full = names.names_of(text_of(choice.get("name"))) if kind in ("function", "custom") else []
    if len(full) != 1:
        refusals.leave_out("tool_choice", f"choice of a tool of type '{kind}' that is not among 'tools'")
        return None
    return {"type": "function", "function": {"name": full[0]}}


def _allow(choice: Fields, names: ToolNames) -> Any:
    allowed: set[str] = set()
    for tool in list_of(choice.get("tools")) or []:
        allowed.update(names.names_of(text_of((object_of(tool) or {}).get("name"))))
    names.functions = {name: function for name, function in names.functions.items() if name in allowed}
    return choice.get("mode") or "auto"


def arguments_of(input: Raw) -> Raw:
    """The arguments of a call that stands for a custom tool's: a JSON string with JSON in it.

    :param input: the text, as a JSON string.
    """
    inner = b'{"%b":%b}' % (INPUT.encode(), bytes(memoryview(input)))
    return Raw(msgspec.json.encode(inner.decode()))


def input_of(arguments: str) -> str:
    """The text in the arguments of a custom tool's call. Other arguments are the text themselves."""
    try:
        fields = json.loads(arguments, strict=False)
    except (ValueError, RecursionError):
        return arguments
    if not isinstance(fields, dict):
        return arguments
    texts = [fields[INPUT]] if INPUT in fields else list(fields.values())
    return texts[0] if len(texts) == 1 and isinstance(texts[0], str) else arguments
