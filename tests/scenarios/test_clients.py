"""Runs Claude Code and Codex, as npm has them, through a running gateway: `make clients`.

The upstreams are scripted: they speak the client's own API, or chat alone.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from kit.coding_clients import answer_of_claude, claude, codex
from kit.gateways import KEY, StartGateway
from kit.scripted_model import Part, ScriptedModel, Seen, call, text
from kit.servers import Gateway

pytestmark = [pytest.mark.live, pytest.mark.clients]

#: A picture of one point.
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
DONE = "All is done."
MODEL = "claude-scripted"
#: Codex offers its tool for patches to models of this name.
PATCHING = "gpt-5.5"


def claude_plan(seen: Seen) -> list[Part]:
    """Two commands at once, a picture, a subagent, and the answer."""
    if "SUBTASK" in seen.first:
        return [text("The subtask is done.")]
    if "Bash" not in seen.tools:
        return [text("A title")]
    if seen.results == 0:
        commands = [call("Bash", command=f"echo {word}", description=word) for word in ("one", "two")]
        return [Part("reasoning", "Two commands."), text("Running."), *commands]
    if seen.results == 2:
        return [call("Read", file_path="./dot.png")]
    if seen.results == 3:
        return [call("Agent", description="Sub", prompt="SUBTASK say hi", subagent_type="general-purpose")]
    return [text(DONE)]


PATCH = '*** Begin Patch\n*** Add File: made.txt\n+It\'s "made".\n*** End Patch'


def codex_plan(seen: Seen) -> list[Part]:
    """Two commands at once, a picture, a patch where the tool is offered, and the answer."""
    if seen.results == 0:
        commands = [call("exec_command", cmd=f"echo {word}") for word in ("one", "two")]
        return [Part("reasoning", "Two commands."), *commands]
    if seen.results == 2:
        return [call("view_image", path="dot.png")]
    if seen.results == 3 and "apply_patch" in seen.tools:
        return [Part("call", "", "apply_patch", {"input": PATCH}, custom=True)]
    return [text(DONE)]


Start = Callable[..., tuple[Gateway, ScriptedModel, ScriptedModel]]


@pytest.fixture
def start(start_gateway: StartGateway, tmp_path: Path) -> Iterator[Start]:
    """Start a gateway in front of two upstreams, of which the second is a fallback."""
    models: list[ScriptedModel] = []

    def started(plan, speaks: str, down_after: int | None = None):
        first, second = ScriptedModel(plan), ScriptedModel(plan)
        models.extend([first, second])
        first.down_after = down_after
        upstreams = "".join(
            f'[upstreams.{name}]\nurl = "{model.url}"\nspeaks = ["{speaks}"]\n'
            for name, model in (("first", first), ("second", second))
        )
        config = tmp_path / "gateway.toml"
        config.write_text(
            f'[keys.team]\nsha256 = "{sha256(KEY.encode()).hexdigest()}"\n{upstreams}'
            f'[models.{MODEL}]\ntiers = [["first/m"], ["second/m"]]\n'
            f'[models."{PATCHING}"]\ntiers = [["first/m"], ["second/m"]]\n'
        )
        return start_gateway(GATEWAY_CONFIG=str(config)), first, second

    yield started
    for model in models:
        model.close()


APIS = pytest.mark.parametrize("speaks", ["own", "chat/completions"])
#: After how many requests the first upstream is down.
OUTAGES = pytest.mark.parametrize("down_after", [None, 1])


@APIS
@OUTAGES
def test_claude_code(start: Start, tmp_path: Path, speaks, down_after):
    speaks = "messages" if speaks == "own" else speaks
    gateway, first, second = start(claude_plan, speaks, down_after)
    (tmp_path / "work").mkdir()
    (tmp_path / "work/dot.png").write_bytes(PICTURE)
    ran = claude(gateway.url, tmp_path, "Do it", MODEL)
    assert answer_of_claude(ran) == DONE
    answered = second if down_after else first
    assert {path for path, _ in answered.asked} <= {speaks, "messages/count_tokens"}
    last = json.dumps(max((body for _, body in answered.asked), key=lambda body: len(json.dumps(body))))
    assert "one" in last
    assert base64.b64encode(PICTURE).decode()[:60] in last
    assert "The subtask is done." in last
    assert bool(second.asked) == bool(down_after)


@APIS
@OUTAGES
def test_codex(start: Start, tmp_path: Path, speaks, down_after):
    speaks = "responses" if speaks == "own" else speaks
    gateway, first, second = start(codex_plan, speaks, down_after)
    (tmp_path / "work").mkdir()
    (tmp_path / "work/dot.png").write_bytes(PICTURE)
    ran = codex(gateway.url, tmp_path, "Do it", MODEL)
    assert ran.output.strip().endswith(DONE), ran.errors[-3000:]
    assert "reconnect" not in ran.errors.lower(), ran.errors[-3000:]
    answered = second if down_after else first
    assert {path for path, _ in answered.asked} == {speaks}
    last = json.dumps(answered.asked[-1][1])
    assert "one" in last
    assert "two" in last
    assert "data:image/png;base64," in last
    assert bool(second.asked) == bool(down_after)
    # It asks at once: no attempt at a WebSocket holds it up.
    assert first.times[0] - ran.began < 2.0


@APIS
def test_codex_patches_a_file_and_asks_for_a_websocket_first(start: Start, tmp_path: Path, speaks):
    speaks = "responses" if speaks == "own" else speaks
    gateway, first, _ = start(codex_plan, speaks)
    (tmp_path / "work").mkdir()
    (tmp_path / "work/dot.png").write_bytes(PICTURE)
    ran = codex(gateway.url, tmp_path, "Do it", PATCHING, websockets=True)
    assert ran.output.strip().endswith(DONE), ran.errors[-3000:]
    assert (tmp_path / "work/made.txt").read_text() == 'It\'s "made".\n'
    assert first.times[0] - ran.began < 2.0
