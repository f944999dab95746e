"""Installs other gateways to compare, each in its own environment: ``make bench PEERS=1``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from . import servers

#: The folder of the environments, and their packages.
HOME = Path(os.environ.get("BENCH_PEERS", servers.ROOT / ".peers"))
PACKAGES = {
    "litellm": "litellm[proxy]==1.105.0",
    "sglang-router": "sglang-router==0.3.2",
    "portkey": "@portkey-ai/gateway@1.15.2",
}
#: These run no benchmark of streams. LiteLLM rewrites the events, and takes minutes for hundreds of streams.
#: Portkey 1.15.2 answers 500 to a stream on Node 20: "TypeError: immutable".
NO_STREAMS = frozenset({"litellm", "portkey"})


def wanted() -> list[str]:
    return list(PACKAGES) if os.environ.get("PEERS") == "1" else []


def _environment(name: str) -> Path:
    """Its ``bin`` folder, created if necessary.

    :raises servers.Missing: the package cannot be installed.
    """
    folder = HOME / name
    if not (folder / "ready").exists():
        print(f"installing {PACKAGES[name]} (once)", file=sys.stderr, flush=True)
        for command in _installing(name, folder):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise servers.Missing(f"{PACKAGES[name]} cannot be installed: {done.stderr[-300:]}")
        (folder / "ready").touch()
    return folder / "bin"


def _installing(name: str, folder: Path) -> list[list[str]]:
    """The commands that install a peer."""
    if name == "portkey":
        npm = [servers.tool("npm"), "install", "--prefix", str(folder), "--ignore-scripts", "--no-audit"]
        return [[*npm, "--no-fund", "--loglevel=error", PACKAGES[name]]]
    return [
        [sys.executable, "-m", "venv", str(folder)],
        [str(folder / "bin/pip"), "install", "--quiet", PACKAGES[name]],
    ]


@contextmanager
def portkey(upstream: str, port: int, workers: int = 2) -> Iterator[subprocess.Popen]:
    """One process, independent of the number of workers. Each request names the upstream."""
    server = _environment("portkey").parent / "node_modules/@portkey-ai/gateway/build/start-server.js"
    command = [servers.tool("node"), str(server), f"--port={port}", "--headless"]
    url = f"http://127.0.0.1:{port}"
    headers = f"x-portkey-provider: openai\nx-portkey-custom-host: {upstream}/v1\n"
    servers.MORE_HEADERS[url] = headers
    with servers.running(command, port, {"NODE_ENV": "production"}) as process:
        yield process


@contextmanager
def litellm(upstream: str, port: int, workers: int = 2) -> Iterator[subprocess.Popen]:
    where = _environment("litellm")
    config = HOME / "litellm.yaml"
    config.write_text(
        "model_list:\n  - model_name: '*'\n    litellm_params:\n"
        f"      model: openai/*\n      api_base: {upstream}/v1\n      api_key: bench\n"
        f"general_settings:\n  master_key: {servers.KEY}\n"
    )
    command = [str(where / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    # Its prices are in the package. Without a network its attempts to fetch others end its start.
    offline = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    with servers.running([*command, "--num_workers", str(workers)], port, offline) as process:
        yield process


@contextmanager
def sglang_router(upstream: str, port: int, workers: int = 2) -> Iterator[subprocess.Popen]:
    """One process with a thread for each core, independent of the number of workers."""
    where = _environment("sglang-router")
    command = [str(where / "python"), "-m", "sglang_router.launch_router", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--worker-urls", upstream, "--policy", "round_robin"]
    command += ["--prometheus-port", str(servers.free_port())]
    with servers.running(command, port) as process:
        yield process


WAYS: dict[str, Callable[[str, int, int], AbstractContextManager[subprocess.Popen]]] = {
    "litellm": litellm,
    "sglang-router": sglang_router,
    "portkey": portkey,
}
