"""Lists the error answers of a dozen servers, and the error that each means."""

# ruff: noqa: E501

from __future__ import annotations

import json
from typing import Any, NamedTuple

from flask_gateway.model.errors import (
    GatewayError,
    UpstreamAuthFailed,
    UpstreamError,
    UpstreamFlagged,
    UpstreamMisconfigured,
    UpstreamModelNotFound,
    UpstreamOutOfCredit,
    UpstreamOverloaded,
    UpstreamQuotaExhausted,
    UpstreamRefusal,
    UpstreamThrottled,
    UpstreamTimeout,
    UpstreamTooLong,
    UpstreamUnaffordable,
)


class Case(NamedTuple):
    """``said``: JSON, or text. ``words``: what the caller's message contains."""

    server: str
    status: int
    said: object
    kind: type[GatewayError]
    caller: int
    words: str = ""
    pause: float | None = None
    headers: dict[str, str] | None = None
    code: str | None = ""


def openai(message: str, type: str = "invalid_request_error", code: object = None, **more: object) -> Any:
    return {"error": {"message": message, "type": type, "param": None, "code": code, **more}}


def vllm(message: str, type: str = "BadRequestError", code: int = 400) -> Any:
    return {"object": "error", "message": message, "type": type, "param": None, "code": code}


def anthropic(type: str, message: str) -> Any:
    return {"type": "error", "error": {"type": type, "message": message}, "request_id": "req_1"}


def gemini(code: int, message: str, status: str, *details: object) -> Any:
    return [{"error": {"code": code, "message": message, "status": status, "details": list(details)}}]


def openrouter(code: int, message: str, **metadata: object) -> Any:
    return {"error": {"message": message, "code": code, "metadata": metadata}, "user_id": "user_1"}


NGINX = (
    "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n</body></html>"
)
CONTEXT = "This model's maximum context length is 8192 tokens. However, you requested 9103 tokens."
INFO = "type.googleapis.com/google.rpc."
SHORT = "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575)."
FILTERED = "The response was filtered due to the prompt triggering Azure OpenAI's content management policy."


TOO_LONG = [
    Case("openai", 400, openai(CONTEXT, code="context_length_exceeded"), UpstreamTooLong, 400, "8192 tokens"),
    Case("openai", 400, openai("Your input exceeds the context window of this model.", code="context_length_exceeded"), UpstreamTooLong, 400),
    Case("openai 429", 429, openai("Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Requested 342389.", "tokens", "rate_limit_exceeded"), UpstreamTooLong, 429, "Requested 342389"),
    Case("groq", 413, openai("Request too large for model `llama-3.3-70b-versatile` on tokens per minute (TPM): Limit 12000, Requested 14137", "tokens", "rate_limit_exceeded"), UpstreamTooLong, 413, "14137"),
    Case("groq", 400, openai("Please reduce the length of the messages or completion."), UpstreamTooLong, 400),
    Case("vllm", 400, vllm(CONTEXT + " Please reduce the length of the messages or completion."), UpstreamTooLong, 400, code="context_length_exceeded"),
    Case("vllm", 400, openai("'max_tokens' or 'max_completion_tokens' is too large: 4096. This model's maximum context length is 4096 tokens", "BadRequestError", 400), UpstreamTooLong, 400),
    Case("vllm", 400, vllm("The decoder prompt (length 9000) is longer than the maximum model length of 8192."), UpstreamTooLong, 400),
    Case("sglang", 400, vllm("The input (12345 tokens) is longer than the model's context length (8192 tokens)."), UpstreamTooLong, 400),
    Case("sglang", 400, vllm("Requested token count exceeds the model's maximum context length of 131072 tokens."), UpstreamTooLong, 400),
    Case("llama.cpp", 400, {"error": {"code": 400, "message": "the request exceeds the available context size, try increasing it", "type": "exceed_context_size_error", "n_prompt_tokens": 1407, "n_ctx": 256}}, UpstreamTooLong, 400, code="context_length_exceeded"),
    Case("llama.cpp 500", 500, {"error": {"code": 500, "message": "the request exceeds the available context size. try increasing the context size or enable context shift", "type": "exceed_context_size_error"}}, UpstreamTooLong, 400, "context shift"),
    Case("llama-cpp-python", 400, openai("Requested tokens (2285) exceed context window of 2048", code="context_length_exceeded"), UpstreamTooLong, 400),
    Case("a proxy's 500", 500, {"error": "Prompt is too long: 200348 tokens > 200000 maximum"}, UpstreamTooLong, 400, "200348"),
    Case("anthropic", 400, anthropic("invalid_request_error", "prompt is too long: 213462 tokens > 200000 maximum"), UpstreamTooLong, 400, "213462"),
    Case("anthropic 413", 413, anthropic("request_too_large", "Request exceeds the maximum size"), UpstreamTooLong, 413),
    Case("gemini", 400, gemini(400, SHORT, "INVALID_ARGUMENT"), UpstreamTooLong, 400, "1196265"),
    Case("mistral", 400, {"object": "error", "message": "Prompt contains 40001 tokens and 0 draft tokens, too large for model with 32768 maximum context length", "type": "invalid_request_prompt", "param": None, "code": "3051"}, UpstreamTooLong, 400),
    Case("tgi", 422, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 `inputs` tokens and 512 `max_new_tokens`", "error_type": "validation"}, UpstreamTooLong, 422, "Given: 4000"),
    Case("tei", 413, {"error": "Input validation error: `inputs` must have less than 512 tokens. Given: 1055", "error_type": "Validation"}, UpstreamTooLong, 413),
    Case("ollama", 400, {"error": {"message": "prompt too long; exceeded max context length by 4096 tokens", "type": "invalid_request_error"}}, UpstreamTooLong, 400),
    Case("ollama embed", 400, {"error": "the input length exceeds the context length"}, UpstreamTooLong, 400),
    Case("lm studio", 400, {"error": "Trying to keep the first 9000 tokens when context the overflows. However, the number of tokens to keep from the initial prompt is greater than the context length."}, UpstreamTooLong, 400),
    Case("xai", 400, {"code": "Client specified an invalid argument", "error": "This model's maximum prompt length is 131072 but the request contains 537812 tokens."}, UpstreamTooLong, 400, "537812"),
    Case("moonshot", 400, {"error": {"message": "Invalid request: Your request exceeded model token limit: 262144 (requested: 300000)", "type": "invalid_request_error"}}, UpstreamTooLong, 400),
    Case("minimax", 400, openai("invalid params, context window exceeds limit (2013)"), UpstreamTooLong, 400),
    Case("dashscope", 400, openai("<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 129024]", "invalid_request_error", "invalid_parameter_error"), UpstreamTooLong, 400),
    Case("github", 400, openai("prompt token count of 145000 exceeds the limit of 128000", code="model_max_prompt_tokens_exceeded"), UpstreamTooLong, 400),
    Case("bedrock", 400, {"message": "Input is too long for requested model."}, UpstreamTooLong, 400),
    Case("openrouter", 400, openrouter(400, "This endpoint's maximum context length is 131072 tokens. However, you requested about 537812 tokens."), UpstreamTooLong, 400),
    Case("openrouter raw", 400, openrouter(400, "Provider returned error", raw=json.dumps(openai(CONTEXT, code="context_length_exceeded")), provider_name="P"), UpstreamTooLong, 400, "8192 tokens"),
    Case("litellm", 400, {"error": {"message": "litellm.ContextWindowExceededError: litellm.BadRequestError: OpenAIException - " + CONTEXT, "type": None, "param": None, "code": "400"}}, UpstreamTooLong, 400),
    Case("bedrock's proxy", 500, {"error": {"message": "Error code: 400 - " + CONTEXT}}, UpstreamTooLong, 400),
    Case("zhipu", 400, {"error": {"code": "1261", "message": "Prompt 超长"}}, UpstreamTooLong, 400),
    Case("siliconflow", 400, {"code": 20015, "message": "length of prompt_tokens (40000) must be less than max_seq_len (32768).", "data": None}, UpstreamTooLong, 400, "40000"),
    Case("github models", 413, {"error": {"code": "tokens_limit_reached", "message": "Request body too large for gpt-4o model. Max size: 8000 tokens."}}, UpstreamTooLong, 413),
    Case("cohere", 400, {"message": "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 4292"}, UpstreamTooLong, 400),
    Case("anthropic", 400, anthropic("invalid_request_error", "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000"), UpstreamTooLong, 400),
    Case("watsonx", 400, {"errors": [{"code": "invalid_input_argument", "message": "the number of input tokens 5000 cannot exceed the total tokens limit 4096 for this model"}], "trace": "x", "status_code": 400}, UpstreamTooLong, 400),
]  # fmt: skip


TOO_MANY = [
    Case("openai", 429, openai("Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000. Please try again in 1.5s. Visit https://platform.openai.com", "tokens", "rate_limit_exceeded"), UpstreamThrottled, 429, "Limit 30000", 1.5),
    Case("openai's headers", 429, openai("Rate limit reached", "requests", "rate_limit_exceeded"), UpstreamThrottled, 429, "", 90.0, {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m30s", "x-ratelimit-remaining-tokens": "400", "x-ratelimit-reset-tokens": "6ms"}),
    Case("retry-after first", 429, openai("Please try again in 90s"), UpstreamThrottled, 429, "", 7.0, {"retry-after": "7", "x-ratelimit-reset-requests": "60s"}),
    Case("azure", 429, {"error": {"code": "429", "message": "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-05-01-preview have exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry after 7 seconds."}}, UpstreamThrottled, 429, "S0 pricing", 7.0, code="rate_limit_exceeded"),
    Case("azure", 429, {"error": {"code": "429", "message": "Rate limit is exceeded. Try again in 2 seconds."}}, UpstreamThrottled, 429, "", 2.0),
    Case("anthropic", 429, anthropic("rate_limit_error", "This request would exceed your organization's rate limit of 50 requests per minute"), UpstreamThrottled, 429, "50 requests", 9.0, {"retry-after": "9"}),
    Case("gemini", 429, gemini(429, "You exceeded your current quota, please check your plan and billing details.", "RESOURCE_EXHAUSTED", {"@type": INFO + "QuotaFailure", "violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}]}, {"@type": INFO + "RetryInfo", "retryDelay": "39s"}), UpstreamThrottled, 429, "current quota", 39.0),
    Case("gemini in words", 429, gemini(429, "Resource has been exhausted. Please retry in 39.5s.", "RESOURCE_EXHAUSTED"), UpstreamThrottled, 429, "", 39.5),
    Case("mistral", 429, {"object": "error", "message": "Service tier capacity exceeded for this model.", "type": "service_tier_capacity_exceeded", "code": "3505"}, UpstreamThrottled, 429, "capacity"),
    Case("mistral", 429, {"message": "Requests rate limit exceeded"}, UpstreamThrottled, 429, "Requests rate limit"),
    Case("openrouter", 429, openrouter(429, "Provider returned error", raw="z-ai/glm is temporarily rate-limited upstream. Please retry shortly.", provider_name="B"), UpstreamThrottled, 429, "temporarily rate-limited"),
    Case("tgi", 429, {"error": "Model is overloaded", "error_type": "overloaded"}, UpstreamThrottled, 429, "overloaded"),
    Case("moonshot", 429, openai("The engine is currently overloaded, please try again later", "engine_overloaded_error"), UpstreamThrottled, 429),
    Case("bedrock", 429, {"message": "Too many tokens, please wait before trying again."}, UpstreamThrottled, 429),
    Case("dashscope", 429, openai("You exceeded your current quota, please check your plan and billing details. For details, see: https://help.aliyun.com/zh/model-studio/error-code#token-limit", "insufficient_quota", "insufficient_quota"), UpstreamThrottled, 429),
    Case("nginx", 429, NGINX.format("429 Too Many Requests"), UpstreamThrottled, 429),
    Case("nothing", 429, "", UpstreamThrottled, 429, "too many requests"),
    Case("google's 403", 403, {"error": {"code": 403, "message": "Rate limit", "errors": [{"reason": "rateLimitExceeded"}]}}, UpstreamThrottled, 429),
    Case("the caller's text in it", 429, openai("Limit reached while answering 'insufficient_quota: you exceeded your current quota'", "tokens"), UpstreamThrottled, 429),
    Case("moonshot", 429, openai("Your account org-x request reached max organization concurrency: 1, please try again after 1 seconds", "rate_limit_reached_error"), UpstreamThrottled, 429, "", 1.0),
    Case("github models", 429, {"error": {"code": "RateLimitReached", "message": "Rate limit of 15 per 60s exceeded for UserByModelByMinute. Please wait 42 seconds before retrying."}}, UpstreamThrottled, 429, "", 42.0),
    Case("litellm", 429, openai("No deployments available for selected model, Try again in 5 seconds. Passed model=x", "None", "429"), UpstreamThrottled, 429, "", 5.0),
    Case("cerebras", 429, {"message": "Tokens per minute limit exceeded - too many tokens processed.", "type": "too_many_tokens_error", "param": "quota", "code": "token_quota_exceeded"}, UpstreamThrottled, 429),
    Case("cloudflare", 429, "error code: 1015", UpstreamThrottled, 429, "1015"),
]  # fmt: skip


CREDIT = [
    Case("openai", 429, openai("You exceeded your current quota, please check your plan and billing details.", "insufficient_quota", "insufficient_quota"), UpstreamQuotaExhausted, 429, "billing details", code="insufficient_quota"),
    Case("moonshot", 429, openai("Your account is suspended due to insufficient balance", "exceeded_current_quota_error"), UpstreamQuotaExhausted, 429),
    Case("zhipu", 429, {"error": {"code": "1113", "message": "余额不足或无可用资源包,请充值。"}}, UpstreamQuotaExhausted, 429),
    Case("deepseek", 402, {"error": {"message": "Insufficient Balance", "type": "unknown_error", "param": None, "code": "invalid_request_error"}}, UpstreamOutOfCredit, 502, "Insufficient Balance"),
    Case("anthropic", 400, anthropic("invalid_request_error", "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."), UpstreamOutOfCredit, 502, "credit balance is too low"),
    Case("anthropic", 400, anthropic("invalid_request_error", "You have reached your specified API usage limits. You will regain access on 2026-12-01"), UpstreamOutOfCredit, 502),
    Case("dashscope", 400, openai("Access denied, please make sure your account is in good standing.", "Arrearage", "Arrearage"), UpstreamOutOfCredit, 502),
    Case("openai", 400, openai("Billing hard limit has been reached", code="billing_hard_limit_reached"), UpstreamOutOfCredit, 502),
    Case("new-api", 403, openai("用户额度不足", "new_api_error", "insufficient_user_quota"), UpstreamOutOfCredit, 502),
    Case("openrouter", 402, openrouter(402, "Insufficient credits. Add more using https://openrouter.ai/settings/credits"), UpstreamOutOfCredit, 502, "Insufficient credits"),
    Case("openrouter", 402, openrouter(402, "This request requires more credits, or fewer max_tokens. You requested up to 65536 tokens, but can only afford 3919."), UpstreamUnaffordable, 402, "3919"),
    Case("nothing", 402, "", UpstreamOutOfCredit, 502),
    Case("litellm", 400, openai("Budget has been exceeded! Current cost: 0.1, Max budget: 0.05", "budget_exceeded", "400"), UpstreamOutOfCredit, 502),
    Case("siliconflow", 403, {"code": 30001, "message": "Sorry, your account balance is insufficient", "data": None}, UpstreamOutOfCredit, 502),
    Case("xai", 403, {"code": "The caller does not have permission to execute the specified operation", "error": "Your newly created team doesn't have any credits yet."}, UpstreamOutOfCredit, 502),
]  # fmt: skip


CREDENTIAL = [
    Case("openai", 401, openai("Incorrect API key provided: sk-proj-****wxyz.", code="invalid_api_key"), UpstreamAuthFailed, 502),
    Case("gemini", 400, gemini(400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT", {"@type": INFO + "ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}), UpstreamAuthFailed, 502),
    Case("gemini", 400, gemini(400, "API Key not found. Please pass a valid API key.", "INVALID_ARGUMENT"), UpstreamAuthFailed, 502),
    Case("gemini", 403, gemini(403, "Your API key was reported as leaked. Please use another API key.", "PERMISSION_DENIED"), UpstreamAuthFailed, 502),
    Case("anthropic", 401, anthropic("authentication_error", "invalid x-api-key"), UpstreamAuthFailed, 502),
    Case("anthropic", 403, anthropic("permission_error", "Your API key does not have permission to use the specified resource"), UpstreamAuthFailed, 502),
    Case("openrouter", 401, openrouter(401, "No auth credentials found"), UpstreamAuthFailed, 502),
    Case("azure", 401, {"error": {"code": "401", "message": "Access denied due to invalid subscription key or wrong API endpoint."}}, UpstreamAuthFailed, 502),
    Case("mistral", 401, {"message": "Unauthorized", "request_id": "x"}, UpstreamAuthFailed, 502),
    Case("vllm", 401, {"error": "Unauthorized"}, UpstreamAuthFailed, 502),
    Case("llama.cpp", 401, {"error": {"message": "Invalid API Key", "type": "authentication_error", "code": 401}}, UpstreamAuthFailed, 502),
    Case("openai", 403, openai("Country, region, or territory not supported", "request_forbidden", "unsupported_country_region_territory"), UpstreamAuthFailed, 502),
    Case("nginx", 401, NGINX.format("401 Authorization Required"), UpstreamAuthFailed, 502),
    Case("xai", 400, {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: sk***."}, UpstreamAuthFailed, 502),
    Case("gemini", 400, gemini(400, "User location is not supported for the API use.", "FAILED_PRECONDITION"), UpstreamAuthFailed, 502),
]  # fmt: skip


FLAGGED = [
    Case("openai", 400, openai("Invalid prompt: your prompt was flagged as potentially violating our usage policy.", code="invalid_prompt"), UpstreamFlagged, 400, "usage policy", code="invalid_prompt"),
    Case("openai", 400, openai("Your request was rejected as a result of our safety system.", code="content_policy_violation"), UpstreamFlagged, 400),
    Case("azure", 400, {"error": {"message": FILTERED, "type": None, "param": "prompt", "code": "content_filter", "status": 400, "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"violence": {"filtered": True, "severity": "high"}}}}}, UpstreamFlagged, 400, "content management", code="content_filter"),
    Case("openrouter", 403, openrouter(403, 'Your chosen model requires moderation and your input was flagged for "violence".', reasons=["violence"], provider_name="P"), UpstreamFlagged, 403, "flagged"),
    Case("openrouter", 403, openrouter(403, "Moderation", reasons=["sexual/minors"], flagged_input="..."), UpstreamFlagged, 403),
    Case("dashscope", 400, openai("<400> InternalError.Algo.DataInspectionFailed: Input text data may contain inappropriate content.", "data_inspection_failed", "data_inspection_failed"), UpstreamFlagged, 400),
    Case("anthropic", 400, anthropic("invalid_request_error", "Output blocked by content filtering policy"), UpstreamFlagged, 400),
    Case("xai", 403, {"code": "The caller does not have permission to execute the specified operation", "error": "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO"}, UpstreamFlagged, 403),
    Case("moonshot", 400, openai("The request was rejected because it was considered high risk", "content_filter"), UpstreamFlagged, 400),
    Case("volcengine", 400, openai("The request failed because the input text may contain sensitive information.", "BadRequest", "InputTextSensitiveContentDetected"), UpstreamFlagged, 400),
]  # fmt: skip


NOT_THERE = [
    Case("openai", 404, openai("The model `gpt-9` does not exist or you do not have access to it.", code="model_not_found"), UpstreamModelNotFound, 404, "gpt-9"),
    Case("vllm", 404, vllm("The model `small` does not exist.", "NotFoundError", 404), UpstreamModelNotFound, 404, code="model_not_found"),
    Case("ollama", 404, {"error": {"message": 'model "qwen3" not found, try pulling it first', "type": "api_error", "param": None, "code": None}}, UpstreamModelNotFound, 404, "try pulling", code="model_not_found"),
    Case("ollama", 404, {"error": "model 'x' not found"}, UpstreamModelNotFound, 404),
    Case("anthropic", 404, anthropic("not_found_error", "model: claude-9"), UpstreamModelNotFound, 404),
    Case("gemini", 404, gemini(404, "models/gemini-9 is not found for API version v1main, or is not supported for generateContent.", "NOT_FOUND"), UpstreamModelNotFound, 404),
    Case("azure", 404, {"error": {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}}, UpstreamModelNotFound, 404),
    Case("openrouter", 404, openrouter(404, "No endpoints found for nousresearch/hermes-3-llama-3.1-405b:free."), UpstreamModelNotFound, 404),
    Case("openrouter", 400, openrouter(400, "gpt-9 is not a valid model ID"), UpstreamModelNotFound, 400),
    Case("mistral", 400, {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "param": None, "code": "1500"}, UpstreamModelNotFound, 400),
    Case("deepseek", 400, openai("Model Not Exist"), UpstreamModelNotFound, 400),
    Case("new-api", 503, openai("No available channel for model x under group default", "new_api_error", "model_not_found"), UpstreamModelNotFound, 400),
    Case("groq", 400, openai("The model `x` has been decommissioned and is no longer supported.", code="model_decommissioned"), UpstreamModelNotFound, 400),
    Case("fireworks", 404, {"error": {"object": "error", "type": "invalid_request_error", "code": "NOT_FOUND", "message": "Model not found, inaccessible, and/or not deployed"}}, UpstreamModelNotFound, 404),
    Case("together", 404, openai("Unable to access model x.", code="model_not_available"), UpstreamModelNotFound, 404),
    Case("openai", 403, openai("Project `proj_x` does not have access to model `gpt-5`", code="model_not_found"), UpstreamModelNotFound, 403),
    Case("nvidia", 404, {"status": 404, "title": "Not Found", "detail": "Not found for account 'x'"}, UpstreamModelNotFound, 404),
    Case("moonshot", 404, openai("Not found the model x or Permission denied", "resource_not_found_error"), UpstreamModelNotFound, 404),
    Case("vertex", 404, gemini(404, "Publisher Model `projects/x/models/y` was not found or your project does not have access to it.", "NOT_FOUND"), UpstreamModelNotFound, 404),
    Case("zhipu", 400, {"error": {"code": "1211", "message": "模型不存在"}}, UpstreamModelNotFound, 400),
    Case("llama-swap", 400, {"error": "could not find real modelID for x"}, UpstreamModelNotFound, 400),
]  # fmt: skip


WRONG_URL = [
    Case("go", 404, "404 page not found\n", UpstreamMisconfigured, 502, "404 page not found"),
    Case("fastapi", 404, {"detail": "Not Found"}, UpstreamMisconfigured, 502),
    Case("llama.cpp", 404, {"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}}, UpstreamMisconfigured, 502),
    Case("openai", 404, openai("Invalid URL (POST /v1/v1/chat/completions)"), UpstreamMisconfigured, 502, "/v1/v1"),
    Case("azure", 404, {"error": {"code": "404", "message": "Resource not found"}}, UpstreamMisconfigured, 502),
    Case("anthropic", 404, anthropic("not_found_error", "Not Found"), UpstreamMisconfigured, 502),
    Case("kong", 404, {"message": "no Route matched with those values"}, UpstreamMisconfigured, 502),
    Case("nginx", 404, NGINX.format("404 Not Found"), UpstreamMisconfigured, 502, "404 Not Found"),
    Case("express", 404, '<!DOCTYPE html>\n<html lang="en"><head><title>Error</title></head><body><pre>Cannot POST /v1/chat/completions</pre></body></html>', UpstreamMisconfigured, 502),
    Case("tgi", 404, "", UpstreamMisconfigured, 502),
    Case("fastapi", 405, {"detail": "Method Not Allowed"}, UpstreamMisconfigured, 502),
    Case("nginx", 405, NGINX.format("405 Not Allowed"), UpstreamMisconfigured, 502),
    Case("nginx", 400, NGINX.format("400 The plain HTTP request was sent to HTTPS port"), UpstreamMisconfigured, 502, "https://"),
    Case("go", 400, "Client sent an HTTP request to an HTTPS server.\n", UpstreamMisconfigured, 502, "https://"),
    Case("apache", 400, '<!DOCTYPE HTML PUBLIC "-//IETF//DTD HTML 2.0//EN">\n<html><head>\n<title>400 Bad Request</title></head><body><p>Reason: You\'re speaking plain HTTP to an SSL-enabled server port.<br /></p></body></html>', UpstreamMisconfigured, 502, "https://"),
    Case("tomcat", 400, "Bad Request\r\nThis combination of host and port requires TLS.\r\n", UpstreamMisconfigured, 502, "https://"),
    Case("nginx, certificates", 400, NGINX.format("400 No required SSL certificate was sent"), UpstreamMisconfigured, 502),
    Case("to https", 301, "", UpstreamMisconfigured, 502, "https://", headers={"location": "https://llama.test/v1/chat/completions"}),
    Case("to a login", 302, "", UpstreamMisconfigured, 502, "redirect", headers={"location": "/login"}),
    Case("cloudflare", 403, "<!DOCTYPE html><html><head><title>Attention Required! | Cloudflare</title></head></html>", UpstreamMisconfigured, 502, "Attention Required"),
    Case("a login", 403, "<html><head><title>Sign in</title></head></html>", UpstreamMisconfigured, 502, "Sign in"),
    Case("upgrade", 426, "Upgrade Required", UpstreamMisconfigured, 502),
    Case("cloudflare", 403, "error code: 1020", UpstreamMisconfigured, 502),
    Case("llama.cpp", 501, {"error": {"code": 501, "message": "This server does not support embeddings. Start it with `--embeddings`", "type": "not_supported_error"}}, UpstreamMisconfigured, 502),
]  # fmt: skip


BROKEN = [
    Case("tgi", 424, {"error": "Request failed during generation: Server error: CUDA out of memory", "error_type": "generation"}, UpstreamError, 502),
    Case("vllm", 500, vllm("Internal server error", "InternalServerError", 500), UpstreamError, 502),
    Case("anthropic", 529, anthropic("overloaded_error", "Overloaded"), UpstreamOverloaded, 502),
    Case("gemini", 503, gemini(503, "The model is overloaded. Please try again later.", "UNAVAILABLE"), UpstreamOverloaded, 502),
    Case("llama.cpp", 503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}, UpstreamOverloaded, 502),
    Case("hugging face", 503, {"error": "Model meta-llama/Llama-2-13b-chat is currently loading", "estimated_time": 20.0}, UpstreamOverloaded, 502, "", 20.0),
    Case("groq flex", 498, openai("capacity exceeded", "server_error", "capacity_exceeded"), UpstreamOverloaded, 502),
    Case("nginx", 503, NGINX.format("503 Service Temporarily Unavailable"), UpstreamError, 502, "", 3.0, {"retry-after": "3"}),
    Case("cloudflare", 522, "error code: 522", UpstreamError, 502),
    Case("gave up", 408, "", UpstreamTimeout, 504),
    Case("the caller's text in it", 500, vllm("Cannot answer: this model's maximum context length is 5 tokens, insufficient_quota", "InternalServerError", 500), UpstreamError, 502),
    Case("the caller's text in it", 500, {"error": {"message": "boom on input 'prompt is too long: 213462 tokens > 200000 maximum'"}}, UpstreamError, 502),
    Case("ollama", 503, {"error": "server busy, please try again. maximum pending requests exceeded"}, UpstreamOverloaded, 502),
    Case("ollama", 500, {"error": {"message": "model requires more system memory (5.6 GiB) than is available (3.3 GiB)"}}, UpstreamError, 502),
    Case("groq", 503, openai("llama3 is currently over capacity", "internal_server_error"), UpstreamOverloaded, 502),
]  # fmt: skip


REJECTED = [
    Case("gemini", 400, gemini(400, 'Invalid JSON payload received. Unknown name "thinking": Cannot find field.', "INVALID_ARGUMENT"), UpstreamRefusal, 400, "thinking"),
    Case("fastapi", 422, {"detail": [{"type": "missing", "loc": ["body", "messages", 0, "content"], "msg": "Field required", "input": None}]}, UpstreamRefusal, 422, "body.messages.0.content: Field required"),
    Case("fastapi", 400, {"detail": {"message": "no such adapter"}}, UpstreamRefusal, 400, "no such adapter"),
    Case("mistral", 422, {"object": "error", "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "messages", 0, "user", "name"], "msg": "Extra inputs are not permitted"}]}, "type": "invalid_request_error", "param": None, "code": None}, UpstreamRefusal, 422, "Extra inputs are not permitted"),
    Case("tgi", 422, "Failed to deserialize the JSON body into the target type: messages[0]: missing field `content` at line 1 column 60", UpstreamRefusal, 422, "missing field `content`"),
    Case("tgi", 422, {"error": "Input validation error: `top_p` must be > 0.0 and < 1.0", "error_type": "validation"}, UpstreamRefusal, 422, "top_p"),
    Case("workers ai", 400, {"success": False, "errors": [{"code": 5006, "message": "Error: required properties at '/' are 'prompt'"}]}, UpstreamRefusal, 400, "required properties"),
    Case("apigee", 400, {"fault": {"faultstring": "Unexpected EOF", "detail": {"errorcode": "x"}}}, UpstreamRefusal, 400, "Unexpected EOF"),
    Case("json in a message", 400, {"error": {"message": '{"error": {"code": 400, "message": "tools are not supported"}}', "code": 400}}, UpstreamRefusal, 400, "tools are not supported"),
    Case("openai", 404, openai("Previous response with id 'resp_1' not found.", code="previous_response_not_found"), UpstreamRefusal, 404, "resp_1"),
    Case("openai's tools", 424, openai("Error retrieving tool list from MCP server: 'x'. Http status code: 401", "external_connector_error", "http_error"), UpstreamRefusal, 424, "MCP server"),
    Case("a page", 400, NGINX.format("400 Request Header Or Cookie Too Large"), UpstreamRefusal, 400, "Cookie Too Large"),
    Case("the caller's text in it", 400, openai("Invalid value: 'insufficient_quota'. Supported values are: 'text'.", code="invalid_value"), UpstreamRefusal, 400),
    Case("the caller's text in it", 400, openai("Invalid value: 'maximum context length is 8192 tokens'.", code="invalid_value"), UpstreamRefusal, 400),
    Case("the caller's text in it", 400, openai("Cannot read 'your credit balance is too low to access the API' as a date"), UpstreamRefusal, 400),
    Case("the caller's text in it", 400, {"error": {"message": '{"code": "invalid_api_key", "type": "insufficient_quota"} is no date'}}, UpstreamRefusal, 400),
    Case("the caller's JSON in it", 400, {"error": {"message": '{"code": "invalid_api_key", "message": "API key expired"}'}}, UpstreamRefusal, 400),
    Case("a grammar", 400, {"error": "Invalid token at 5: expected ','"}, UpstreamRefusal, 400, "Invalid token"),
    Case("5xx that is none", 500, {"error": {"code": 400, "message": "bad tool"}}, UpstreamRefusal, 400, "bad tool"),
    Case("anthropic", 400, anthropic("invalid_request_error", "max_tokens: 100000 > 8192, which is the maximum allowed number of output tokens for claude-3"), UpstreamRefusal, 400),
    Case("openai", 400, openai("Unsupported value: 'temperature' does not support 0.2 with this model.", code="unsupported_value"), UpstreamRefusal, 400),
    Case("groq", 400, openai("Failed to call a function. Please adjust your prompt.", code="tool_use_failed", failed_generation="x"), UpstreamRefusal, 400),
    Case("deepinfra", 422, {"detail": {"error": "bad field"}}, UpstreamRefusal, 422, "bad field"),
    Case("problem details", 422, {"title": "Input validation failed", "detail": "input is required", "status": 422}, UpstreamRefusal, 422, "input is required"),
]  # fmt: skip


BY_STATUS = [
    *TOO_LONG,
    *TOO_MANY,
    *CREDIT,
    *CREDENTIAL,
    *FLAGGED,
    *NOT_THERE,
    *WRONG_URL,
    *BROKEN,
    *REJECTED,
]
