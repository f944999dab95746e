"""Names the upstreams: one for each place, with the names that wildcards need."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

import msgspec

from .deployments import Deployment
from .places import ProviderAccount
from .report import Report
from .values import Credential

#: ``openai/*`` and ``openai/gpt-*``: the part before the slash is an upstream's name.
_BEHIND_SLASH = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,63})/(?P<rest>.*\*.*)")
#: ``claude-*``: a model's name begins with an upstream's.
_PREFIX = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,62}?)[-:._]\*")

Address = tuple[str, str, str, Credential, tuple[str, ...], tuple[str, ...]]


class ImportedUpstream(msgspec.Struct, frozen=True):
    """An upstream of the result.

    :param line: of the first deployment there.
    """

    name: str
    place: ProviderAccount
    line: int


class Upstreams:
    """The upstreams by place, and those that wildcards name.

    :ivar default: the upstream that ``*`` names; ``None``: there is none.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._by_address: dict[Address, ImportedUpstream] = {}
        self._taken: set[str] = set()
        self.all: list[ImportedUpstream] = []
        self.default: str | None = None
        #: By the wildcard as it is written: the upstream, and what stands before the rest of the name.
        self.wildcards: dict[str, tuple[str, Deployment]] = {}

    def add_wildcards(self, found: Iterable[Deployment]) -> None:
        """Name the upstreams of the wildcards first, for their names are not free."""
        waiting = []
        # The widest comes first, to have its name: openai/* before openai/gpt-*.
        for one in sorted(found, key=lambda one: len(one.model)):
            if one.group in self.wildcards:
                text = "a second place of the same wildcard: a wildcard has one upstream here"
                self._report.left_out(one.line, one.at, text)
            elif one.group == "*":
                waiting.append(one)
            elif (name := _name_for(one)) is None:
                text = "this wildcard has no counterpart: list its models, or call them as UPSTREAM/MODEL"
                self._report.left_out(one.line, one.at, text)
            else:
                self._name_wildcard(one, name)
        for one in waiting:
            self._default(one)

    def _name_wildcard(self, one: Deployment, name: str) -> None:
        if _folded(name) in self._taken and self._by_address.get(_address(one.place), _NOWHERE).name != name:
            self._report.left_out(
                one.line, one.at, f"another wildcard needs the upstream {name} for another place"
            )
            return
        if _folded(name) not in self._taken:
            self._add(one, name)
        self.wildcards[one.group] = name, one
        self._report.mapped(one.line, one.at, f"every {one.group} goes to the upstream {name}, by its name")
        self._without_more(one)

    def _default(self, one: Deployment) -> None:
        if self.default is not None:
            self._report.left_out(
                one.line, one.at, "there is one default upstream, and an entry before this is it"
            )
            return
        self.default = self.of(one)
        self.wildcards["*"] = self.default, one
        self._report.mapped(
            one.line, one.at, f"default_upstream = {self.default}, for names that no rule places"
        )
        self._without_more(one)

    def _without_more(self, one: Deployment) -> None:
        if one.set or one.default or one.clocks or one.max_in_flight:
            text = "the fields, timeouts and limits of a wildcard are left out: they need [models.NAME]"
            self._report.left_out(one.line, one.at, text)

    def of(self, one: Deployment) -> str:
        """The name of the upstream of a deployment."""
        known = self._by_address.get(_address(one.place))
        return known.name if known is not None else self._add(one, self._free(one.place))

    def _add(self, one: Deployment, name: str) -> str:
        upstream = ImportedUpstream(name, one.place, one.line)
        self._taken.add(_folded(name))
        self._by_address.setdefault(_address(one.place), upstream)
        self.all.append(upstream)
        return name

    def _free(self, place: ProviderAccount) -> str:
        """A name that no other upstream has, also in the form of variables."""
        port = urlsplit(place.url).port if place.url else None
        names = [place.hint, *([f"{place.hint}-{port}"] if port else [])]
        names += [f"{place.hint}-{number}" for number in range(2, len(self._taken) + 3)]
        return next(name for name in names if _folded(name) not in self._taken)


_NOWHERE = ImportedUpstream("", ProviderAccount("", "", "", "", None, ""), 0)


def _address(place: ProviderAccount) -> Address:
    return place.url, place.url_env, place.url_path, place.key, place.speaks, place.key_command


def _folded(name: str) -> str:
    """The name as it stands in variables (``GATEWAY_UPSTREAM_<NAME>_API_KEY``)."""
    return re.sub("[^A-Z0-9]", "_", name.upper())


def _name_for(one: Deployment) -> str | None:
    """The name that an upstream needs so that its models are called as the wildcard says."""
    if (match := _BEHIND_SLASH.fullmatch(one.group)) and match["rest"] == one.model:
        return match["name"]
    if (match := _PREFIX.fullmatch(one.group)) and one.model == one.group:
        return match["name"]
    return None


def matching(name: str, wildcards: Mapping[str, tuple[str, Deployment]]) -> tuple[str, str] | None:
    """The upstream and its name for a model that only a wildcard names; ``None``: none does."""
    if not name.isprintable():
        return None
    for pattern in sorted(wildcards, key=len, reverse=True):
        upstream, _ = wildcards[pattern]
        expression = ".*".join(map(re.escape, pattern.split("*")))
        if re.fullmatch(expression, name):
            behind = pattern != "*" and _BEHIND_SLASH.fullmatch(pattern) is not None
            model = name.partition("/")[2] if behind else name
            return (upstream, model) if model.strip() else None
    return None
