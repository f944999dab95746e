"""Every command that can take over two seconds shows on a terminal that it is at work."""

from __future__ import annotations

import io
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kit.stores import free_port
from kit.waiting import until

from flask_gateway.cli import terminal
from flask_gateway.cli.main import COMMANDS, main

HTTP = ["--url", "http://127.0.0.1:9"]
#: The command line, and the function that takes long.
SLOW = [
    (["serve", "--bind", "127.0.0.1:PORT"], "flask_gateway.cli.serve.load_checked"),
    (["init", "--yes", "--no-env", "--output", "new.toml"], "flask_gateway.cli.init.model_servers.find"),
    (["check"], "flask_gateway.cli.check.load_checked"),
    (["explain", "m"], "flask_gateway.cli.explain.explained_here"),
    (["explain", "m", *HTTP], "urllib.request.urlopen"),
    (["try", "up", *HTTP], "urllib.request.urlopen"),
    (["doctor", "http://127.0.0.1:9"], "flask_gateway.cli.doctor.network_path.check_all"),
    (["selftest", "--fast", "--only", "S01", "--config="], "flask_gateway.cli.selftest.command._results"),
    (["keys", "list"], "flask_gateway.cli.admin_client.key_page"),
    (["keys", "list", *HTTP], "urllib.request.urlopen"),
    (["keys", "import", "keys.csv"], "flask_gateway.cli.key_import.report_of"),
    (["teams", "list"], "flask_gateway.cli.admin_client.page"),
    (["usage"], "flask_gateway.ledger.reports.usage"),
    (["ledger", "check"], "flask_gateway.ledger.reports.disagreements"),
    (["ledger", "backup", "copy"], "flask_gateway.ledger.sqlite_file.copy"),
    (["ledger", "prune"], "flask_gateway.ledger.maintenance.Maintenance.run"),
    (["ledger", "rebuild"], "flask_gateway.ledger.maintenance.Maintenance.run"),
    (["ledger", "reprice"], "flask_gateway.ledger.bookkeeper.Bookkeeper.turn"),
    (["prices", "show"], "flask_gateway.app.prices.price_rows"),
    (["prices", "check"], "flask_gateway.app.prices.price_rows"),
    (["prices", "update", "prices.json"], "flask_gateway.pricing.table.decode"),
    (["import", "litellm", "config.yaml"], "flask_gateway.cli.import_litellm.command.plan_of"),
    (["import", "litellm", "config.yaml"], "flask_gateway.cli.import_litellm.command._routes"),
]
#: Commands that read nothing but the package, and ask nobody.
AT_ONCE = {"cache", "deploy", "describe", "completion", "version", "litellm-sidecar"}
FILES = {
    "config.yaml": "model_list: [{model_name: m, litellm_params: {model: openai/gpt-4o, api_key: EMPTY}}]\n",
    "keys.csv": f"token,key_alias\n{'0a' * 32},web\n",
    "prices.json": '{"version": "1", "made": "2026-11-27", "providers": {}}',
}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("argv", "slow"), SLOW, ids=[" ".join(argv) for argv, _ in SLOW])
def test_progress(
    argv: list[str],
    slow: str,
    config: dict[str, str],
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = Terminal()
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setattr(terminal, "SILENCE", 0.01)
    monkeypatch.setattr("flask_gateway.cli.serve._become", lambda command, environ: 0)
    monkeypatch.setattr(slow, slowly(slow, shown))
    given = [word.replace("PORT", str(free_port())) for word in argv]
    main(given, {**config, "GATEWAY_ADMIN_KEY": "an-admin-key-of-32-characters-..."})
    assert "…" in shown.getvalue()
    assert not shown.getvalue().rpartition("…")[2].endswith(" s")  # the line is erased


def slowly(target: str, shown: io.StringIO) -> Callable[..., Any]:
    """The function at this path, which begins when the terminal shows progress."""
    real = pkgutil.resolve_name(target)

    def wait(*given: Any, **named: Any) -> Any:
        assert until(lambda: "…" in shown.getvalue()), f"{target} was called, and no progress is shown"
        return real(*given, **named)

    return wait


def test_no_command_is_left_out() -> None:
    assert {argv[0] for argv, _ in SLOW} | AT_ONCE == set(COMMANDS)


def test_one_line_within_another_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "SILENCE", 0.01)
    outer, inner = Terminal(), Terminal()
    with terminal.ProgressLine("rows", 2, outer), terminal.ProgressLine("", 0, inner):
        assert until(lambda: outer.getvalue().count("…") > 0)
    assert inner.getvalue() == ""


def test_escape_sequences_are_written_in_one_place() -> None:
    """So NO_COLOR and pipes mean the same to all commands."""
    package = Path(terminal.__file__).parent
    with_escapes = {path.name for path in package.rglob("*.py") if "\\x1b[" in path.read_text("utf-8")}
    assert with_escapes == {"terminal.py"}
