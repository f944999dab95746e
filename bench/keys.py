"""Compares what a call costs with the keys that may make it: ``python -m bench.run keys``.

All gateways run at the same time and answer in turn. The first has a key of the settings with a limit of
requests, and no ledger. The others have what the name says. The CPU time is that of the whole process tree,
so it has the bookkeeper's too.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from . import servers

UPSTREAM = """
[upstreams.up]
url = "{upstream}"
"""
#: The models of the benchmarks: an answer in one piece, and streams by their events and the rate.
MODELS = ("bench", "300-50", "200-50", "50-50", "3000-500", "80-2")
LEDGER = """
[ledger]
data = "{data}"

[prices]
""" + "".join(f'"up/{model}" = {{{{ input = "0.15", output = "0.60" }}}}\n' for model in MODELS)
#: Turns the operator's page on.
ADMIN_KEY = "bench-admin-key-of-32-characters"
_KEY = """
[keys.bench]
sha256 = "{digest}"
requests = 10_000_000
"""
_TOKENS = "tokens = 1_000_000_000\n"
_BUDGET = 'budgets = [{ amount = "100000", window = "month" }]\n'


class Kind(NamedTuple):
    """The key of a gateway and its limits.

    :param key: lines of the settings. :param issued: the key is made at run time, with all limits.
    """

    key: str = ""
    ledger: bool = False
    issued: bool = False


KINDS = {
    "a key of the settings": Kind(),
    "and the ledger": Kind(ledger=True),
    "and tokens": Kind(_TOKENS, ledger=True),
    "and a budget: everything on": Kind(_TOKENS + _BUDGET, ledger=True),
    "an issued key, everything on": Kind(ledger=True, issued=True),
}


@contextmanager
def gateway(
    kind: Kind, upstream: str, port: int, workers: int = 2, before: Path | None = None, **env: str
) -> Iterator[subprocess.Popen]:
    """A gateway that knows :data:`servers.KEY` as a key of that kind.

    :param before: a checkout of a commit before there were ledgers, whose code serves.
    """
    digest = sha256(servers.KEY.encode()).hexdigest()
    with TemporaryDirectory(prefix="bench-keys-") as folder:
        config = Path(folder) / "gateway.toml"
        text = UPSTREAM.format(upstream=upstream)
        text += LEDGER.format(data=f"{folder}/data") if kind.ledger else ""
        # An issued key is in the database. The settings need some key of their own.
        text += _KEY.format(digest="0" * 64 if kind.issued else digest) + kind.key
        if before is not None:  # the name that the setting had
            text = text.replace("requests =", "rate_limit_per_minute =")
        config.write_text(text)
        if kind.issued:
            _issue(config, digest)
        with servers.gateway(upstream, port, workers, config, before or servers.ROOT, **env) as process:
            yield process


def everything_on(upstream: str, port: int, workers: int = 2) -> AbstractContextManager[subprocess.Popen]:
    """An issued key with a limit of requests, one of tokens and a budget; the ledger; the page and its rings;
    metrics and log, which are always on."""
    kind = KINDS["an issued key, everything on"]
    return gateway(kind, upstream, port, workers, GATEWAY_ADMIN_KEY=ADMIN_KEY)


def _issue(config: Path, digest: str) -> None:
    """Issue the key of that digest with all limits, without a running server."""
    command = [sys.executable, "-m", "flask_gateway", "keys", "create", "--config", str(config)]
    limits = ["--requests", "10000000", "--tokens", "1000000000", "--budget", "100000/month"]
    done = subprocess.run(
        [*command, *limits, "--sha256", digest], cwd=servers.ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"no key was issued: {done.stderr or done.stdout}")
