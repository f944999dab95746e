"""Lists the codes and phrases in servers' errors. ``error_meaning.py`` decides which of them count when."""

from __future__ import annotations

import re


def _codes(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _phrases(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{one})" for one in alternatives), re.IGNORECASE | re.DOTALL)


# ---------------------------------------------------------------- codes, in lower case

TOO_LONG_CODES = _codes("""
    context_length_exceeded exceed_context_size_error model_context_window_exceeded context_exceeded
    context_window_exceeded contextwindowexceedederror context_window_exceeded_error context_size_exceeded
    prompt_too_long input_too_long request_too_large string_above_max_length tokens_limit_reached 1261
""")
FLAGGED_CODES = _codes("""
    content_filter content_filtered content_policy_violation contentpolicyviolationerror content_flagged
    content_blocked image_content_policy_violation responsibleaipolicyviolation moderation_blocked
    data_inspection_failed datainspectionfailed internalerror.algo.datainspectionfailed prohibited_content
    sensitive_content sensitivecontentdetected unsafe_content guardrail_intervened cyber_policy_violation
    inputtextsensitivecontentdetected safety refusal 1301
""")
CREDENTIAL_CODES = _codes("""
    invalid_api_key invalidapikey api_key_invalid api_key_expired expired_api_key key_expired
    api_key_service_blocked authentication_error authenticationerror auth_error autherror
    invalid_authentication_error unauthenticated unauthorized account_deactivated organization_restricted
""")
PERMISSION_CODES = _codes("""
    permission_error permission_denied permissiondeniederror access_denied accessdenied forbidden
""")
CREDIT_CODES = _codes("""
    insufficient_quota insufficient_user_quota insufficient_balance insufficient_credits balance_depleted
    exceeded_current_quota_error billing_error billing_hard_limit_reached billing_not_active payment_required
    credit_limit_exceeded creditlimitexceeded credit_limit budget_exceeded accountoverdueerror arrearage
    allocationquota.freetieronly billing_disabled 1113
""")
RATE_CODES = _codes("""
    rate_limit_exceeded ratelimitexceeded rate_limit_error ratelimiterror rate_limit_reached_error
    ratelimitreached rate_limited ratelimit too_many_requests toomanyrequests resource_exhausted
    quota_exceeded throttling throttlingexception throttling_error
    throttling.ratequota throttling.allocationquota engine_overloaded_error model_rate_limit
    limit_burst_rate limit_requests usage_limit_reached service_tier_capacity_exceeded token_quota_exceeded
    request_rate_limit_exceeded 1302 1303 1305
""")
MODEL_CODES = _codes("""
    model_not_found modelnotfound deploymentnotfound invalid_model unknown_model model_not_available
    model_not_exist model_decommissioned model_not_supported unsupported_model
    invalidendpointormodel.notfound modelnotopen model.accessdenied 1211
""")
NOT_FOUND_CODES = _codes("not_found_error notfounderror not_found notfound")
OVERLOADED_CODES = _codes("""
    overloaded_error overloaded server_overloaded server_is_overloaded slow_down capacity_exceeded
    unavailable_error unavailable service_unavailable service_unavailable_error serviceunavailable
    serviceunavailableerror model_loading modelnotreadyexception
""")
TIMEOUT_CODES = _codes("timeout_error deadline_exceeded request_timeout timeout")
FAILED_CODES = _codes("""
    server_error api_error internal_error internalservererror internal_server_error internal upstream_error
    generation incomplete_generation
""")
REQUEST_CODES = _codes("""
    invalid_request_error badrequesterror bad_request badrequest invalid_argument invalid_prompt
    validationexception validation_error unprocessableentityerror invalidparameter invalid_parameter_error
    failed_precondition out_of_range previous_response_not_found
""")
#: OpenAI's codes for an invalid request: ``invalid_image_url``, ``unsupported_parameter``.
REQUEST_CODE = re.compile(r"(?:invalid|unsupported|unknown|missing|image|empty|failed_to_download)_\w+")
#: Codes that name the fault exactly. The message is then ignored, since it may quote the caller's text.
EXACT_CODE = re.compile(
    r"(?:invalid_(?:value|type|json|image|url|base64)|missing_|unsupported_|unknown_|integer_|array_|decimal_)\w*"
)

# ---------------------------------------------------------------- text around the message

#: Prefixes that proxies and SDKs put before a message: ``Error code: 400 - ``, ``APIError: ``.
WRAPPERS = re.compile(
    r"(?:(?:getllmprovider exception|[\w.]*(?:error|exception)(?: code)?(?:: \d{3})?|\d{3}|bad request)"
    r"\s*[:,-]\s*)+",
    re.IGNORECASE,
)
#: A quotation of 20 characters or more may be the caller's text.
QUOTED = re.compile(r"""(?<!\w)'[^']{20,}'(?!\w)|"[^"]{20,}"|`[^`]{20,}`|“[^”]{20,}”""")

# ---------------------------------------------------------------- phrases

#: Request too long; matched anywhere in a message. It is used only where the request is rejected anyway, so
#: the text decides at most that other models are tried.
TOO_LONG = _phrases(
    r"context (?:length|window|size|limit)",  # vLLM, SGLang, OpenAI, llama.cpp, MiniMax, Mistral, LM Studio
    r"context_length|max_model_len",
    r"maximum (?:prompt|model|input) length",  # xAI
    r"maximum allowed (?:input )?length",  # Poolside, SGLang
    r"(?:prompt|input)(?: token)?(?: length)? (?:is )?too long",  # Anthropic, Bedrock, Ollama, Moonshot
    r"(?<!max_)\b(?:prompt|input|tokens?)\b(?! image).{0,60}\bexceeds? (?:the )?max(?:imum)?\b"
    r".{0,20}\b(?:context|length|tokens?)\b",  # Perplexity, Qwen, MLX, Volcengine
    r"expected maxlength: \d+, actual: \d+",  # Bedrock
    r"max(?:imum)? input characters",  # Baidu
    r"(?:prompt|messages?) exceeds? (?:the )?max(?:imum)? length",
    r"input token count|input tokens? exceed",  # Gemini
    r"too many (?:input )?tokens|token limit exceeded",
    r"exceeded model token limit",  # Moonshot
    r"number of (?:input )?tokens|tokens in (?:the )?request more than max",
    r"reduce the length of",  # Groq, vLLM
    r"`inputs` tokens \+|`inputs` must have less than",  # TGI, TEI
    r"range of input length",  # Alibaba
    r"too large for model",  # Mistral
    r"exceeds the (?:model's )?(?:maximum|max input) (?:number of tokens|limit)",
    r"(?:prompt|input|token) (?:token )?count of \d+ exceeds",  # GitHub
    r"requested tokens? .{0,40}exceed",  # llama-cpp-python
    r"request too large for",  # OpenAI, Groq: above the limit of tokens per minute
    r"max_seq_len|max size: \d+ tokens",  # SiliconFlow, GitHub
    r"上下文长度|超过.{0,6}最大长度|超长|输入.{0,10}过长",
)
#: Request too long; matched at the beginning of a message. Used where status and codes say "failed".
BEGINS_TOO_LONG = _phrases(
    r"(?:this|the) (?:model|endpoint)(?:'s)? max(?:imum)? (?:context|prompt) length",
    r"(?:the )?(?:prompt|input) (?:is )?too long",
    r"(?:the )?(?:decoder |encoder )?prompt \((?:total )?length \d|prompt (?:contains|tokens) \(?\d+",
    r"(?:the )?input \(\d+ tokens\) is (?:longer than|too large to process)",
    r"(?:the )?number of tokens to keep from|reached context length|too many tokens: ",
    r"(?:the )?estimated number of input and maximum output tokens",  # Cloudflare
    r"(?:the )?input (?:token count|length|tokens?)\b.{0,40}exceed",
    r"your (?:input|request|prompt) exceed(?:s|ed) (?:the |model )?(?:context|token)",
    r"(?:the )?request(?: \(\d+ tokens\))? exceeds the available context",
    r"(?:the )?requested tokens? .{0,40}exceed",
    r"(?:the )?context size has been exceeded|context length exceeded",
    r"input validation error: `inputs`",
    r"(?:the )?number of tokens .{0,60}exceed",
)
TOO_LARGE_FOR_LIMIT = _phrases(r"request too large for\b")
FLAGGED = _phrases(
    r"(?:input|prompt|request|content|message)s? (?:was|were|has been|is) (?:flagged|blocked)",
    r"flagged (?:as|for|by)|requires moderation",  # OpenRouter
    r"content management policy",  # Azure
    r"violat\w+ .{0,30}(?:usage|content|safety|use) (?:polic|guideline)",  # OpenAI, xAI
    r"safety (?:system|filter)|content (?:filter|policy)",
    r"inappropriate content|sensitive (?:content|information)",  # Alibaba, Volcengine
    r"content exists risk|new_sensitive",  # DeepSeek, MiniMax
    r"blocked by .{0,30}(?:guardrail|moderation|polic|content filter)",
)
CREDENTIAL = _phrases(
    r"api key (?:not valid|not found|expired|is invalid)|please pass a valid api key",  # Gemini
    r"missing or invalid authorization header",  # Gemini
    r"invalid api token|invalid username or password",  # Cohere, Hugging Face
    r"(?:unauthorized|authentication error)[.!]?$",
    r"authentication failed \(status",  # Cloudflare
    r"(?:incorrect|invalid|missing|expired) (?:api|authorization) ?key",
    r"no auth credentials found|no api key|your api key",
    r"user location is not supported",  # Gemini
)
CREDIT = _phrases(
    r"your credit balance is too low",  # Anthropic
    r"you have reached your specified (?:api |workspace )?",
    r"insufficient (?:account )?(?:balance|credits?|funds)",  # DeepSeek, OpenRouter
    r"you have insufficient|you (?:have )?run out of credits",
    r"access denied, please make sure your account is in good standing",  # Alibaba
    r"your account .{0,80}(?:is suspended|insufficient)",  # Moonshot
    r"sorry, your account balance|your newly created teams? doesn't have any credits",  # SiliconFlow, xAI
    r"your team \S{1,80} has (?:either )?used all available credits",  # xAI
    r"account \S{1,80} is suspended",  # Fireworks
    r"key limit exceeded",  # OpenRouter
    r"payment required|you have exceeded your monthly|you have reached your billing",  # Hugging Face, Cohere
    r"this api method requires billing",  # Google
    r"账户?余额不足|余额不足",
)
#: The request costs more than the account has left. OpenRouter.
UNAFFORDABLE = _phrases(r"fewer max_tokens", r"can only afford", r"tokens limit exceeded: \d")
#: The page where Alibaba explains its 429 ``insufficient_quota``: the limit of tokens per minute.
A_MINUTES_QUOTA = "error-code#token-limit"
RATE = _phrases(
    r"(?:requests? )?rate limit|too many requests|rate exceeded|you are being rate.limited",
    r"you have (?:reached the rate limit|exceeded your usage limits)",  # Together, Fireworks
    r"you have used up your daily|you are using a trial key",  # Cloudflare, Cohere
    r"open api .{1,20} limit reached",  # Baidu
)
_THE = r"(?:(?:the|this|your|requested|selected)\s){0,2}"
MODEL = _phrases(
    rf"{_THE}\bmodels?\b.{{0,200}}(?:not found|not exist|doesn't exist)",
    rf"{_THE}\bmodels?\b.{{0,200}}is not (?:a valid|supported|available)",
    rf"{_THE}\bmodels?\b.{{0,200}}has been (?:deprecated|decommissioned|removed|retired)",
    rf"{_THE}\bmodels?\b.{{0,200}}no longer (?:available|supported)",
    r"\S{1,200} is not a valid model|unknown model|no such model|invalid model|could not find .{0,12}model",
    r"not found the model|the provided model identifier is invalid",  # Moonshot, Bedrock
    r"the given endpoint does not exist|模型不存在",  # Databricks, Zhipu
    r"model:\s",  # Anthropic
    rf"{_THE}\bmodel\b.{{0,200}} was removed\b",  # Cohere
    rf"{_THE}\bmodel\b.{{0,80}}end of .{{0,10}}life",  # Bedrock, Nvidia
    r"invocation of model id",  # Bedrock
    r".{0,60}\baccess to the model\b|model access denied",  # Bedrock, Alibaba
    r".{0,60}\bhas not activated the model",  # Volcengine
    r"the supported api model names are",  # DeepSeek
    r"no models? (?:are |is )?loaded",  # LM Studio
    r"(?:no|could not find) suitable handler for model",  # llama-swap
    r"not found for (?:api|account)",  # Gemini, Nvidia
    r"no (?:endpoints|allowed providers)(?: are)? (?:found|available)",  # OpenRouter
    r"deployment for this resource does not exist",  # Azure
    r"no available channel|no healthy deployment",  # new-api, LiteLLM
)
#: The whole message of a server that has nothing at the URL.
NO_PAGE = _phrases(
    r"(?:error[: ]*)?(?:404)?[\s:-]*(?:the )?(?:requested )?(?:page|file|resource|url|path|route|endpoint)?"
    r"[\s:-]*(?:was )?not found(?: on this server)?[.!]?",
    r"404 page not found",  # Go
    r"(?:invalid url|cannot post|unknown request url|unrecognized request url|no static resource).{0,200}",
    r"no route matched.{0,100}",  # Kong
    r"route \w{3,7}:/.{0,200} not found",  # Fastify
    r"default backend - 404",  # Kubernetes
    r"unexpected endpoint or method.{0,200}",  # LM Studio
)
#: Cloudflare's message about a wrong path, which it sends with 400 or 404.
NO_ROUTE = _phrases(r"could not route to /", r"no route for that uri")
NEEDS_TLS = _phrases(
    r"plain http request was sent to https port",  # nginx
    r"client sent an http request to an https server",  # Go
    r"speaking plain http to an ssl-enabled",  # Apache
    r"combination of host and port requires tls",  # Tomcat
    r"http request (?:was )?sent to (?:an )?https",
)
OVERLOADED = _phrases(
    r"loading|warming up|overloaded|(?:at|over) capacity|busy|pending requests|not ready|high demand",
    r"queue is full|capacity temporarily exceeded",
    r"no (?:workers|backends?) available",
)
#: The whole answer of a firewall.
FIREWALL = _phrases(r"error code: 10\d\d")  # Cloudflare
