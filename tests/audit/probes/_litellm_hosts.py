"""Calls LiteLLM's providers in a process without a network, and prints where each would have connected to.

python -m tests.audit.probes._litellm_hosts KIND…
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from itertools import product
from typing import Any, Final, NoReturn

BASE_URL: Final = "http://table.test:81/base"
MODES: Final = ("known", "closed", "own")
"""As in a table without a base URL; with no host allowed at all; with BASE_URL."""
_LIMIT_S: Final = 8.0


def _cut_network(seen: list[str]) -> None:
    def refuse_name(host: Any, *_: Any, **__: Any) -> NoReturn:
        seen.append(host.decode() if isinstance(host, bytes) else str(host))
        raise socket.gaierror(-2, "no network here")

    async def refuse_address(_: object, __: object, address: Any) -> NoReturn:
        seen.append(str(address[0]))
        raise ConnectionRefusedError

    connect = socket.socket.connect

    def refuse_connect(self: socket.socket, address: Any) -> None:
        if self.family == socket.AF_UNIX:
            connect(self, address)
            return
        seen.append(str(address[0]))
        raise ConnectionRefusedError

    vars(socket)["getaddrinfo"] = refuse_name
    setattr(socket.socket, "connect", refuse_connect)  # noqa: B010 - mypy refuses the assignment
    setattr(asyncio.selector_events.BaseSelectorEventLoop, "sock_connect", refuse_address)  # noqa: B010


async def main(kinds: list[str]) -> None:
    """Call each kind in each mode, both operations."""
    from gateway.adapters.base import Call
    from gateway.adapters.litellm.adapter import LiteLLMAdapter
    from gateway.config.compiler.known_hosts import hosts_of
    from gateway.operations import OPERATIONS
    from gateway.policy.keys import KeySource, Secret
    from gateway.policy.target import Endpoint, Limits, Target

    seen: list[str] = []
    _cut_network(seen)
    adapter = LiteLLMAdapter(own_process=True)
    await adapter.prepare()
    for mode, kind in product(MODES, kinds):
        for operation, params in (
            ("chat", {"messages": [{"role": "user", "content": "hi"}]}),
            ("embeddings", {"input": ["hi"]}),
        ):
            seen.clear()
            own = mode == "own"
            endpoint = Endpoint(
                provider=kind, kind=kind, adapter="litellm", base_url=BASE_URL if own else None, own_base_url=own,
                hosts=() if mode == "closed" else hosts_of(kind, own_base_url=own),
                api_key=KeySource(name="k", value=Secret("sk-probe-0123456789")),
            )  # fmt: skip
            call = Call(
                OPERATIONS[operation],
                Target(name=f"{kind}/m", model="m", label=f"{kind}/m", endpoint=endpoint),
                params,
                Limits(connect_s=1, first_token_s=2, idle_s=2, total_s=2),
            )
            try:
                async with asyncio.timeout(_LIMIT_S):
                    await adapter.complete(call)
            except Exception:  # noqa: BLE001, S110 - only where it went counts
                pass
            print(json.dumps([mode, kind, operation, sorted(set(seen))]), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
    sys.stdout.flush()
    os._exit(0)  # without waiting for LiteLLM's threads
