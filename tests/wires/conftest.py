"""One lab for all tests of this folder; the upstreams forget in between what they were told and asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wires.lab import Lab, Place, running_lab


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give these tests a minute: the first that needs LiteLLM waits until the gateway has loaded it."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(60))


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    with running_lab() as running:
        yield running
        log = running.gateway_log.read_text()
        assert "unexpectedly" not in log, log


@pytest.fixture(scope="session", params=["direct", "gateway"])
def _place(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Place]:
    with Place(lab, direct=request.param == "direct") as chosen:
        yield chosen


@pytest.fixture
def place(_place: Place) -> Place:
    """First straight at the upstream, which proves the upstream; then through the gateway."""
    _place.upstream.forget()
    return _place
