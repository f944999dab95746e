"""Admits admins to ``/admin/v1``. An admin is never a caller, and a caller is never an admin.

``hooks.py`` calls :func:`admit` before every path of the blueprint, those that other modules add, too. A hook
of the blueprint itself would make every call of a model slower (``fast_flask.py``).
"""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import msgspec
from flask import Blueprint, Response, g, request

from ...config.admins import Role, admin_of
from ...model.errors import AdminRoleRequired, Unauthorized, UnknownUrl
from .. import paths
from ..auth import key_of
from ..client_address import address_of, shown_address_of
from ..json_response import json_response
from ..request_state import gateway, request_state

blueprint = Blueprint("gateway_admin", __name__, url_prefix="/admin/v1")
#: The beginning of every path, as a proxy's rule sees it.
PREFIX = "/admin/v1"
#: The methods that change nothing (RFC 9110, 9.2.1).
READS = frozenset({"GET", "HEAD"})


class Admin(NamedTuple):
    """The operator's program that asks.

    :param name: as the audit shows it. :param request: the id of the request.
    :param address: of the program; empty if it is not known.
    :param role: its rights. :func:`admit` checks them, for every path.
    """

    name: str
    request: str
    address: str
    role: Role


def admit() -> None:
    """Refuse everybody else: with 401 without a key or with an unknown one, with 404 with a caller's key.

    A wrong key counts as one from its address, as everywhere. A viewer may read, and change nothing.

    :raises Unauthorized: there is no key, or it is unknown.
    :raises UnknownUrl: the key is a caller's, or the path is not spelled as a proxy's rule would see it.
    :raises AdminRoleRequired: the admin is a viewer, and the method is not one that only reads.
    """
    state, environ = request_state(), request.environ
    key = key_of(state.header)
    if key is None:
        raise Unauthorized("No API key was given. Send an admin's key as 'Authorization: Bearer KEY'.")
    known = admin_of(gateway().settings.admins, sha256(key.encode("utf-8", "surrogateescape")).digest())
    if known is None:
        state.caller = gateway().key_guesses.identify(key, partial(address_of, environ), state.started)
        raise UnknownUrl(paths.unknown(request.method, request.path))
    target = str(environ.get("RAW_URI") or environ.get("REQUEST_URI") or request.path)
    rule = request.url_rule.rule if request.url_rule else PREFIX
    if not target.startswith(rule.partition("<")[0]):
        raise UnknownUrl(paths.unknown(request.method, request.path))
    if known.role is not Role.ADMIN and request.method not in READS:
        raise AdminRoleRequired(
            f"The admin '{known.name}' is a viewer, who may read and change nothing. "
            f'An admin changes that with role = "admin" in [admins.{known.name}].'
        )
    g.admin = Admin(known.name, state.ids.request, shown_address_of(environ), known.role)


def admin() -> Admin:
    """The admin of this request."""
    known: Admin = g.admin
    return known


#: ``make openapi`` writes the file from docs/openapi-admin.yaml.
_DOCUMENT = msgspec.json.format(Path(__file__).with_name("openapi.json").read_bytes(), indent=0)


@blueprint.get("/openapi.json", provide_automatic_options=False)
def show_description() -> Response:
    return Response(_DOCUMENT, content_type="application/json")


@blueprint.get("", provide_automatic_options=False)
def show_admin() -> Response:
    """``GET /admin/v1``: by which name the gateway knows the admin, and its role."""
    return json_response({"object": "admin", "name": admin().name, "role": admin().role})
