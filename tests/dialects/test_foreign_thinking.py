"""Tests that reasoning of another provider does not reach Anthropic, and that signed reasoning does."""

from __future__ import annotations

import msgspec
import pytest
from kit.calls import make_call

from flask_gateway.dialects.foreign_thinking import signed_only

USER = b'{"role":"user","content":"Hello"}'
SIGNED = b'{"role":"assistant","content":[{"type":"thinking","signature":"c2\\/n", "thinking":"a"}]}'
UNSIGNED = b'{"type":"thinking","thinking":"b","signature":""}'
TEXT = b'{ "type":"text", "text":"c" }'


def messages(*parts: bytes) -> bytes:
    call = make_call()
    fields = {**call.fields, "messages": msgspec.Raw(b"[%b]" % b",".join(parts))}
    return bytes(signed_only(msgspec.structs.replace(call, fields=fields)).fields["messages"])


def test_foreign_reasoning_is_left_out_and_all_else_keeps_its_bytes() -> None:
    mixed = b'{"role":"assistant","content":[%b,%b]}' % (UNSIGNED, TEXT)
    kept = b'{"role":"assistant","content":[%b]}' % TEXT
    assert messages(USER, SIGNED, mixed) == b"[%b,%b,%b]" % (USER, SIGNED, kept)


def test_a_message_of_foreign_reasoning_alone_is_left_out() -> None:
    assert messages(USER, b'{"role":"assistant","content":[%b]}' % UNSIGNED, USER) == b"[%b,%b]" % (
        USER,
        USER,
    )


@pytest.mark.parametrize("odd", [b'{"signature":7}', b'[7,"signature"]', b'{"content":["signature"]}'])
def test_odd_messages_pass(odd: bytes) -> None:
    assert messages(USER, odd) == b"[%b,%b]" % (USER, odd)


def test_state_of_another_provider_is_left_out() -> None:
    own, theirs = (
        b'{"type":"redacted_thinking","data":"%b"}' % data for data in (b"gw1.gemini.e30=", b"EmwK")
    )
    message = b'{"role":"assistant","content":[%b,%b,%b]}'
    kept = b'{"role":"assistant","content":[%b,%b]}' % (theirs, TEXT)
    assert messages(USER, message % (own, theirs, TEXT)) == b"[%b,%b]" % (USER, kept)
