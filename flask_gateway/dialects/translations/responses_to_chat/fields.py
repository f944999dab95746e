"""Lists what becomes of each field of a Responses request at a chat upstream.

A field is mapped, without effect, or refused. ``docs/dialects.md`` shows the tables. A test walks the types
of the openai SDK and fails on what is missing here. A field that no table names is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

#: Fields of the body, with what they become.
MAPPED: Mapping[str, str] = {
    "model": "`model`",
    "stream": "`stream`",
    "instructions": "the first message, as `system_role` says",
    "input": "`messages`; system messages in the middle by `inline_system`",
    "tools": "`tools`",
    "tool_choice": "`tool_choice`; left out without tools; of `allowed_tools` only those are sent",
    "parallel_tool_calls": "`parallel_tool_calls` if `parallel_tools`; left out without tools",
    "temperature": "`temperature`",
    "top_p": "`top_p`",
    "max_output_tokens": "`max_tokens_field`; at most `max_output_tokens`",
    "text": "`format`: `response_format`; `verbosity`: `verbosity` if `openai_fields`, else left out",
    "reasoning": "`effort`: `reasoning_effort`, see `effort`; all else without effect",
    "user": "`user`",
    "prompt_cache_key": "`prompt_cache_key` if `openai_fields`, else without effect",
    "safety_identifier": "`safety_identifier` if `openai_fields`, else without effect",
}

#: Fields of chat that servers also read in a Responses request. They pass as they are.
PASSED = frozenset(
    {"stop", "seed", "frequency_penalty", "presence_penalty", "logit_bias", "top_k", "min_p", "ignore_eos"}
    | {"repetition_penalty", "chat_template_kwargs", "max_tokens", "max_completion_tokens"}
    | {"reasoning_effort"}
)

#: Fields of the body that change nothing at a chat upstream. ``max_tool_calls`` counts hosted tools alone.
WITHOUT_EFFECT = (
    "metadata",
    "client_metadata",
    "service_tier",
    "truncation",
    "max_tool_calls",
    "stream_options",
    "prompt_cache_options",
    "prompt_cache_retention",
    "background_options",
    "access_programs",
    "image",
)

#: Fields of the body that are refused, unless their value asks for nothing: ``null``, ``false``, 0, ``[]``.
REFUSED = (
    "previous_response_id",
    "conversation",
    "prompt",
    "background",
    "store",
    "context_management",
    "include",
    "top_logprobs",
    "moderation",
)

#: Refused fields that refer to what a provider stores. ``unsupported = "drop"`` does not drop them.
STATE = frozenset({"previous_response_id", "conversation", "prompt", "background", "store"})

#: Items of an input.
MAPPED_ITEMS: Mapping[str, str] = {
    "message": "a message; `developer` and `system` as `system_role` says",
    "function_call": "a tool call of the assistant's message before it, or of a new one",
    "function_call_output": "a `tool` message; its pictures follow in a `user` message, unless `tool_parts`",
    "custom_tool_call": '`function_call` with `{"input": text}`',
    "custom_tool_call_output": "as `function_call_output`",
    "reasoning": "its text is the `reasoning_field` of the next assistant's message, else left out; "
    "`encrypted_content` is left out",
}
REFUSED_ITEMS = frozenset(
    {"item_reference", "compaction", "compaction_trigger", "additional_tools", "program", "program_output"}
    | {"computer_call", "computer_call_output", "local_shell_call", "local_shell_call_output"}
    | {"shell_call", "shell_call_output", "apply_patch_call", "apply_patch_call_output"}
    | {"mcp_list_tools", "mcp_approval_request", "mcp_approval_response", "mcp_call"}
    | {"file_search_call", "web_search_call", "image_generation_call", "code_interpreter_call"}
    | {"tool_search_call", "tool_search_output", "configuration_update"}
)
#: Items that stand for content at their provider. ``unsupported = "drop"`` does not drop them.
STORED_ITEMS = frozenset({"item_reference", "compaction"})

#: Parts of a message's content, or of an output.
MAPPED_PARTS: Mapping[str, str] = {
    "input_text": "text",
    "output_text": "text",
    "text": "text",
    "summary_text": "text",
    "refusal": "text",
    "input_image": "`image_url`; refused with a `file_id`",
    "input_file": "`file` with `file_data` if `documents`; refused with a `file_id` or `file_url`",
}
REFUSED_PARTS = frozenset({"input_audio", "computer_screenshot", "encrypted_content"})

#: Tools.
MAPPED_TOOLS: Mapping[str, str] = {
    "function": "a function",
    "namespace": "each of its tools, as `namespace__name`",
    "custom": "a function with one string, `input`; the grammar stands in its description",
}
#: Tools that are left out while other tools remain, and refused if they are the only ones or demanded.
LEFT_OUT_TOOLS = frozenset(
    {"tool_search", "web_search", "web_search_2025_08_26", "web_search_preview", "file_search", "mcp"}
    | {"shell", "web_search_preview_2025_03_11", "computer", "computer_use_preview"}
    | {"code_interpreter", "apply_patch", "image_generation", "local_shell", "programmatic_tool_calling"}
)


def tables() -> Iterator[str]:
    """Yield the lines of the tables of items, parts and tools in ``docs/dialects.md``."""
    yield from _table("item of `input`", [*_rows(MAPPED_ITEMS), (_names(REFUSED_ITEMS), "refused")])
    yield ""
    yield from _table("part", [*_rows(MAPPED_PARTS), (_names(REFUSED_PARTS), "refused")])
    yield ""
    left_out = "left out while others remain, else refused"
    yield from _table("tool", [*_rows(MAPPED_TOOLS), (_names(LEFT_OUT_TOOLS), left_out)])


def _names(names: frozenset[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def _rows(meanings: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(f"`{name}`", meaning) for name, meaning in meanings.items()]


def _table(head: str, rows: list[tuple[str, str]]) -> Iterator[str]:
    for row in ((head, "sent as"), ("---", "---"), *rows):
        yield f"| {row[0]} | {row[1]} |"
