"""Decides what an upstream's error means: a pure function of its status, its codes and its message.

Statuses and codes come first, because only the upstream writes them. The message is matched where they do
not suffice. It may echo the caller's text, so it decides only between meanings that cost other callers
nothing: no message counts as a failure for the circuit breaker. Only an upstream's known sentences, at the
beginning of its message, mark a credential as refused.
"""

from __future__ import annotations

from enum import Enum, auto
from re import Pattern

from . import error_words as known
from .error_body import ErrorBody


class Meaning(Enum):
    """Why an upstream gave an error."""

    #: The request does not fit into the model's context, or into the account's size of one request.
    TOO_LONG = auto()
    #: A limit of requests or tokens is exhausted for now.
    RATE_LIMITED = auto()
    #: The account has nothing left to spend.
    OUT_OF_CREDIT = auto()
    #: This one request may cost more than the account has left.
    UNAFFORDABLE = auto()
    #: The upstream refuses the gateway's own credential.
    CREDENTIAL_REFUSED = auto()
    #: A content filter blocked the request or its answer.
    CONTENT_FLAGGED = auto()
    #: The upstream does not have this model.
    MODEL_NOT_FOUND = auto()
    #: The URL, its port or its scheme is wrong, or a firewall or login page answers instead of the API.
    MISCONFIGURED = auto()
    #: HTTP was sent to a port that expects TLS.
    NEEDS_TLS = auto()
    #: The upstream timed out.
    TIMED_OUT = auto()
    #: The upstream is overloaded, or still loads its model.
    OVERLOADED = auto()
    #: The upstream failed.
    FAILED = auto()
    #: The upstream rejects the request itself.
    REJECTED = auto()


#: Statuses that no OpenAI API sends: the URL is wrong, or another kind of server answers.
_NO_API = frozenset({405, 421, 426, 501, 505})
#: 4xx by which a server reports its own failure: TGI while it generates (424), too early (425), Groq at
#: capacity (498).
_FAILURES = frozenset({424, 425, 498})

#: The status that a code stands for in an answer of status 200. The first match counts.
_STATUS_OF = (
    (known.CREDIT_CODES, 402),
    (known.RATE_CODES, 429),
    (known.CREDENTIAL_CODES, 401),
    (known.PERMISSION_CODES, 403),
    (known.OVERLOADED_CODES, 529),
    (known.TOO_LONG_CODES | known.FLAGGED_CODES, 400),
    (known.MODEL_CODES | known.NOT_FOUND_CODES, 404),
    (known.TIMEOUT_CODES, 408),
    (known.FAILED_CODES, 500),
    (frozenset({"validation"}), 422),
    (known.REQUEST_CODES, 400),
)


def status_of(http: int, error: ErrorBody) -> int:
    """Return the error's status: the HTTP status, or in a 200 the one that its code or message stands for.

    A server may answer 5xx to every error. Then a 4xx that the error itself names counts.
    """
    if http != 200 and http < 500:
        return http
    if http >= 500:
        return error.number if error.number is not None and error.number < 500 else http
    if error.number is not None:
        return error.number
    for codes, status in _STATUS_OF:
        if error.codes & codes:
            return status
    if any(known.REQUEST_CODE.fullmatch(code) for code in error.codes):
        return 400
    return _status_by_words(_own_words(error), error) or 500


def _status_by_words(words: str, error: ErrorBody) -> int | None:
    """Return the status that a message without any code stands for."""
    if known.BEGINS_TOO_LONG.match(words) or known.TOO_LONG.search(words) or known.FLAGGED.search(words):
        return 400
    if _names(known.CREDIT, words, error):
        return 402
    if _names(known.CREDENTIAL, words, error):
        return 401
    if words.lower().startswith("input validation error"):
        return 422
    if known.RATE.match(words):
        return 429
    if words and known.NO_PAGE.fullmatch(words):
        return 404
    if known.MODEL.match(words) or known.NO_ROUTE.match(words):
        return 404
    return 503 if known.OVERLOADED.search(words) else None


def meaning_of(status: int, error: ErrorBody) -> Meaning:
    """Return what an error means.

    :param status: as :func:`status_of` returns it.
    """
    if status == 429 and known.A_MINUTES_QUOTA in error.words:
        return Meaning.RATE_LIMITED
    return _by_code(status, error.codes) or _by_status(status, error)


def _by_code(status: int, codes: frozenset[str]) -> Meaning | None:
    if codes & known.TOO_LONG_CODES and status != 429:
        return Meaning.TOO_LONG
    if codes & known.FLAGGED_CODES and status not in (401, 402, 407, 429):
        return Meaning.CONTENT_FLAGGED
    if codes & known.CREDIT_CODES and status in (400, 401, 402, 403, 429):
        return Meaning.OUT_OF_CREDIT if status != 402 else None
    if codes & known.CREDENTIAL_CODES and status in (400, 401, 403):
        return Meaning.CREDENTIAL_REFUSED
    if codes & known.MODEL_CODES and status != 429:
        return Meaning.MODEL_NOT_FOUND
    if codes & known.RATE_CODES and status in (400, 403):
        return Meaning.RATE_LIMITED
    return None


#: Statuses that have one meaning, whatever the body.
_BY_STATUS = {401: Meaning.CREDENTIAL_REFUSED, 407: Meaning.CREDENTIAL_REFUSED, 408: Meaning.TIMED_OUT}


def _by_status(status: int, error: ErrorBody) -> Meaning:
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status in _BY_WORDS:
        return _BY_WORDS[status](_own_words(error), error)
    if status < 400 or status in _NO_API:
        return Meaning.MISCONFIGURED
    if status in _FAILURES or status >= 500:
        return _failed(status, _own_words(error), error)
    return Meaning.REJECTED


def _payment(words: str, error: ErrorBody) -> Meaning:
    return Meaning.UNAFFORDABLE if known.UNAFFORDABLE.search(words) else Meaning.OUT_OF_CREDIT


def _too_many(words: str, error: ErrorBody) -> Meaning:
    if known.TOO_LARGE_FOR_LIMIT.match(words):
        return Meaning.TOO_LONG
    return Meaning.OUT_OF_CREDIT if _names(known.CREDIT, words, error) else Meaning.RATE_LIMITED


def _forbidden(words: str, error: ErrorBody) -> Meaning:
    if error.page is not None or known.FIREWALL.fullmatch(error.words):
        return Meaning.MISCONFIGURED  # a firewall, or a login: no API speaks HTML
    if known.FLAGGED.search(words):
        return Meaning.CONTENT_FLAGGED
    if known.CREDIT.match(words):
        return Meaning.OUT_OF_CREDIT
    return Meaning.MODEL_NOT_FOUND if known.MODEL.match(words) else Meaning.CREDENTIAL_REFUSED


def _not_found(words: str, error: ErrorBody) -> Meaning:
    if error.page is not None or not words or known.NO_PAGE.fullmatch(words) or known.NO_ROUTE.match(words):
        return Meaning.MISCONFIGURED
    return Meaning.MODEL_NOT_FOUND if known.MODEL.search(words) else Meaning.REJECTED


def _bad_request(words: str, error: ErrorBody) -> Meaning:
    if known.NEEDS_TLS.search(error.text if error.page is not None else error.text[:120]):
        return Meaning.NEEDS_TLS
    if error.page is not None and "SSL certificate" in error.page:
        return Meaning.MISCONFIGURED  # nginx asks for a client certificate
    if known.NO_ROUTE.match(words):
        return Meaning.MISCONFIGURED
    if _names(known.CREDIT, words, error):
        return Meaning.OUT_OF_CREDIT
    if _names(known.CREDENTIAL, words, error):
        return Meaning.CREDENTIAL_REFUSED
    if any(known.EXACT_CODE.fullmatch(code) for code in error.codes):
        return Meaning.REJECTED
    if known.TOO_LONG.search(words):
        return Meaning.TOO_LONG
    about_model = known.MODEL.search if error.fields.get("param") == "model" else known.MODEL.match
    if about_model(words):
        return Meaning.MODEL_NOT_FOUND
    return Meaning.CONTENT_FLAGGED if known.FLAGGED.search(words) else Meaning.REJECTED


def _names(phrases: Pattern[str], words: str, error: ErrorBody) -> bool:
    """Whether the message begins with one of the upstream's own sentences."""
    return not error.repeats and phrases.match(words) is not None


def _failed(status: int, words: str, error: ErrorBody) -> Meaning:
    if status == 424 and "external_connector_error" in error.codes:
        return Meaning.REJECTED  # the caller's tool failed, not the model
    if known.BEGINS_TOO_LONG.match(words):
        return Meaning.TOO_LONG
    says_so = bool(error.codes & known.OVERLOADED_CODES or known.OVERLOADED.search(words))
    return Meaning.OVERLOADED if status in (498, 529) or (status == 503 and says_so) else Meaning.FAILED


#: Statuses whose meaning depends on the message.
_BY_WORDS = {
    400: _bad_request,
    402: _payment,
    403: _forbidden,
    404: _not_found,
    410: _not_found,
    412: _bad_request,
    413: _bad_request,
    422: _bad_request,
    429: _too_many,
}


def _own_words(error: ErrorBody) -> str:
    """Return the message without the prefixes of proxies and SDKs, and without longer quotations."""
    words = known.QUOTED.sub("''", error.words)
    wrapped = known.WRAPPERS.match(words)
    return (words[wrapped.end() :] if wrapped else words).strip()
