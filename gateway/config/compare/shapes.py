"""A chain's pools and conditions as texts, to compare them: `openai/a 9, groq/b 1 (sticky by header x-session-id)`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateway.policy.conditions import When
from gateway.policy.pools import Conditional, Part, Pool, StickyKey
from gateway.policy.table import Route
from gateway.policy.wires import as_list


def shape_of(route: Route) -> list[str]:
    """Return a text for each pool and each step with a condition, in file order; plain steps have none."""
    names = [step.target.name for step in route.steps]
    return [_text(part, names) for part in route.parts or () if not isinstance(part, int)]


def _text(part: Part, names: Sequence[str]) -> str:
    if isinstance(part, int):
        return names[part]
    if isinstance(part, Conditional):
        return f"{_joined(part.parts, names)} when {when_text(part.when)}"
    return _pool(part, names)


def _joined(parts: Sequence[Part], names: Sequence[str]) -> str:
    return " then ".join(_text(part, names) for part in parts)


def _pool(pool: Pool, names: Sequence[str]) -> str:
    members = ", ".join(
        f"{f'({_joined(one.parts, names)})' if one.is_alias else one.name} {one.weight:g}" for one in pool.members
    )
    return f"[{members}] ({pool.pick}{_key(pool.key)})"


def _key(key: StickyKey | None) -> str:
    if key is None:
        return ""
    if key.client:
        return " by client"
    return f" by header {key.header}" if key.header is not None else f" by metadata {key.metadata}"


def when_text(when: When) -> str:
    """Return a condition as a text: `tokens > 100000 and header x-tier: paid`."""
    return " and ".join(_asked(when))


def _asked(when: When) -> Iterator[str]:
    yield from (name if wanted else f"no {name}" for name, wanted in when.features.items())
    for name, threshold in (("tokens", when.tokens), ("max_tokens", when.max_tokens)):
        if threshold is not None:
            yield f"{name} {threshold.sign} {threshold.number}"
    if when.operations:
        yield f"operation {' or '.join(as_list(when.operations))}"
    yield from _fields("header", when.headers)
    yield from _fields("metadata", when.metadata)
    if when.clients:
        yield f"client {' or '.join(sorted(when.clients))}"
    yield from _fields("param", when.params)
    if when.during is not None:
        yield f"during {when.during.text}"
    if when.inverse is not None:
        yield f"not ({when_text(when.inverse)})"


def _fields(kind: str, fields: Mapping[str, tuple[Any, ...]]) -> Iterator[str]:
    for name, values in fields.items():
        texts = [value if isinstance(value, str) else json.dumps(value) for value in values]
        yield f"{kind} {name}: {' or '.join(texts)}"
