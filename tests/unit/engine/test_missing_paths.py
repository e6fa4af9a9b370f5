"""Which paths of endpoints are remembered to be missing, how long, and how many."""

from __future__ import annotations

from gateway.engine.missing_paths import MAX_REMEMBERED, REMEMBERED_S, MissingPaths
from gateway.operations import OPERATIONS
from gateway.policy.table import Step
from gateway.policy.target import Endpoint
from tests.compiling import endpoint, route

RESPONSES, EMBEDDINGS, CHAT = OPERATIONS["responses"], OPERATIONS["embeddings"], OPERATIONS["chat"]


def lab(provider: str = "lab", url: str = "http://h/v1") -> Endpoint:
    return endpoint(f"{provider}: {{kind: openai, base_url: '{url}'}}", f"{provider}/m")


def test_a_missing_path_is_remembered_for_ten_minutes() -> None:
    missing = MissingPaths()
    missing.note(lab(), EMBEDDINGS, now_s=100.0)
    assert missing.carrier(lab(), EMBEDDINGS, now_s=100.0 + REMEMBERED_S - 1) is None
    assert missing.carrier(lab(), EMBEDDINGS, now_s=100.0 + REMEMBERED_S) == "relay"
    assert not missing.remembered


def test_what_can_be_translated_then_is() -> None:
    missing = MissingPaths()
    missing.note(lab(), RESPONSES, now_s=0.0)
    assert missing.carrier(lab(), RESPONSES, now_s=1.0) == "translated"
    only = endpoint("lab: {kind: openai, base_url: 'http://h/v1', wires: [responses]}", "lab/m")
    assert missing.carrier(only, RESPONSES, now_s=1.0) is None


def test_another_operation_endpoint_or_address_is_not_concerned() -> None:
    missing = MissingPaths()
    missing.note(lab(), EMBEDDINGS, now_s=0.0)
    for found, operation in (
        (lab(), CHAT),
        (lab("den"), EMBEDDINGS),
        (lab(url="http://h:1/v1"), EMBEDDINGS),
    ):
        assert missing.carrier(found, operation, now_s=1.0) == "relay"


def test_the_steps_that_lack_a_path() -> None:
    text = "providers: {lab: {kind: openai, base_url: 'http://h/v1'}}\nmodels: {fast: [lab/a, openai/b, anthropic/c]}"
    steps: tuple[Step, ...] = route(text).steps
    missing = MissingPaths()
    assert missing.lacking(steps, EMBEDDINGS, now_s=0.0) == frozenset()
    missing.note(steps[0].target.endpoint, EMBEDDINGS, now_s=0.0)
    missing.note(steps[1].target.endpoint, RESPONSES, now_s=0.0)
    assert missing.lacking(steps, EMBEDDINGS, now_s=1.0) == {0}
    assert missing.lacking(steps, RESPONSES, now_s=1.0) == frozenset()


def test_the_oldest_is_forgotten_first() -> None:
    missing = MissingPaths()
    for number in range(MAX_REMEMBERED):
        missing.note(lab(f"p{number}"), EMBEDDINGS, now_s=float(number))
    missing.note(lab("p0"), EMBEDDINGS, now_s=5000.0)
    missing.note(lab("new"), EMBEDDINGS, now_s=5001.0)
    assert len(missing.remembered) == MAX_REMEMBERED
    assert missing.carrier(lab("p1"), EMBEDDINGS, now_s=1.0) == "relay"
    assert missing.carrier(lab("p0"), EMBEDDINGS, now_s=1.0) is None
