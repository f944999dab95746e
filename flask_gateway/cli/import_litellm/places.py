"""Finds the place of a deployment: the provider, the address and the key that LiteLLM would use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from ...config.errors import InvalidValue
from ...config.kinds import KINDS
from ...config.upstream_url import ENDPOINTS, base_url
from ...model.call import ANTHROPIC
from ..providers import PROVIDERS, OpenAIProvider
from . import azure, vertex
from .parameters import PLACE, reason_for
from .providers import UNREACHABLE, model_at, provider_of_bare
from .report import Report
from .values import (
    Credential,
    Environment,
    Literal,
    VariableRef,
    is_foreign_reference,
    is_placeholder,
    is_usable_key,
    reference_in,
)
from .yaml_tree import Node

_LOCAL = frozenset({"localhost", "127.0.0.1", "0.0.0.0", "host.docker.internal", "[::1]", "::1"})  # noqa: S104
_STEM = re.compile(r"(_API)?(_BASE_URL|_BASE|_URL|_ENDPOINT|_HOST|_URI)$")
_NOT_A_NAME = re.compile(r"[^a-zA-Z0-9._-]+")
#: Providers that stand for any server with an OpenAI API.
_NAMELESS = frozenset({"openai", "custom_openai", "openai_like", "text-completion-openai"})
#: Providers whose own API LiteLLM calls at any address.
_OWN_API = frozenset({"anthropic", "gemini"})
#: First labels of host names that say nothing.
_COMMON = frozenset({"api", "www", "llm", "ai", "inference", "gateway", "models"})


class ProviderAccount(msgspec.Struct, frozen=True):
    """An account at a provider, or a server: what becomes an upstream.

    :param url: the base; empty if ``url_env`` names the variable that has it.
    :param hint: a name for the upstream. :param kind: empty: none is written.
    :param speaks: its operations; empty: those of its kind. :param key_command: prints its key.
    """

    provider: str
    url: str
    url_env: str
    url_path: str
    key: Credential
    hint: str
    kind: str = ""
    speaks: tuple[str, ...] = ()
    key_command: tuple[str, ...] = ()

    @property
    def is_anthropic(self) -> bool:
        """Whether it is asked by Anthropic's API alone."""
        return bool(self.kind) and set(self.speaks or KINDS[self.kind].speaks) <= {*ANTHROPIC}


class Unplaced(Exception):
    """The gateway cannot ask this deployment. The text says why."""


class DeploymentParams(msgspec.Struct, frozen=True):
    """The parameters of a deployment, with those of its credential.

    :param at: the path of the parameters in the file, for findings.
    """

    at: str
    params: Node
    credential: Node | None
    credential_name: str | None

    def get(self, *names: str) -> Node | None:
        """The first of the names that is set, in the parameters or else in the credential."""
        for node in (self.params, self.credential):
            for name in names:
                found = node.get(name) if node is not None else None
                if found is not None and found.value is not None and found.value != "":
                    return found
        return None


def split_model(source: DeploymentParams, report: Report) -> tuple[str, str]:
    """The provider and its own name of the model.

    :raises Unplaced: the provider is not known, and there is no address.
    """
    node, given = source.params.get("model"), source.get("custom_llm_provider")
    name = node.text if node is not None and node.is_scalar else ""
    line = node.line if node is not None else source.params.line
    if not name.strip() or not name.isprintable():
        raise Unplaced("it has no litellm_params.model")
    prefix, slash, rest = name.partition("/")
    if name == "*" and given is None and source.get("api_base", "base_url") is None:
        report.changed(
            line, f"{source.at}.model", "OpenAI's models; other providers need entries of their own"
        )
        return "openai", "*"
    if given is not None:
        provider = given.text
        report.mapped(given.line, f"{source.at}.custom_llm_provider", "the provider")
        rest = rest if slash and prefix == provider else name
    elif slash and (prefix in PROVIDERS or prefix in UNREACHABLE or prefix in vertex.NAMES):
        provider = prefix
    elif not slash and (known := provider_of_bare(name)):
        provider, rest = known, name
    else:
        provider, rest = "", rest or name
    if provider in vertex.NAMES:
        return vertex.PROVIDER, _vertex_model(rest)[0]
    if provider in UNREACHABLE:
        raise Unplaced(f"{UNREACHABLE[provider]}")
    if provider not in PROVIDERS:
        return "openai_like", _of_unknown(source, line, rest, report)
    model = model_at(provider, rest)
    if not model.strip():
        raise Unplaced("its model has no name behind the provider")
    model = _deployment(source, provider, model, report)
    return azure.provider_of(provider, model), model


def _deployment(source: DeploymentParams, provider: str, model: str, report: Report) -> str:
    """The model, or the deployment that is asked at Azure: the one in the address, if there is one."""
    node = source.get("api_base", "base_url")
    named = azure.deployment_in(node.text) if node is not None else None
    if node is None or named is None or named == model or not provider.startswith("azure"):
        return model
    text = f"it names the deployment {named}, which LiteLLM asks: that is the model"
    report.changed(node.line, f"{source.at}.api_base", text)
    return named


def _of_unknown(source: DeploymentParams, line: int, model: str, report: Report) -> str:
    if source.get("api_base", "base_url") is None:
        raise Unplaced("its provider is not known and it has no api_base: give the address of its OpenAI API")
    report.changed(
        line,
        f"{source.at}.model",
        f"its provider is not known, so its address is asked as an OpenAI API, for the model {model}",
    )
    return model


def place_of(
    source: DeploymentParams, provider: str, environment: Environment, report: Report
) -> ProviderAccount:
    """The place of a deployment.

    :raises Unplaced: it has no address, or one that cannot be used.
    """
    if provider == vertex.PROVIDER:
        return _at_vertex(source, environment, report)
    known = PROVIDERS[provider]
    url, variable = _address(source, provider, known, environment, report)
    key, command = None, tuple[str, ...]()
    if (
        known.key.startswith("AZURE")
        and source.get("api_key") is None
        and source.get(*azure.ENTRA) is not None
    ):
        command = azure.ENTRA_COMMAND
        report.changed(source.params.line, source.at, azure.ENTRA_LOGIN)
    else:
        key = _key(source, known, environment, report, own=bool(source.get("api_base", "base_url")))
    path = known.path if variable else ""
    hint = source.credential_name or _hint(provider, url, variable, known)
    name = _NOT_A_NAME.sub("-", hint).strip("._-")[:48] or "upstream"
    kind = _kind(provider, url, known)
    return ProviderAccount(provider, url, variable, path, key, name, kind, key_command=command)


def _kind(provider: str, url: str, known: OpenAIProvider) -> str:
    """The kind of the upstream. A server at an address of one's own may be another program."""
    if provider.startswith("azure"):
        return "" if azure.is_serverless(url) else known.kind
    return known.kind if provider in _OWN_API or url == _checked(known.base) else ""


def _vertex_model(name: str) -> tuple[str, bool]:
    try:
        return vertex.model_at_vertex(name)
    except vertex.NotAtVertex as reason:
        raise Unplaced(str(reason)) from None


def _at_vertex(source: DeploymentParams, environment: Environment, report: Report) -> ProviderAccount:
    """The place of a deployment at Vertex AI. Claude is asked by another API than all others there."""
    if source.get("api_base", "base_url") is not None:
        raise Unplaced("an address of one's own for Vertex AI is not taken over: write url by hand")
    model = source.params.get("model")
    name = (model.text if model is not None else "").rpartition("/")[2]
    is_claude = name.startswith("claude-")
    given = {"project": source.get(*vertex.PROJECT[0]), "location": source.get(*vertex.LOCATION[0])}
    try:
        address = vertex.address_of(given, source.params.line, source.at, environment, report)
    except vertex.NotAtVertex as reason:
        raise Unplaced(str(reason)) from None
    vertex.report_parameters(source.params, source.at, report)
    speaks = vertex.SPOKEN_BY_CLAUDE if is_claude else ()
    if is_claude:
        text = "asked at /v1/messages, as Anthropic's API; a chat call of it is translated, or refused"
        report.changed(source.params.line, source.at, text)
    place = ProviderAccount(vertex.PROVIDER, address.url, address.url_env, "", None, "vertex")
    hint = source.credential_name or ("vertex-claude" if is_claude else "vertex")
    return msgspec.structs.replace(place, hint=hint, kind="vertex", speaks=speaks, key_command=vertex.COMMAND)


def _hint(provider: str, url: str, variable: str, known: OpenAIProvider) -> str:
    if variable:
        return _STEM.sub("", variable).lower()
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in _LOCAL and provider in _NAMELESS:
        return f"local-{parts.port or 80}"
    is_address = ":" in host or host.replace(".", "").isdigit()
    if url == _checked(known.base) or host in _LOCAL or (is_address and provider not in _NAMELESS):
        return provider.removesuffix("_chat").removeprefix("text-completion-")
    first = host.partition(".")[0]
    return host if first in _COMMON or first.isdigit() else first


def _checked(url: str) -> str:
    try:
        return base_url(url) if url else ""
    except InvalidValue:
        return ""


def _address(
    source: DeploymentParams, provider: str, known: OpenAIProvider, environment: Environment, report: Report
) -> tuple[str, str]:
    """The URL, or the variable that has it."""
    node = source.get("api_base", "base_url")
    if node is None:
        _report_empty(source, report)
        variable = known.base_variable
        if variable and (url := environment.literal(variable)):
            return _usable(source, provider, url, source.params.line, report), ""
        if known.base:
            return _checked(known.base), ""
        if variable:
            report.mapped(source.params.line, source.at, f"its address is read from {variable}")
            return "", variable
        raise Unplaced("it has no api_base")
    setting = f"{source.at}.api_base"
    if is_foreign_reference(node):
        report.changed(node.line, setting, "LiteLLM does not resolve this spelling; read as a variable")
    variable = environment.variable(node) or ""
    url = environment.literal(variable) if variable else node.text
    if not url:
        if not variable:
            raise Unplaced("its api_base is empty")
        report.mapped(node.line, setting, f"url_env = {variable}, read when the gateway starts")
        return "", variable
    return _usable(source, provider, url, node.line, report), ""


def _report_empty(source: DeploymentParams, report: Report) -> None:
    for entry in source.params.entries:
        if entry.name in ("api_base", "base_url"):
            report.mapped(entry.line, f"{source.at}.{entry.name}", "empty: the provider's own address")


def _usable(source: DeploymentParams, provider: str, given: str, line: int, report: Report) -> str:
    """The base that the gateway uses for an address.

    :raises Unplaced: it is not one.
    """
    setting = f"{source.at}.api_base"
    url = given.strip().rstrip("/")
    try:
        for endpoint in sorted(ENDPOINTS, key=len, reverse=True):
            if url.endswith(endpoint):
                url = url.removesuffix(endpoint)
                report.changed(line, setting, f"{endpoint} at its end is left off, for the gateway adds it")
                break
        url = _shaped(url, provider)
        checked = base_url(url)
    except (InvalidValue, ValueError) as error:
        expected = error.expected if isinstance(error, InvalidValue) else "a URL"
        raise Unplaced(f"its api_base cannot be used: expected {expected}") from None
    if given.strip().endswith("/"):
        report.changed(line, setting, "the slash at its end is left off")
    if checked != url and provider not in ("ollama", "ollama_chat", "anthropic"):
        report.changed(
            line, setting, "its path has no version, so the gateway adds /v1; LiteLLM does not: check it"
        )
    else:
        report.mapped(line, setting, "url of the upstream")
    return checked


def _shaped(url: str, provider: str) -> str:
    """The address of the OpenAI API of a server whose own API has another path."""
    if provider in ("ollama", "ollama_chat"):
        return re.sub(r"/api(/\w+)*$", "", url)
    return azure.shaped(url, provider) if provider.startswith("azure") else url


def _key(
    source: DeploymentParams, known: OpenAIProvider, environment: Environment, report: Report, *, own: bool
) -> Credential:
    """The key to send.

    :param own: whether the deployment has an address of its own.
    """
    node, setting = source.get("api_key"), f"{source.at}.api_key"
    if node is None or not node.text.strip() or not node.is_scalar:
        return _usual_key(source, known, environment, report, own=own)
    if is_foreign_reference(node):
        report.changed(node.line, setting, "LiteLLM does not resolve this spelling; read as a variable")
    variable = environment.variable(node)
    value = environment.literal(variable) if variable else node.text.strip()
    if value is None:
        report.mapped(node.line, setting, f"api_key_env = {variable}")
        return VariableRef(variable or "")
    if is_placeholder(value) and known.base.startswith("https:") and not own:
        report.changed(node.line, setting, f"a placeholder: the usual variable {known.key} is read")
        return VariableRef(known.key)
    if is_placeholder(value):
        report.mapped(node.line, setting, "a placeholder: no key is sent")
        return None
    if not is_usable_key(value):
        report.left_out(node.line, setting, "it has characters that no header can have")
        return None
    report.changed(
        node.line,
        setting,
        "a secret in the open: kept apart from the settings, in a place that only you read",
    )
    return Literal(value, variable or "")


def _usual_key(
    source: DeploymentParams, known: OpenAIProvider, environment: Environment, report: Report, *, own: bool
) -> Credential:
    if not known.key or (own and not known.path) or not (known.base or known.path):
        if known.key and own and known.base.startswith("https:"):
            report.changed(
                source.params.line, source.at, f"no key is sent there; LiteLLM would send {known.key}"
            )
        return None
    if known.base.startswith("http:"):
        return None
    if value := environment.literal(known.key):
        if reference := reference_in(value):
            return VariableRef(reference)
        return Literal(value, known.key) if is_usable_key(value) and not is_placeholder(value) else None
    report.mapped(source.params.line, source.at, f"no api_key: the usual variable {known.key} is read")
    return VariableRef(known.key)


def credentials(section: Node | None, report: Report) -> Mapping[str, Node]:
    """The values in ``credential_list``, by name."""
    found: dict[str, Node] = {}
    for number, item in enumerate(section.items if section else (), 1):
        name, values = item.get("credential_name"), item.get("credential_values")
        at = f"credential_list[{number}]"
        if name is None or not name.is_scalar or not name.text or values is None or not values.is_mapping:
            report.left_out(item.line, at, f"entry {number} has no credential_name or no credential_values")
            continue
        found[name.text] = values
        for entry in values.entries:
            if entry.name == "api_version":
                text = "not sent: Azure's v1 API takes no version"
                report.changed(entry.line, f"{at}.{entry.name}", text)
            elif entry.name not in PLACE:
                text = reason_for(entry.name) or "an unknown name"
                report.left_out(entry.line, f"{at}.{entry.name}", text)
        report.mapped(item.line, at, f"the address and key of the deployments that name {name.text}")
    return found
