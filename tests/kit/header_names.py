"""Lists the headers that the gateway passes on, and headers that it must not pass on."""

from __future__ import annotations

import re

#: The only request headers that an upstream receives.
TO_UPSTREAM = {
    "content-type", "content-length", "accept", "accept-encoding", "user-agent", "authorization",
    "x-request-id", "x-trace-id", "traceparent", "tracestate",
}  # fmt: skip
#: The only response headers that a caller receives.
TO_CALLER = {
    "content-type", "content-length", "cache-control", "x-accel-buffering", "x-request-id", "x-trace-id",
    "x-gateway-upstream", "x-gateway-error-origin", "x-gateway-attempts", "x-gateway-retries",
    "retry-after", "retry-after-ms", "x-should-retry",
    "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests",
}  # fmt: skip

#: Headers that callers, upstreams and proxies send to each other.
NAMES = re.findall(
    r"\S+",
    """Cookie Set-Cookie Server Via X-Powered-By X-Accel-Redirect X-Accel-Limit-Rate X-Sendfile Location
openai-organization openai-project openai-version openai-processing-ms x-ratelimit-remaining-requests
x-ratelimit-limit-tokens X-Forwarded-For X-Forwarded-Host X-Real-IP Forwarded Proxy-Authorization api-key
X-Goog-Api-Key anthropic-version Connection Keep-Alive TE Trailer Upgrade Expect Origin Referer Date ETag
Access-Control-Allow-Origin Strict-Transport-Security WWW-Authenticate Host Range If-None-Match
x-request-id x-stainless-arch X-HTTP-Method-Override Content-Language x-envoy-upstream-service-time
Accept-Language CF-Ray""",
)
