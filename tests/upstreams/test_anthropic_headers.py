"""Tests the headers of Anthropic's API: the caller's pass, and refusals keep the upstream's words."""

from __future__ import annotations

import msgspec
import pytest
from kit.calls import make_call

from flask_gateway.config.kinds import KINDS
from flask_gateway.model.errors import (
    UpstreamError,
    UpstreamQuotaExhausted,
    UpstreamRefusal,
    UpstreamThrottled,
)
from flask_gateway.upstreams.anthropic_headers import (
    VERSION,
    anthropic_error,
    passed_on,
    with_anthropic_headers,
    with_key_as_user,
)

CLAUDE = KINDS["anthropic"]
BODY = b'{"type":"error","error":{"type":"rate_limit_error","message":"x"}}'


def throttled() -> UpstreamThrottled:
    return UpstreamThrottled("x", status=429, error_object={}, upstream="up")


def test_the_callers_version_counts_before_ours_and_never_before_the_key() -> None:
    plain = make_call()
    assert with_anthropic_headers({}, plain)["anthropic-version"] == VERSION
    own = msgspec.structs.replace(plain, headers={"anthropic-version": "2024-01-01", "x-api-key": "theirs"})
    head = with_anthropic_headers({"x-api-key": "ours"}, own)
    assert head == {"anthropic-version": "2024-01-01", "x-api-key": "ours"}


def test_only_known_headers_of_an_answer_that_can_be_sent_pass() -> None:
    assert passed_on({"request-id": "r1", "x-should-retry": "true", "set-cookie": "a"}) == {
        "request-id": "r1",
        "x-should-retry": "true",
    }
    assert passed_on({"request-id": "a\r\nb"}) == {}


def test_a_429_without_a_wait_is_an_account_without_credit() -> None:
    error = anthropic_error(throttled(), {}, BODY, CLAUDE)
    assert isinstance(error, UpstreamQuotaExhausted)
    assert error.headers["x-should-retry"] == "false"
    waits = anthropic_error(throttled(), {"retry-after": "3"}, BODY, CLAUDE)
    assert type(waits) is UpstreamThrottled


def test_a_refusal_keeps_its_body_and_other_errors_do_not() -> None:
    refusal = UpstreamRefusal("x", status=400, error_object={})
    kept = anthropic_error(refusal, {"request-id": "r1"}, BODY, CLAUDE)
    assert isinstance(kept, UpstreamRefusal)
    assert (kept.body, kept.headers["request-id"]) == (BODY, "r1")
    other = anthropic_error(UpstreamRefusal("x", status=400, error_object={}), {}, b"<html>", CLAUDE)
    assert isinstance(other, UpstreamRefusal)
    assert other.body is None
    assert anthropic_error(UpstreamError("x"), {"request-id": "r1"}, BODY, CLAUDE).headers == {}


@pytest.mark.parametrize("metadata", [None, b"null", b"[]", b"{}", b'{"other":1}', b"[" * 9999])
def test_a_call_without_a_user_id_is_not_touched(metadata: bytes | None) -> None:
    call = make_call()
    if metadata is not None:
        call = msgspec.structs.replace(call, fields={**call.fields, "metadata": msgspec.Raw(metadata)})
    assert with_key_as_user(call) is call


def test_a_user_id_is_replaced_and_the_rest_keeps_its_bytes() -> None:
    raw = msgspec.Raw(b'{"a":[ 1.0 ],"user_id":"device"}')
    call = make_call()
    call = msgspec.structs.replace(call, fields={**call.fields, "metadata": raw})
    replaced = bytes(with_key_as_user(call).fields["metadata"])
    assert replaced == b'{"a":[ 1.0 ],"user_id":"%s"}' % call.caller.id.encode()
