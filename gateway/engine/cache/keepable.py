"""Which requests and which answers may be kept.

Whether an answer is whole its judge has said before. What is left are refusals and what a filter has cut: they are
found in the encoded answer, where a quote that ends a name or a value is never one within a text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeAlias

from gateway.operations.hosted import has_hosted_tools, may_be_sent_twice
from gateway.policy.params import merged
from gateway.wire.json import Json

Barred: TypeAlias = Literal["no_store", "operation", "not_repeatable", "bound", "no_json"]
"""Why the answer to a request is not kept, nor a kept one given.

The client's `no-store`; an operation or a form of which nothing is kept; it leaves something upstream or runs a tool
there; only its maker can answer it; a hook made it something that JSON cannot hold.
"""

_OF_NUMBERS: Final = frozenset({"rerank", "moderations"})
"""Operations that answer with numbers, as embeddings do, and never keep or run anything upstream."""
KEPT_OPERATIONS: Final = _OF_NUMBERS | {"chat", "completions", "messages", "responses", "embeddings"}
"""Those whose answers may be kept: texts and numbers. Images and sounds are too large to be worth it."""
_DECIDING: Final = frozenset({"store", "background", "tools", "mcp_servers", "web_search_options"})
"""Fields by which a request may be kept or not."""


def deciding(params: Mapping[str, Json]) -> bool:
    """Tell whether a block of the file's `params` may decide whether requests are kept."""
    return not _DECIDING.isdisjoint(params)


def is_repeatable(operation: str, params: Mapping[str, Json], overrides: Sequence[Mapping[str, Json]]) -> bool:
    """Tell whether a request leaves nothing upstream and runs no tool there, with each of the file's `overrides`.

    `overrides` are those of the chain's steps that are `deciding`, and those of a step that has none: empty.
    """
    if operation not in KEPT_OPERATIONS:
        return False
    if len(overrides) == 1 and not overrides[0] and _DECIDING.isdisjoint(params):
        return operation != "responses"  # as most requests are
    return all(_leaves_nothing(operation, merged(params, block, "") if block else params) for block in overrides)


def _leaves_nothing(operation: str, params: Mapping[str, Json]) -> bool:
    if params.get("background"):
        return False
    if operation in _OF_NUMBERS:
        return params.get("store") is not True and not has_hosted_tools(operation, params)
    return may_be_sent_twice(operation, params)


def what_it_leaves(operation: str, params: Mapping[str, Json], overrides: Sequence[Mapping[str, Json]]) -> str:
    """Return in words why a request is not repeatable. The arguments are those of `is_repeatable`."""
    blocks = [merged(params, block, "") if block else params for block in overrides]
    sent = next(block for block in blocks if not _leaves_nothing(operation, block))
    if sent.get("background"):
        return "it has `background`, so the upstream keeps it"
    if has_hosted_tools(operation, sent):
        return "it has a tool that the upstream runs"
    if operation == "responses" and sent.get("store") is not True:
        return "it does not write `store: false`, so the upstream keeps it"
    return "it has `store: true`, so the upstream keeps it"


def is_refused(content: bytes) -> bool:
    """Tell whether an encoded answer, or a stream's events, have a refusal, or something that a filter has cut.

    Chat and Responses: a `refusal` that is not null, a finish reason `content_filter`, the status `incomplete`; Azure's
    filters: `"filtered": true`. Messages: the stop reason `refusal`. What only looks like one of these counts as one.
    """
    if content.find(b'"refusal"') >= 0:
        nulls = content.count(b'"refusal":null') + content.count(b'"refusal": null')
        if nulls != content.count(b'"refusal"'):
            return True
    return any(content.find(mark) >= 0 for mark in _CUT)


_CUT: Final = (
    b'"content_filter"', b'"filtered":true', b'"filtered": true', b'"incomplete"', b'"response.incomplete"',
)  # fmt: skip
