"""Makes the services that translate calls for an upstream, each behind the upstream's guards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import msgspec

from ..config.schema import UpstreamSettings
from ..dialects.translations.table import counts_by_estimate, translations_to
from ..dialects.translations.translation import Translation
from ..model.call import BodyOverrides, Operation
from ..model.protocols import Guard, Service
from ..model.quirks import TranslationTarget
from ..routing.dispatcher import Guarded
from ..upstreams.estimated_count import EstimatedCount
from ..upstreams.translating import TranslatingUpstream
from .candidates import Translate


def translated(
    upstream: UpstreamSettings, service: Service, guards: Sequence[Guard], max_output_tokens: int = 0
) -> Mapping[Operation, Translate]:
    """By operation that the upstream does not take: what makes the service that translates it.

    :param guards: of the upstream. Translated calls pass the same ones.
    :param max_output_tokens: of the model; 0: those of the upstream.
    """
    quirks = upstream.quirks or upstream.of_kind.quirks
    if max_output_tokens:
        quirks = msgspec.structs.replace(quirks, max_output_tokens=max_output_tokens)
    target = TranslationTarget(upstream.name, quirks, upstream.continues)
    found: dict[Operation, Translate] = {
        operation: partial(_guarded, service, translation, target, guards)
        for operation, translation in translations_to(upstream.operations).items()
    }
    if counts_by_estimate(upstream.operations):
        found[Operation.COUNT] = lambda overrides: EstimatedCount(upstream.name)
    return found


def _guarded(
    service: Service,
    translation: Translation,
    target: TranslationTarget,
    guards: Sequence[Guard],
    overrides: BodyOverrides | None,
) -> Service:
    return Guarded(TranslatingUpstream(service, translation, target, overrides), guards)
