"""Finds the place of a deployment at Vertex AI: the address of its project, and a command for tokens."""

from __future__ import annotations

import re
from typing import NamedTuple

from ...model.call import ANTHROPIC
from .report import Report
from .values import Environment, VariableRef, reference_in
from .yaml_tree import Node

PROVIDER = "vertex_ai"
#: LiteLLM's names of the provider.
NAMES = frozenset({PROVIDER, "vertex_ai_beta"})
#: Parameters of a deployment there, each with the variable that LiteLLM reads otherwise.
PROJECT = ("vertex_project", "vertex_ai_project"), "VERTEXAI_PROJECT"
LOCATION = ("vertex_location", "vertex_ai_location"), "VERTEXAI_LOCATION"
CREDENTIALS = ("vertex_credentials", "vertex_ai_credentials")
PARAMETERS = frozenset((*PROJECT[0], *LOCATION[0], *CREDENTIALS))
#: LiteLLM's own default.
_USUAL_LOCATION = "us-central1"
COMMAND = ("gcloud", "auth", "print-access-token")
SPOKEN_BY_CLAUDE = tuple(map(str, ANTHROPIC))
_NAME = re.compile(r"[a-z0-9][a-z0-9:.-]{1,62}")
#: Models that the OpenAI API of Vertex AI does not have.
_NOT_CHAT = re.compile(r"imagen|veo-|text-embedding|multimodalembedding|.*-image|.*-tts|lyria|chirp")
#: The beginning of the variable that has the address where the file has only the variables of its parts.
_URL_VARIABLE = "VERTEX_AI_URL"


class VertexAddress(NamedTuple):
    """The address of a location of a project.

    :param url: empty if ``url_env`` names the variable that has it.
    """

    url: str
    url_env: str


class NotAtVertex(Exception):
    """The deployment cannot be asked there. The text says why."""


def model_at_vertex(name: str) -> tuple[str, bool]:
    """The model's name in calls, and whether it is one of Anthropic's.

    :raises NotAtVertex: its API is not offered.
    """
    if name.startswith("claude-"):
        return name, True
    if _NOT_CHAT.match(name.removeprefix("google/")):
        raise NotAtVertex("the gateway asks Vertex AI for chat and Messages only, which this model has not")
    return (name if "/" in name else f"google/{name}"), False


def address_of(
    given: dict[str, Node | None], line: int, at: str, environment: Environment, report: Report
) -> VertexAddress:
    """The address, from the parameters ``project`` and ``location``.

    :raises NotAtVertex: one of them cannot be used.
    """
    project = _part(given["project"], PROJECT[1], environment)
    location = _part(given["location"], LOCATION[1], environment, _USUAL_LOCATION)
    report.mapped(line, at, f"kind = vertex; api_key_command = {' '.join(COMMAND)}")
    if isinstance(project, str) and isinstance(location, str):
        return VertexAddress(_url(project, location), "")
    parts = [f"${one.name}" if isinstance(one, VariableRef) else one for one in (project, location)]
    variable = re.sub("[^A-Z0-9]+", "_", "_".join((_URL_VARIABLE, *parts)).upper())
    report.changed(line, at, f"url_env = {variable}: set it to {_url(*parts)}")
    return VertexAddress("", variable)


def _part(node: Node | None, variable: str, environment: Environment, usual: str = "") -> str | VariableRef:
    """A part of the address, or the variable that has it."""
    name = environment.variable(node) if node is not None else None
    text = environment.text(node) if node is not None else environment.literal(variable) or usual
    if text is None:
        return VariableRef(name or variable)
    if not text and node is None:
        return VariableRef(variable)
    if reference_in(text) or not _NAME.fullmatch(text):
        raise NotAtVertex("its vertex_project or its vertex_location cannot be used")
    return text


def _url(project: str, location: str) -> str:
    host = "aiplatform.googleapis.com" if location == "global" else f"{location}-aiplatform.googleapis.com"
    return f"https://{host}/v1/projects/{project}/locations/{location}"


_NO_FILE = (
    "the gateway reads no file of a service account: "
    "`gcloud auth activate-service-account --key-file FILE` does, once, for the user of the gateway"
)


def report_parameters(params: Node, at: str, report: Report) -> None:
    """Report the parameters of the place, and say what replaces the file of a service account."""
    for entry in params.entries:
        if entry.node.is_off:
            continue
        if entry.name in (*PROJECT[0], *LOCATION[0]):
            report.mapped(entry.line, f"{at}.{entry.name}", "a part of url")
        elif entry.name in CREDENTIALS:
            report.changed(entry.line, f"{at}.{entry.name}", _NO_FILE)
