"""Defines quirks: facts about an upstream that a request in the words of another API depends on."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from .call import Continues


class Unsupported(StrEnum):
    """Says what happens to a field of a request that the upstream's API has no place for."""

    #: The call is refused: 400 ``unsupported_field``.
    REFUSE = "refuse"
    #: The field is left out, and ``x-gateway-left-out`` names it.
    DROP = "drop"


class InlineSystem(StrEnum):
    """Says how a system message in the middle of a conversation is sent."""

    #: As a system message in the same place.
    KEEP = "keep"
    #: At the end of the message before it, for servers that take one system message, and take it first.
    FOLD = "fold"


class Effort(StrEnum):
    """Says how the wanted effort of reasoning is sent."""

    #: ``reasoning_effort``.
    FIELD = "field"
    #: ``chat_template_kwargs``: thinking on or off.
    TEMPLATE = "template"
    #: ``thinking.budget_tokens``, for models of Anthropic that take no effort. To chat: ``reasoning_effort``.
    BUDGET = "budget"
    #: Not at all.
    NONE = "none"


class UserIds(StrEnum):
    """Says what becomes of the ``metadata.user_id`` of callers of Anthropic's API."""

    #: It passes to upstreams of that API alone.
    NATIVE = "native"
    #: Chat gets it too, as ``user``.
    PASSED = "pass"
    #: Both get the id of the caller's key in its place.
    REPLACE = "replace"


class Quirks(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about an upstream that a translated request depends on. ``docs/dialects.md`` explains each.

    :param unsupported: what happens to fields that cannot be carried.
    :param inline_system: how system messages behind the first other message are sent.
    :param max_tokens_field: the field of chat that limits the answer.
    :param max_output_tokens: the longest answer, tokens: a larger wish is lowered to it, and Anthropic's API
        gets it where the caller sets no limit. 0: not known.
    :param system_role: the role of system messages.
    :param top_k: whether chat takes ``top_k``.
    :param reasoning_field: the field of an assistant message that returns its reasoning; empty: none does.
    :param effort: how the wanted effort of reasoning is sent.
    :param documents: whether chat takes PDF documents as ``file`` parts.
    :param tool_parts: whether a tool message may have parts that are no text.
    :param short_tool_ids: ids of tool calls must be 9 letters and digits.
    :param json_schema: whether chat takes a JSON schema as ``response_format``.
    :param parallel_tools: whether chat takes ``parallel_tool_calls``.
    :param user_ids: what becomes of the caller's ``metadata.user_id``.
    :param openai_fields: whether chat takes fields that only OpenAI's own servers are known to take:
        ``verbosity``, ``prompt_cache_key``, ``safety_identifier``.
    :param thought_signatures: whether tool calls of chat carry Gemini's signatures and must keep them.
    :param sampling: whether Anthropic's API takes ``temperature`` and ``top_p`` for these models.
    """

    unsupported: Unsupported = Unsupported.REFUSE
    inline_system: InlineSystem = InlineSystem.KEEP
    max_tokens_field: str = "max_tokens"
    max_output_tokens: int = 0
    system_role: str = "system"
    top_k: bool = False
    reasoning_field: str = ""
    effort: Effort = Effort.FIELD
    documents: bool = True
    tool_parts: bool = False
    short_tool_ids: bool = False
    json_schema: bool = True
    parallel_tools: bool = True
    user_ids: UserIds = UserIds.NATIVE
    thought_signatures: bool = False
    openai_fields: bool = False
    sampling: bool = True


class TranslationTarget(msgspec.Struct, frozen=True):
    """The upstream that a request is translated for.

    :param upstream: its name in the settings.
    :param continues: how it continues an answer that the request begins; ``None``: it cannot.
    """

    upstream: str
    quirks: Quirks = Quirks()
    continues: Continues | None = None
