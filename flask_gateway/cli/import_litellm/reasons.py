"""The reasons why settings of LiteLLM have no counterpart, with what takes their place."""

from __future__ import annotations

RETRIES = "the gateway has rules of its own for retries (docs/failover.md)"
LOGS = "GATEWAY_LOG and GATEWAY_SERVER_LOG_LEVEL set what is logged (docs/observability.md)"
OBSERVERS = (
    "/metrics takes the place for Prometheus, OTEL_* for Langfuse (docs/tracing.md), the log for others"
)
DATABASE = "there is no database: the file has the keys (--keys brings LiteLLM's), [ledger] has the usage"
BUDGETS = "write budgets into [limits], [teams.NAME] or [keys.NAME] (docs/money.md)"
USERS = "LiteLLM writes it into the users that it makes: --users brings LiteLLM_UserTable"
MANAGEMENT = (
    "the file is the place of keys and models, and is read when it changes; GATEWAY_ADMIN_KEY opens /admin/v1"
)
PAGE = "the operator's page has settings of its own (docs/page.md)"
LOGIN = "the plugin jwt takes JWTs of a login provider, a plugin of yours anything else (docs/jwt.md)"
ROUTES = "every route needs a key; which models a key may call is set in [keys.NAME] models"
HEALTH = "circuit breakers watch upstreams by real calls; /health and /readyz answer without a key"
ALERTS = "Prometheus alerts take the place (deploy/alerts.yml)"
SECRETS = "secrets are in variables (…_env) or files (…_file); a secret manager can write those"
GUARDS = "a plugin refuses or changes calls and inspects answers: [plugins.NAME] (docs/plugins.md)"
MCP = "MCP servers are not offered"
CACHE = "a cache of answers is set per model: cache in [models.NAME], and [cache] (docs/cache.md)"
TAGS = "routing by tags is not offered: give each tag's deployments a name of their own"
TOKENS = "the gateway does not change messages or fields"
CONTEXT = "the context window is not checked before a call; a refusal of length goes to the next model"
FILES = (
    "assistants and vector stores are not offered; raw in [upstreams.NAME] opens paths of files and batches"
)
RAW = "for pass-through, raw in [upstreams.NAME] opens paths of an upstream, at /v1/raw/NAME (docs/media.md)"
HEADERS = "headers of callers are not forwarded"
ADDRESS = "GATEWAY_BIND sets the address, and the proxy in front has the rest (docs/deploy.md)"
PROMPTS = "the log has prompts only with GATEWAY_LOG_PROMPTS=on"
CUSTOM = "code of yours is a plugin, or a server that is an upstream (docs/plugins.md)"
STATE = "the state store keeps only limits and circuit breakers, and sizes itself"


def each(reason: str, names: str) -> dict[str, str]:
    """The names, separated by blanks, each with the reason."""
    return dict.fromkeys(names.split(), reason)
