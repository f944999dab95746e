"""Finds the subjects of a call that have limits: its key, team, model and end user."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from ..model.call import Caller
from ..model.errors import UserRequired
from ..model.limits import CallLimits, Owners, SubjectLimits, SubjectsByKind
from .request_headers import Header

if TYPE_CHECKING:
    from ..app.accounting import Accounting

#: The longest name of an end user, characters. OpenAI's ``safety_identifier`` has as many at most.
MOST_NAME = 64
#: Pairs of owners and model whose subjects are remembered.
_REMEMBERED = 1024
#: The fields of a body that name its end user; the first that does counts.
_FIELDS = ("safety_identifier", "user")


class _Known(NamedTuple):
    """The subjects of the calls of some owners and a model that have no end user."""

    owners: Owners
    names_users: bool
    subjects: tuple[SubjectLimits, ...]
    sorted: SubjectsByKind


#: By the id of the owners and the model: those of the latest calls.
_known: dict[tuple[int, str], _Known] = {}


def limits_of(
    caller: Caller,
    model: str,
    header: Header,
    fields: Mapping[str, msgspec.Raw],
    accounting: Accounting | None = None,
) -> tuple[str, CallLimits | None]:
    """The end user of a call, and the limits of its subjects.

    :param model: the configured name, no alias.
    :param accounting: has the digests of end users, where they are not kept by name.
    :raises UserRequired: the caller may not call without an end user.
    """
    owners = caller.owners
    if owners is None:
        return "", None
    place = id(owners), model
    known = _known.get(place)
    if known is None or known.owners is not owners:  # another object may have had the same id
        known = _remember(place, owners)
    if not known.names_users:
        return "", CallLimits(known.subjects, None, False, known.sorted) if known.subjects else None
    user = end_user(header, fields, metadata=owners.user_from_metadata)
    if not user and owners.needs_user:
        raise UserRequired(
            "This key may only call for an end user. "
            "Name the user in the header 'x-gateway-user', or in the field 'safety_identifier' or 'user'.",
            param="user",
        )
    if not user:
        subjects = known.subjects
    else:
        digest = accounting.user_digest if accounting else None
        shown = digest(user) if digest else user
        subjects, user = tuple(owners.subjects(model, user, shown)), shown
    return user, CallLimits(subjects) if subjects else None


def _remember(place: tuple[int, str], owners: Owners) -> _Known:
    if len(_known) >= _REMEMBERED:
        _known.clear()
    subjects = tuple(owners.subjects(place[1], ""))
    known = _known[place] = _Known(owners, owners.names_users, subjects, SubjectsByKind.of(subjects))
    return known


class _Metadata(msgspec.Struct):
    """Anthropic's ``metadata``."""

    user_id: str = ""


def end_user(header: Header, fields: Mapping[str, msgspec.Raw], *, metadata: bool = False) -> str:
    """The end user that a request names; empty if it names none.

    The header counts first, ``metadata.user_id`` last. A name that is too long, or that has characters that
    do not print, is replaced by a digest.
    """
    name = (header("x-gateway-user") or "").strip() or next(filter(None, map(_text, _fields(fields))), "")
    if not name and metadata and "metadata" in fields:
        name = _of_metadata(fields["metadata"])
    if len(name) <= MOST_NAME and name.isprintable():
        return name
    return f"sha256-{sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def _of_metadata(raw: msgspec.Raw) -> str:
    try:
        return msgspec.json.decode(raw, type=_Metadata).user_id.strip()
    except (ValueError, RecursionError):
        return ""


def _fields(fields: Mapping[str, msgspec.Raw]) -> list[msgspec.Raw]:
    return [fields[name] for name in _FIELDS if name in fields]


def _text(raw: msgspec.Raw) -> str:
    try:
        return msgspec.json.decode(raw, type=str).strip()
    except (ValueError, RecursionError):
        return ""
