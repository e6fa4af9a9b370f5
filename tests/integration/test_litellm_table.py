"""`docs/providers.md` says of each kind whether its chat goes by LiteLLM's classes or by its function."""

from __future__ import annotations

import pytest

from gateway.adapters.litellm.adapter import LiteLLMAdapter
from tests import litellm_table
from tests.litellm_calls import QUIET

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # Waits for LiteLLM's import, and for a dry run of each kind.
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore"),
    *QUIET,
]


async def test_the_table_of_kinds_is_true(adapter: LiteLLMAdapter) -> None:
    """`python -m tests.litellm_table` writes it anew."""
    assert litellm_table.shown() == await litellm_table.table(adapter)
