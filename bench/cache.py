"""Measures the CPU time of a hit and of a call of the built-in mock: ``python -m bench.cache``."""

from __future__ import annotations

import tempfile
import time
from hashlib import sha256

from flask_gateway.app.build import Gateway, build
from flask_gateway.config.cache_settings import CacheMode, CacheSettings, ModelCache
from flask_gateway.config.schema import (
    CandidateSettings,
    KeySettings,
    ModelSettings,
    Settings,
    UpstreamSettings,
)
from flask_gateway.model.call import Call, Caller, Ids, Operation
from flask_gateway.state.memory import MemoryStore

TIMES, ROUNDS = 500, 5


def gateway(directory: str) -> Gateway:
    tiers = ((CandidateSettings(upstream="mock", model="mock"),),)
    settings = Settings(
        keys=(KeySettings(id="a", digest=sha256(b"a").digest()),),
        upstreams=(UpstreamSettings(name="mock", url="mock://local"),),
        models=(
            ModelSettings(name="kept", tiers=tiers, cache=ModelCache(mode=CacheMode.ALL)),
            ModelSettings(name="asked", tiers=tiers),
        ),
        cache=CacheSettings(path=directory),
    )
    return build(settings, MemoryStore())


def call(model: str, *, stream: bool) -> Call:
    return Call(
        ids=Ids("r", "1" * 32, f"00-{'1' * 32}-{'2' * 16}-00"),
        caller=Caller("a", 0),
        operation=Operation.CHAT,
        model=model,
        fields={"messages": b'[{"role":"user","content":"Hello"}]'},  # type: ignore[dict-item]
        stream=stream,
        started=time.monotonic(),
    )


def spent(serving: Gateway, asked: Call) -> float:
    """The least CPU time of a call, µs."""
    service, found = serving.service._service, []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(TIMES):
            reply = service.send(asked)
            b"".join(reply)
            reply.close()
            asked.attempts.clear()
        found.append((time.process_time() - began) / TIMES)
    return min(found) * 1e6


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        serving = gateway(directory)
        assert serving.cache is not None
        for stream in (False, True):
            spent(serving, call("kept", stream=stream))
            serving.cache.parts.writer._pool.submit(lambda: None).result()
            hit, mock = (spent(serving, call(model, stream=stream)) for model in ("kept", "asked"))
            print(f"{'stream' if stream else 'whole'}: hit {hit:.0f}, mock {mock:.0f}, {hit / mock:.2f}")
        serving.cache.parts.writer.close()
        serving.cache.parts.entries.close()


if __name__ == "__main__":
    main()
