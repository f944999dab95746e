"""Defines the errors that the caller causes: bad keys, bad requests, used-up limits."""

from __future__ import annotations

from .base import GatewayError


class CallerError(GatewayError):
    """The request cannot be served as it is. Repeating it unchanged does not help."""

    status = 400
    code: str | None = None
    type = "invalid_request_error"


class Unauthorized(CallerError):
    status = 401
    code = "invalid_api_key"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.headers["WWW-Authenticate"] = "Bearer"


class KeyDisabled(Unauthorized):
    """The key is right, and its operator has disabled it."""

    code = "key_disabled"


class KeyExpired(Unauthorized):
    """The key is right, and its time is over."""

    code = "key_expired"


class KeyRevoked(Unauthorized):
    """The operator revoked the key while this call was in progress."""

    code = "key_revoked"


class AccountNotAllowed(CallerError):
    """The caller is known, and no setting lets its account call."""

    status = 403
    code = "account_not_allowed"
    type = "permission_error"


class AmbiguousCredentials(CallerError):
    code = "ambiguous_credentials"


class ModelNotAllowed(CallerError):
    status = 403
    code = "model_not_allowed"
    type = "permission_error"


class OperatorOnly(CallerError):
    """Only the operator of the gateway may do this."""

    status = 403
    code = "operator_only"
    type = "permission_error"


class AdminRoleRequired(CallerError):
    """The admin may read, and this would be a change."""

    status = 403
    code = "admin_role_required"
    type = "permission_error"


class Blocked(CallerError):
    """A plugin blocks what the caller or the model says. No other upstream is asked."""

    code = "content_blocked"


class OperationNotCovered(CallerError):
    """A plugin that must see each call of the model cannot see those of this operation."""

    status = 403
    code = "operation_not_covered"
    type = "permission_error"


class UnknownUpstream(CallerError):
    status = 404
    code = "upstream_not_found"


class OriginNotAllowed(CallerError):
    """A browser sent the request for a page whose origin is not allowed."""

    status = 403
    code = "origin_not_allowed"
    type = "permission_error"


class UnknownUrl(CallerError):
    status = 404
    code = "unknown_url"


class NotOffered(CallerError):
    """The path belongs to another API, or to a part of OpenAI's API that the gateway does not offer.

    The status is not 404, because some clients take every 404 for an unknown model."""

    code = "not_offered"


class WebSocketNotOffered(CallerError):
    """The caller asked for a WebSocket. On this status, clients switch to HTTP at once."""

    status = 426
    code = "websocket_not_offered"


class InvalidFrames(CallerError):
    """A caller has sent bytes that are no WebSocket frames, or a message that is too long.

    :param close: the code of the close frame that says so (RFC 6455, 7.4.1).
    """

    code = "invalid_frames"

    def __init__(self, message: str, close: int) -> None:
        super().__init__(message)
        self.close = close


class SessionIdle(CallerError):
    """Nothing was sent in a WebSocket session for too long."""

    status = 408
    code = "session_idle"


class UnsupportedOperation(CallerError):
    """No upstream of the model takes this operation."""

    code = "unsupported_operation"


class UnsupportedField(CallerError):
    """The upstream's API has no place for a field of the request. Another upstream may have one."""

    code = "unsupported_field"
    retry_elsewhere = True


class UnknownModel(CallerError):
    status = 404
    code = "model_not_found"


class MethodNotAllowed(CallerError):
    status = 405
    code = "method_not_allowed"


class BodyNotReceived(CallerError):
    """The body did not arrive completely."""

    code = "incomplete_body"


class BodyTooSlow(CallerError):
    """The body did not arrive in time."""

    status = 408
    code = "request_timeout"


class BodyTooLarge(CallerError):
    status = 413
    code = "request_too_large"


class UnsupportedMediaType(CallerError):
    status = 415
    code = "unsupported_media_type"


class InvalidCompression(CallerError):
    """The body does not match its Content-Encoding."""

    code = "invalid_compression"


class InvalidJson(CallerError):
    code = "invalid_json"


class InvalidForm(CallerError):
    """The body is no form that can be read."""

    code = "invalid_form"

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message, param=param)


class InvalidField(CallerError):
    """A field is missing, of the wrong type, or ambiguous; ``param`` names it."""


class StateNotHere(InvalidField):
    """The request refers to state that an upstream stores, and the gateway does not know which upstream."""

    code = "state_not_here"

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message, param=param)
        if param == "previous_response_id":
            self.code = "previous_response_not_found"  # OpenAI's code, which clients know how to handle


class ResponseNotHere(InvalidField):
    """The gateway does not know where a stored response is, or another key has made it."""

    status = 404
    code = "response_not_found"


class CallerLeft(GatewayError):
    """The caller hung up before the end of its answer. Only the log shows this error."""

    status = 499  # nginx's status for it
    code = "client_closed_request"
    type = "invalid_request_error"


class RateLimited(CallerError):
    """The caller has used up its requests per minute."""

    status = 429
    code = "rate_limit_exceeded"
    type = "requests"


class TokensUsedUp(RateLimited):
    """A subject of the call has used up its tokens per minute."""

    type = "tokens"


class BudgetUsedUp(CallerError):
    """A budget of the call has no room for it. OpenAI's clients know the code, and do not retry on it."""

    status = 429
    code = "insufficient_quota"
    type = "insufficient_quota"


class ModelNotPriced(CallerError):
    """The caller has a budget, and the price of the model is unknown."""

    status = 403
    code = "model_not_priced"
    type = "permission_error"


class UserRequired(CallerError):
    """The request names no end user, and its key may not call without one."""

    code = "user_required"


class TooManyFailedKeys(CallerError):
    """The key is wrong, after too many wrong keys from the same address."""

    status = 429
    code = "too_many_failed_keys"
    type = "requests"


class TooManyConcurrent(CallerError):
    """The caller has as many calls in flight as its key allows."""

    status = 429
    code = "rate_limit_exceeded"
    type = "concurrency"
