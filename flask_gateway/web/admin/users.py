"""Serves ``/admin/v1/users``: the end users of teams and keys, their limits and what they use."""

from __future__ import annotations

import re
from typing import Any

from flask import Response

from ...app.limit_usage import spend_of, usage_of_subject
from ...auth.key_body import UserFields, parsed
from ...auth.key_pages import whole
from ...auth.user_admin import UserAdmin, policy_of_owner
from ...ledger import reports
from ...model.limits import user_subject
from ..json_response import json_response
from ..request_state import gateway
from .access import blueprint
from .changes import actor, body, changes
from .ledger import reading
from .parameters import arguments_of
from .spend import add_spend

#: The most end users of a page, and of one that does not say.
MOST_PAGE, USUAL_PAGE = 500, 50
#: The digest of a name, as lists show it where names are not kept.
_DIGEST = re.compile(r"[0-9a-f]{16}")


@blueprint.get("/users", provide_automatic_options=False)
def list_users() -> Response:
    """``GET /admin/v1/users?owner&limit&after``: the end users that have called, with their spend."""
    wanted = arguments_of("owner", "limit", "after")
    limit = whole("limit", wanted["limit"], USUAL_PAGE, MOST_PAGE)
    with reading() as connection:
        found = reports.end_users(connection, wanted["owner"] or "", wanted["after"] or "", limit + 1)
    data = [{"object": "user", "owner": owner, "name": name} for owner, name in found[:limit]]
    last = "{owner}/{name}".format(**data[-1]) if data else None
    page = {"object": "list", "data": data, "has_more": len(found) > limit, "last_id": last}
    return json_response(add_spend(page, "user:{owner}/{name}"))


@blueprint.get("/users/<owner>/<path:name>", provide_automatic_options=False)
def show_user(owner: str, name: str) -> Response:
    arguments_of()
    return json_response(_user(owner, name))


@blueprint.put("/users/<owner>/<path:name>", provide_automatic_options=False)
def put_user(owner: str, name: str) -> Response:
    UserAdmin(changes(), gateway().settings).put(actor(), owner, name, parsed(body(), UserFields))
    return json_response(_user(owner, name))


@blueprint.delete("/users/<owner>/<path:name>", provide_automatic_options=False)
def delete_user(owner: str, name: str) -> Response:
    UserAdmin(changes(), gateway().settings).delete(actor(), owner, name)
    return json_response({"object": "user.deleted", "owner": owner, "name": name, "deleted": True})


def _user(owner: str, name: str) -> dict[str, Any]:
    """An end user: whether its limits are its own, what is used of them, and its spend."""
    with changes().reading() as (db, _now):
        policy = policy_of_owner(db, gateway().settings, owner)
    accounting = gateway().accounting
    assert accounting is not None  # an admin needs a data directory
    digest = accounting.user_digest
    shown = digest(name) if digest and not _DIGEST.fullmatch(name) else name
    subject = user_subject(owner, shown)
    return {
        "object": "user",
        "owner": owner,
        "name": shown,
        "own_limits": name in policy.named_users,
        "usage": usage_of_subject(gateway(), subject, policy.user(name)),
        "spend": spend_of(gateway(), subject),
    }
