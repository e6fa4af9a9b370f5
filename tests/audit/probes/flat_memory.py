"""100,000 requests whose names, headers, keys, paths and hosts are all new: the gateway's memory stays flat.

Whatever is remembered by something that a client chooses has a bound, and is full after the first half.
"""

from __future__ import annotations

import asyncio
import json
import random
import string
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.audit import Findings
from tests.audit.probes._odd_names import odd_names
from tests.gateway_process import GatewayProcess, gateway_process

REQUESTS: Final = 100_000
CONNECTIONS: Final = 8
EACH: Final = 250
"""Requests of one connection, before the next one is made."""
KEY: Final = "a-client-key-that-is-known"
ROUTES: Final = 'version: 1\nmodels: {echo: mock/echo, "any-*": "mock/*"}\n'
GROWTH_BYTES: Final = 8e6
"""The process may grow by this in the second half."""
JUDGED_FROM: Final = 0.5
"""Scale from which on memory is judged: below, the bounds are not reached in the first half."""
_LETTERS: Final = string.ascii_letters + string.digits


async def probe(scale: float) -> Findings:
    """Send them all, and look at the memory in the middle and at the end."""
    count = max(len(_SORTS) * 2, round(REQUESTS * scale))
    requests = _requests(count)
    statuses: Counter[int] = Counter()
    with tempfile.TemporaryDirectory() as name:
        config, keys, log = (Path(name) / each for each in ("routes.yaml", "keys", "log"))
        config.write_text(ROUTES)
        keys.write_text(f"known {KEY}\n")
        flags = ("--client-keys-file", str(keys), "--log-level", "error")
        async with gateway_process(config, log=log, flags=flags) as gateway:
            memory = []
            for part in (count // 4, count // 4, count - count // 4 * 2):
                await _send(gateway, requests, part, statuses)
                memory.append(gateway.memory_bytes())
        faults = log.read_text(errors="replace").splitlines()
    quarter, half, end = memory
    findings = Findings([f"the gateway logged {line[:500]}" for line in faults[:3]], tried=count)
    if not all(memory):
        findings.append("the gateway ended")
    if scale >= JUDGED_FROM and end - half > GROWTH_BYTES:
        findings.append(f"memory grew by {(end - half) / 1e6:.1f} MB in the second half")
    if odd := [status for status in statuses if status not in _EXPECTED]:
        findings.append(f"answers with the status {odd}")
    if statuses.total() < count:
        findings.append(f"{count - statuses.total()} requests had no answer")
    findings.figures.append(
        f"memory {quarter / 1e6:.1f} MB after a quarter, {half / 1e6:.1f} after half, {end / 1e6:.1f} at the end; "
        + ", ".join(f"{number} × {status}" for status, number in sorted(statuses.items()))
    )
    return findings


_EXPECTED: Final = frozenset({200, 400, 401, 403, 404, 405, 413, 415})


async def _send(gateway: GatewayProcess, requests: Iterator[bytes], count: int, statuses: Counter[int]) -> None:
    """Send so many of the requests, on some connections at once."""
    left = count

    async def connection() -> None:
        nonlocal left
        while left > 0 and not gateway.has_ended:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            try:
                for _ in range(EACH):
                    if left <= 0:
                        break
                    left -= 1
                    writer.write(next(requests))
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                    await reader.readexactly(int(length or 0))
                    statuses[int(head[9:12])] += 1
                    if b"\r\nConnection: close\r\n" in head:
                        break
            except (ConnectionError, asyncio.IncompleteReadError):
                pass  # it shows in the number of answers
            finally:
                writer.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(connection())


def _requests(count: int) -> Iterator[bytes]:
    """Yield so many requests, the same in each run, of each sort in turn."""
    numbers = random.Random(20261129)
    names = odd_names(count // len(_SORTS) + 1)
    for number in range(count):
        yield _SORTS[number % len(_SORTS)](numbers, next(names) if number % len(_SORTS) == 0 else "")


def _word(numbers: random.Random, most: int = 40) -> str:
    return "".join(numbers.choices(_LETTERS, k=numbers.randint(12, most)))


def _post(
    numbers: random.Random,
    model: str,
    *fields: str,
    path: str = "/v1/chat/completions",
    key: str = KEY,
    host: str = "localhost",
) -> bytes:
    data = {"model": model, "messages": [{"role": "user", "content": _word(numbers)}], "user": _word(numbers)}
    body = json.dumps(data).encode()
    head = [
        f"POST {path} HTTP/1.1", f"Host: {host}", "Content-Type: application/json", f"Authorization: Bearer {key}",
        f"Content-Length: {len(body)}", *fields,
    ]  # fmt: skip
    return "\r\n".join(head).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body


def _odd_name(numbers: random.Random, name: str) -> bytes:
    return _post(numbers, name)


def _new_name(numbers: random.Random, _: str) -> bytes:
    return _post(numbers, f"any-{_word(numbers, 200)}")


def _unknown_name(numbers: random.Random, _: str) -> bytes:
    return _post(numbers, _word(numbers, 250))


def _new_headers(numbers: random.Random, _: str) -> bytes:
    fields = [f"X-{_word(numbers)}: {_word(numbers, 400)}" for _ in range(numbers.randint(1, 8))]
    return _post(numbers, "echo", *fields)


def _ids(numbers: random.Random, _: str) -> bytes:
    trace = f"00-{numbers.getrandbits(128) | 1:032x}-{numbers.getrandbits(64) | 1:016x}-01"
    session = (f"X-Session-Id: {_word(numbers, 200)}", f"X-Claude-Code-Session-Id: {_word(numbers)}")
    return _post(numbers, "echo", f"X-Request-Id: {_word(numbers, 128)}", f"Traceparent: {trace}", *session)


def _unknown_key(numbers: random.Random, _: str) -> bytes:
    return _post(numbers, "echo", f"X-Api-Key: {_word(numbers, 400)}", key=_word(numbers, 500))


def _new_path(numbers: random.Random, _: str) -> bytes:
    return _post(numbers, "echo", path=f"/{_word(numbers, 200)}/{_word(numbers)}?{_word(numbers)}={_word(numbers)}")


def _new_host(numbers: random.Random, _: str) -> bytes:
    return _post(numbers, "echo", host=f"{_word(numbers)}.example", key=_word(numbers))


def _new_origin(numbers: random.Random, _: str) -> bytes:
    return _post(numbers, "echo", f"Origin: https://{_word(numbers, 200)}.example")


def _new_deployment(numbers: random.Random, _: str) -> bytes:
    path = f"/openai/deployments/any-{_word(numbers, 200)}/chat/completions?api-version={_word(numbers)}"
    return _post(numbers, "echo", path=path)


_SORTS: Final = (
    _odd_name, _new_name, _unknown_name, _new_headers, _ids, _unknown_key, _new_path, _new_host, _new_origin,
    _new_deployment,
)  # fmt: skip
