"""Measures the checks of a request body: ``PYTHONPATH=. python bench/bodies.py``.

Milliseconds of CPU for one mebibyte of each kind, best of fifteen: the JSON limits alone, and all checks
together.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask_gateway.model.call import Operation
from flask_gateway.web.json_limits import check_shape
from flask_gateway.web.request_body import check, parse_fields, take_fallbacks

MIB = 1024 * 1024


def chat(*texts: str, ascii_only: bool = True) -> bytes:
    messages = [{"role": "user", "content": text} for text in texts]
    return json.dumps({"model": "m", "messages": messages}, ensure_ascii=ascii_only).encode()


def kinds() -> dict[str, tuple[Operation, bytes]]:
    chance = random.Random(1)
    sources = sorted(Path(__file__).parent.parent.glob("flask_gateway/**/*.py"))
    code = "".join(path.read_text() for path in sources).replace("u006", "") * 3
    tokens = {"model": "m", "input": [chance.randrange(100_000) for _ in range(MIB // 7)]}
    return {
        "plain text": (Operation.CHAT, chat("lorem ipsum " * (MIB // 12))),
        "source code": (Operation.CHAT, chat(code[: MIB * 19 // 20])),
        "Chinese": (Operation.CHAT, chat("你好世界啊" * (MIB // 15), ascii_only=False)),
        "escaped emoji": (Operation.CHAT, chat("😀你" * (MIB // 18))),
        "4000 messages": (Operation.CHAT, chat(*["x" * 220] * 4000)),
        "token numbers": (Operation.EMBEDDING, json.dumps(tokens).encode()),
        "1 KiB": (Operation.CHAT, chat("lorem ipsum " * 80)),
    }


def best(work: Callable[[], Any]) -> float:
    taken = []
    for _ in range(15):
        begun = time.process_time()
        work()
        taken.append(time.process_time() - begun)
    return min(taken) * 1000


def door(operation: Operation, body: bytes) -> None:
    fields = parse_fields(body)
    check(operation, fields)
    take_fallbacks(fields)


def main() -> None:
    print(f"{'kind':16} {'bytes':>9} {'shape ms':>9} {'all ms':>9}")
    for name, (operation, body) in kinds().items():
        shape, whole = best(lambda body=body: check_shape(body)), best(lambda o=operation, b=body: door(o, b))
        print(f"{name:16} {len(body):9} {shape:9.3f} {whole:9.3f}")


if __name__ == "__main__":
    main()
