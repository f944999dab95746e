"""Shows a real Phoenix the trace of a stream that failed over: `make tracing`, which installs Phoenix."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kit.gateways import StartGateway
from kit.servers import Upstream, free_port
from kit.waiting import until

pytestmark = [pytest.mark.live, pytest.mark.phoenix]

PROGRAM = Path(__file__).parents[2] / ".venv-phoenix" / "bin" / "phoenix"
#: Phoenix imports a lot and makes a database at its first start, seconds.
START = 120.0


@contextmanager
def phoenix(folder: Path) -> Iterator[str]:
    """A Phoenix on a free port; its URL."""
    port, grpc = free_port(), free_port()
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(grpc),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    with (folder / "phoenix.log").open("wb") as log:
        process = subprocess.Popen([PROGRAM, "serve"], env=environ, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        assert until(lambda: _answers(f"{url}/healthz"), START), (folder / "phoenix.log").read_text()[-2000:]
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def spans(url: str, trace: str) -> list[dict[str, Any]]:
    """The spans of a trace as Phoenix keeps them."""
    path = f"/v1/projects/default/spans?trace_id={trace}&limit=100"
    try:
        with urllib.request.urlopen(url + path, timeout=5) as answer:
            return list(json.load(answer)["data"])
    except OSError:  # 404: the project is made with the first span
        return []


def test_phoenix_shows_a_stream_that_failed_over_with_usage_once(
    start_gateway: StartGateway, upstream: Upstream, tmp_path: Path
) -> None:
    assert PROGRAM.exists(), "run `make tracing`"
    with phoenix(tmp_path) as url:
        gateway = start_gateway(
            GATEWAY_UPSTREAMS=f"first={upstream.url};second={upstream.url}",
            GATEWAY_DEFAULT_UPSTREAM="first",
            GATEWAY_FALLBACKS="spared=second/ok",
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{url}/v1/traces",
            OTEL_EXPORTER_OTLP_TIMEOUT="10",
        )
        trace = secrets.token_hex(16)
        upstream.script("status,code=503", "ok,tokens=3")
        headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
        assert b"[DONE]" in gateway.chat("spared", stream=True, headers=headers).body
        assert until(lambda: len(spans(url, trace)) == 3, 60), spans(url, trace)
        found = spans(url, trace)
        gateway.stop()
    by_name = {span["attributes"].get("gateway.attempt", 0): span for span in found}
    request, first, second = by_name[0], by_name[1], by_name[2]
    print(json.dumps([request, first, second], indent=1))
    assert request["parent_id"] == "b7ad6b7169203331"
    assert {first["parent_id"], second["parent_id"]} == {request["context"]["span_id"]}
    assert (first["status_code"], second["status_code"]) == ("ERROR", "UNSET")
    with_usage = [number for number, span in by_name.items() if "output_tokens" in json.dumps(span)]
    assert with_usage == [2]
    assert second["attributes"]["gen_ai.usage.output_tokens"] == 5
    # Phoenix translates the convention's names to its own.
    counted = [span for span in found if "llm.token_count" in json.dumps(span)]
    assert counted == [second]
    assert second["attributes"]["llm.token_count.total"] == 8
