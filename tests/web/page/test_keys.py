"""Keys on the page: made and shown once, changed, revoked; forms with mistakes; strangers' texts."""

from __future__ import annotations

import re
import secrets
import time

import pytest
from kit.calls import AUTH
from kit.pages import HOSTILE, VIEWERS_KEY, PageClient, elements, words

from flask_gateway.model.errors import InvalidField
from flask_gateway.web.page.keys import fields_of


def made(page: PageClient, **fields: str) -> tuple[str, str]:
    """Make a key by the form. Returns its id and the key."""
    answer = page.send("create-key", **{"name": "web", "token": secrets.token_urlsafe(12), **fields})
    assert answer.status_code == 200, words(answer.text)
    key, identity = re.search(r"sk-fgw-\w{49}", answer.text), re.search(r"key\?id=(key_\w+)", answer.text)
    assert key
    assert identity
    return identity[1], key[0]


def status(page: PageClient, key: str) -> int:
    return page.http.get("/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code


def test_a_key_is_made_shown_once_and_works_at_once(
    page: PageClient, capsys: pytest.CaptureFixture[str]
) -> None:
    token = f"{time.time() - 100:.0f}.one-form-is-sent-twice"  # the key ends so many days after this moment
    form = {"token": token, "models": "mock, gpt-4o*", "requests": "60", "budget": "5"}
    identity, key = made(page, days="30", note="for the shop", **form)
    assert status(page, key) == 200
    again = page.send("create-key", name="web", days="30", note="for the shop", **form)
    assert "This form was sent before" in words(again.text)
    for path in ("keys", f"key?id={identity}", "requests", "health", "overview"):
        assert key not in page.get(path), path
    assert "gpt-4o*" in words(page.get("keys"))
    assert key not in capsys.readouterr().err
    assert any("made the key 'web'" in note.text for note in page.rings.notes())


def test_a_key_is_disabled_enabled_and_revoked(page: PageClient) -> None:
    identity, key = made(page)
    page.send("key-state", id=identity, do="disable")
    assert status(page, key) == 401
    page.send("key-state", id=identity, do="enable")
    assert status(page, key) == 200
    refused = page.send("key-state", id=identity, do="revoke", confirm="another")
    assert refused.status_code == 400
    assert "type its name: web." in words(refused.text)
    assert status(page, key) == 200
    page.send("key-state", id=identity, do="revoke", confirm="web")
    assert status(page, key) == 401
    shown = page.get(f"key?id={identity}")
    assert "revoked" in words(shown)
    assert "key-state" not in shown


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("requests", "-1"),
        ("tokens", "1e3"),
        ("days", "x"),
        ("budget", "a lot"),
        ("team", "none-such"),
        ("name", "a b"),
    ],
)
def test_a_mistake_in_the_form_is_a_page_that_says_so(page: PageClient, field: str, value: str) -> None:
    answer = page.send("create-key", **{"name": "web", field: value, "token": "some-form-of-this-test"})
    assert answer.status_code == 400
    assert field in words(answer.text) or field == "budget"
    assert page.http.get("/ui/keys").text.count("key?id=") == 0


def test_empty_fields_set_no_limit() -> None:
    fields = fields_of({"name": " ", "requests": "", "models": " , "}, 0.0)
    assert (fields.name, fields.limits) == (None, {})
    with pytest.raises(InvalidField):
        fields_of({"days": "²"}, 0.0)


def test_keys_of_the_settings_have_no_buttons(page: PageClient) -> None:
    html = page.get("keys")
    assert "team-a" in words(html)
    assert "They are changed where they are set" in words(html)
    assert "No key has been made here yet." in words(html)


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_in_notes_and_limits_are_texts(page: PageClient, text: str) -> None:
    limits = {"limits": {"model_limits": {"x\"y'<b>": {"requests": 5}}}, "note": " ".join(text.split())}
    answer = page.ask("POST", "/keys", {"name": "web", **limits})
    if answer.status_code != 201:  # a text with marks that cannot be printed is refused
        assert answer.status_code == 400
        return
    for path in ("keys", f"key?id={answer.json['id']}"):  # type: ignore[index]
        found = elements(page.get(path))
        assert not {"script", "img", "b"} & {tag for tag, _ in found}
        assert not any(name.startswith("on") or "y'" in name for _, named in found for name in named)


def test_the_list_is_filtered(page: PageClient) -> None:
    made(page)
    made(page, name="other")
    assert page.get("keys?q=oth").count("key?id=") == 1
    assert "No key of these fits." in words(page.get("keys?state=revoked"))
    assert page.http.get("/ui/keys?state=nothing").status_code in (200, 400)


def test_an_unknown_key_is_refused_with_a_page(page: PageClient) -> None:
    answer = page.http.get("/ui/key?id=<b>")
    assert answer.status_code == 404
    assert "There is no key with the id '<b>'." in words(answer.text)
    assert page.send("key-state", id="key_none", do="revoke").status_code == 404
    assert page.send("key-state", id="key_none", do="delete").status_code == 400


def test_a_viewer_makes_no_key(page: PageClient) -> None:
    page.forget()
    page.log_in(VIEWERS_KEY)
    assert "create-key" not in page.get("keys")
    assert page.send("create-key", name="x").status_code == 403
    assert page.http.get("/v1/models", headers=AUTH).status_code == 200
