"""Tests the URLs of upstreams: which are accepted, what becomes of them, and how they are masked."""

from __future__ import annotations

from typing import Any

import pytest
from kit.configuration import SECRET, refusal

from flask_gateway.config.schema import mask_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ftp://h", "a URL that begins with http://, https://, http+unix://, mock://"),
        ("localhost:8001", "a URL that begins with http://, https://, http+unix://, mock://"),
        ("http:/h", "a URL that begins with http://, https://, http+unix://, mock://"),
        ("file:///etc/passwd", "a URL that begins with http://, https://, http+unix://, mock://"),
        ("http://", "a host in the URL, as in http://localhost"),
        ("http://:8001", "a host in the URL, as in http://localhost"),
        ("mock://", "a host in the URL, as in mock://localhost"),
        ("http://h:", "a URL with a port from 1 to 65535"),
        ("http://h:0", "a URL with a port from 1 to 65535"),
        ("http://h:65536", "a URL with a valid host and a port from 1 to 65535"),
        ("http://h:80x", "a URL with a valid host and a port from 1 to 65535"),
        ("http://h:-1", "a URL with a valid host and a port from 1 to 65535"),
        ("http://::1", "a URL with a valid host and a port from 1 to 65535"),
        ("http://[::1", "a URL with a valid host and a port from 1 to 65535"),
        ("http://[::g]", None),
        ("http://[v1.x]", None),
        ("http://h,k", "a host name or an address in the URL, an IPv6 address in [brackets]"),
        ("http://h..k", "a host name or an address in the URL, an IPv6 address in [brackets]"),
        ("http://h\\k", "a host name or an address in the URL, an IPv6 address in [brackets]"),
        ("http://h/a b", "a URL in ASCII, without spaces or control characters"),
        ("http://h/\x7f", "a URL in ASCII, without spaces or control characters"),
        ("http://bücher", "a URL in ASCII, without spaces or control characters"),
        (f"http://h?k={SECRET}", "a URL without query or fragment"),
        ("http://h?", "a URL without query or fragment"),
        (f"http://h#{SECRET}", "a URL without query or fragment"),
        ("http://h/../x", "a URL whose path has no . or .. segments"),
        ("http://h/v1/chat/completions", "the base of the API"),
        ("http://h/v1/chat/completions/", "the base of the API"),
        ("http://h/chat/completions?api-version=1", "the base of the API"),
        (f"http://user:{SECRET}@h", "a URL without credentials"),
        (f"http://{SECRET}@h", "a URL without credentials"),
        (f"http://u:80/{SECRET}@h", "a URL without credentials"),
        (f"http://u:{SECRET}?x@h@i", "a URL without credentials"),
        (f"mock://u:{SECRET}@local", "a URL without credentials"),
    ],
)
def test_an_upstream_url_that_cannot_work_is_refused(url: str, expected: str | None, toml: Any) -> None:
    in_environment = refusal(GATEWAY_UPSTREAMS=f"llama={url}")
    assert in_environment.setting == "GATEWAY_UPSTREAMS"
    escaped = "".join(char if ord(char) >= 32 and ord(char) != 127 else f"\\u{ord(char):04x}" for char in url)
    escaped = escaped.replace("h\\k", "h\\\\k")
    in_file = refusal(GATEWAY_CONFIG=toml(f'[upstreams.llama]\nurl = "{escaped}"'))
    assert in_file.setting == "upstreams.llama.url"
    if expected is not None:
        assert in_environment.expected == in_file.expected == expected


def test_a_full_url_is_refused_with_the_path_to_remove() -> None:
    assert str(refusal(GATEWAY_UPSTREAMS="a=http://h; llama=http://h/v1/chat/completions")) == (
        "GATEWAY_UPSTREAMS='llama=http://h/v1/chat/completions': expected the base of the API; "
        "see the URL in entry 2; leave /chat/completions off, the gateway adds it"
    )


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://h:1/v1", "http://h:1/v1"),
        ("redis://:p@h:1/0?x=1", "redis://****@h:1/0?****"),
        ("u:p@h", "****@h"),
        ("redis://:p/q@h", "redis://****"),
        ("redis://:p@q@h", "redis://****"),
        ("redis://h?password=p@q", "redis://****"),
        ("p@q@h", "****"),
        ("http://h#x", "http://h#****"),
        ("", ""),
    ],
)
def test_mask_url(url: str, shown: str) -> None:
    assert mask_url(url) == shown
