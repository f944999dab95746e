"""Checks the URL of an upstream and completes its base path. Uses no network and no DNS."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, quote, unquote, urlsplit

from .errors import InvalidValue, nearest

#: The path of chat calls, below the base of every HTTP upstream.
CHAT_PATH = "/chat/completions"
#: Paths that operators copy along with the base by mistake.
ENDPOINTS = (
    CHAT_PATH,
    "/completions",
    "/embeddings",
    "/responses",
    "/models",
    "/moderations",
    "/rerank",
    "/messages",
    "/generate",
)
OLLAMA_PORT = 11434

_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]+")
_HOST = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")
_VERSION = re.compile(r"v\d+[a-z0-9]*")
_SCHEMES = ("http", "https", "http+unix", "mock")
#: The scheme of an upstream at a Unix socket, whose path stands percent-encoded in the place of the host.
UNIX = "http+unix://"
#: The longest path of a socket, bytes: unix(7).
_MOST_PATH = 107


def base_url(url: str) -> str:
    """Return the base to which ``/chat/completions`` is appended. ``mock://`` URLs are returned unchanged.

    ``/v1`` is added unless a segment of the path looks like a version. Raises :class:`InvalidValue`.
    """
    if not _VISIBLE_ASCII.fullmatch(url):
        raise InvalidValue("a URL in ASCII, without spaces or control characters")
    if "@" in url:
        # Refuse "@" in the whole URL: an unescaped "/" in a password moves the "@" into the path.
        raise InvalidValue(
            "a URL without credentials", "give the key as a setting of its own; write a plain @ as %40"
        )
    if url.lower().startswith(UNIX):
        return _unix_url(url[len(UNIX) :])
    if url.startswith(("unix:", "/")):
        path = "/" + url.removeprefix("unix:").lstrip("/")
        raise InvalidValue("a URL", f"write {UNIX}{quote(path, safe='')} for the socket {path}")
    parts = split_url(url, _SCHEMES)
    if parts.scheme == "mock":
        return "mock" + url[len("mock") :]
    _refuse_ollama_path(parts)
    path = _versioned(parts.path)
    if "?" in url or "#" in url:
        raise InvalidValue("a URL without query or fragment")
    return f"{parts.scheme}://{_authority(parts)}{path}"


def _unix_url(rest: str) -> str:
    """:param rest: the URL without its scheme."""
    encoded, slash, path = rest.partition("/")
    socket = unquote(encoded)
    if not socket.startswith("/") or not socket.isprintable() or len(socket.encode()) > _MOST_PATH:
        expected = f"the absolute path of a socket, with %2F for each /, as in {UNIX}%2Frun%2Fvllm.sock"
        raise InvalidValue(expected, f"at most {_MOST_PATH} bytes")
    if "?" in rest or "#" in rest:
        raise InvalidValue("a URL without query or fragment")
    return UNIX + quote(socket, safe="") + _versioned(slash + path)


def socket_path(url: str) -> str | None:
    """Return the path of the Unix socket of an upstream's URL; ``None``: it has none."""
    return unquote(url[len(UNIX) :].partition("/")[0]) if url.startswith(UNIX) else None


def split_url(url: str, schemes: tuple[str, ...]) -> SplitResult:
    """Split a URL that has one of the schemes, a host, and no port or one from 1 to 65535.

    Raises :class:`InvalidValue`. It drops the message of ``urlsplit``, which could repeat a password.
    """
    expected = "a URL that begins with " + ", ".join(f"{scheme}://" for scheme in schemes)
    scheme, separator, _ = url.partition("://")
    if not separator or scheme.lower() not in schemes:
        raise InvalidValue(expected, nearest(scheme, schemes) if separator else None)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidValue("a URL with a valid host and a port from 1 to 65535") from None
    if not parts.hostname:
        raise InvalidValue(f"a host in the URL, as in {parts.scheme}://localhost")
    if port == 0 or parts.netloc.endswith(":"):
        raise InvalidValue("a URL with a port from 1 to 65535")
    if not _is_host(parts):
        raise InvalidValue("a host name or an address in the URL, an IPv6 address in [brackets]")
    return parts


def _is_host(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    if not parts.netloc.rpartition("@")[2].startswith("["):
        return _HOST.fullmatch(host) is not None
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _authority(parts: SplitResult) -> str:
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return host if parts.port is None else f"{host}:{parts.port}"


def _refuse_ollama_path(parts: SplitResult) -> None:
    """Refuse Ollama's own API below ``/api``. Its OpenAI API is below ``/v1``."""
    if parts.port == OLLAMA_PORT and re.fullmatch(r"/api(/\w+)*/?", parts.path):
        base = f"{parts.scheme}://{_authority(parts)}"
        raise InvalidValue("the base of an OpenAI API", f"Ollama has one at {base}, without {parts.path}")


def _versioned(path: str) -> str:
    path = path.rstrip("/")
    for endpoint in ENDPOINTS:
        if path.endswith(endpoint):
            raise InvalidValue("the base of the API", f"leave {endpoint} off, the gateway adds it")
    segments = path.split("/")
    if "." in segments or ".." in segments:
        raise InvalidValue("a URL whose path has no . or .. segments")
    return path if any(_VERSION.fullmatch(segment) for segment in segments) else f"{path}/v1"
