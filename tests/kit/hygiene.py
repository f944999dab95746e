"""Which headers there are, and which of them go anywhere."""

from __future__ import annotations

import re

#: All that an upstream ever learns of a request besides its body.
TO_UPSTREAM = {
    "content-type", "content-length", "accept", "accept-encoding", "user-agent", "authorization",
    "x-request-id", "x-trace-id", "traceparent", "tracestate",
}  # fmt: skip
#: All that a caller ever learns of an answer besides its body.
TO_CALLER = {
    "content-type", "content-length", "cache-control", "x-accel-buffering", "x-request-id", "x-trace-id",
    "x-gateway-upstream", "x-gateway-error-origin", "x-gateway-attempts", "x-gateway-retries",
    "retry-after", "retry-after-ms", "x-should-retry",
    "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests",
}  # fmt: skip

#: What callers and upstreams might say in headers, to each other or to what stands between them.
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
