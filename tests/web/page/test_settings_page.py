"""Models, settings in force and health: reasons, masked secrets, refused files, parts that are broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kit.calls import make_settings
from kit.pages import HOSTILE, PageClient, elements, words

from flask_gateway.config.schema import Secret, UpstreamSettings
from flask_gateway.state.memory import MemoryStore
from flask_gateway.web.page import health
from flask_gateway.web.page.settings_page import in_force

SECRET = "planted-upstream-key"


def test_every_model_has_its_candidates_with_reasons(page: PageClient) -> None:
    shown = words(page.get("models"))
    assert "mock 1. mock/mock chosen" in shown
    (first, *_) = page.http.get("/ui/models.json").json["data"]
    assert first["candidates"][0]["reason"] == "chosen"


def test_explain_answers_for_a_key(page: PageClient) -> None:
    assert "would go now:" in words(page.get("models?model=mock"))
    assert "chosen" in words(page.get("models?model=mock&key=team-b"))
    assert "not allowed" in words(page.get("models?model=other&key=team-b"))
    assert "There is no key with this name" in words(page.get("models?model=mock&key=none"))
    made = page.make(name="web", models=["gpt*"])
    for key in ("web", made["id"]):
        assert "not allowed" in words(page.get(f"models?model=mock&key={key}"))


@pytest.mark.parametrize("text", HOSTILE)
def test_a_model_that_does_not_exist_is_text(tmp_path: Path, store: MemoryStore, text: str) -> None:
    page = PageClient(tmp_path, store, default_upstream=None)
    answer = page.http.get("/ui/models", query_string={"model": text, "key": ""})
    assert answer.status_code == 200
    assert "does not exist here" in words(answer.text)
    assert not {"script", "img"} & {tag for tag, _ in elements(answer.text)}


def test_settings_show_no_secret(tmp_path: Path, store: MemoryStore) -> None:
    upstream = UpstreamSettings(name="a", url="https://a.example/v1", api_key=Secret(SECRET))
    page = PageClient(tmp_path, store, upstreams=(upstream,))
    for path in ("settings", "settings.json", "upstreams", "upstreams.json", "upstream?name=a", "health"):
        assert SECRET not in page.get(path), path
    assert "upstreams.a.api_key ****" in words(page.get("settings"))


def test_a_refused_file_is_told_with_its_text_and_the_old_settings_stay(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text("rate_limit_per_minute = 'many'\n")
    rows, refusal, differing = in_force(make_settings(), {"GATEWAY_CONFIG": str(file)})
    assert "rate_limit_per_minute" in refusal
    assert differing == []
    assert len(rows) > 20
    file.write_text("rate_limit_per_minute = 7\n")
    _, refusal, differing = in_force(make_settings(), {"GATEWAY_CONFIG": str(file)})
    assert refusal == ""
    assert "rate_limit_per_minute" in differing


def test_health_shows_each_part(page: PageClient) -> None:
    shown = words(page.get("health"))
    for part in health.CHECKS:
        assert f"{part} ● good" in shown or f"{part} ■ look here" in shown, part


def test_a_part_that_cannot_be_looked_at_hides_no_other(
    page: PageClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> tuple[bool, str]:
        raise OSError("gone")

    monkeypatch.setitem(health.CHECKS, "disk", broken)
    shown = words(page.get("health"))
    assert "disk ■ look here cannot be looked at: OSError" in shown
    assert "store ● good" in shown


def test_notes_are_filtered(page: PageClient) -> None:
    page.rings.note("the first <b>", "error")
    page.rings.note("second")
    assert "the first <b>" in words(page.get("health?q=ERROR"))
    assert "second" not in words(page.get("health?q=first"))
    assert "No note fits." in words(page.get("health?q=nothing-of-this"))
