"""Asks /admin/v1 of an application in the test's process, and of a running gateway."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from flask_gateway import create_app
from flask_gateway.config.admins import AdminSettings, Role
from flask_gateway.config.schema import LedgerSettings
from flask_gateway.state.store import Store
from kit.calls import make_settings

ADMIN_KEY = "planted-admin-key-of-32-letters!"
ADMIN = {"Authorization": f"Bearer {ADMIN_KEY}"}
_VIEWERS_KEY = "planted-viewer-key-of-32-letters"
#: The headers of a viewer, as :meth:`AdminClient.ask` takes them.
VIEWER = {"Authorization": f"Bearer {_VIEWERS_KEY}"}
ADMINS = (
    AdminSettings(name="admin", digest=sha256(ADMIN_KEY.encode()).digest()),
    AdminSettings(name="eyes", digest=sha256(_VIEWERS_KEY.encode()).digest(), role=Role.VIEWER),
)


class AdminClient:
    """A gateway with issued keys, and the two sides that ask it.

    :param data: its data directory. :param store: shared by the clients that stand for workers.
    """

    def __init__(self, data: Path, store: Store, **changes: Any) -> None:
        ledger = LedgerSettings(data=str(data))
        settings = make_settings(**{"ledger": ledger, "admins": ADMINS, **changes})
        self.app = create_app(settings, store)
        self.http: FlaskClient = self.app.test_client()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> TestResponse:
        """Ask ``/admin/v1`` as an admin. An underscore in a header's name stands for a hyphen."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.open(f"/admin/v1{path}", method=method, json=body, headers={**ADMIN, **named})

    def make(self, **fields: Any) -> dict[str, Any]:
        """Make a key and return its object, with the secret."""
        answer = self.ask("POST", "/keys", fields)
        assert answer.status_code == 201, answer.json
        made: dict[str, Any] = answer.json  # type: ignore[assignment]
        return made

    def call(self, secret: str) -> TestResponse:
        """Ask for the models with a caller's key."""
        return self.http.get("/v1/models", headers={"Authorization": f"Bearer {secret}"})

    def chat(self, secret: str, model: str = "mock", **headers: str) -> TestResponse:
        """Send a chat with a caller's key. An underscore in a header's name stands for a hyphen."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
        sent = {"Authorization": f"Bearer {secret}", **named}
        return self.http.post("/v1/chat/completions", json=body, headers=sent)

    def status(self, secret: str) -> int | str:
        """The code of the refusal of a caller's key; 200 if it is accepted."""
        answer = self.call(secret)
        return 200 if answer.status_code == 200 else str(answer.json["error"]["code"])  # type: ignore[index]


MakeAdmins = Callable[..., AdminClient]
