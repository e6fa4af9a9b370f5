from __future__ import annotations

import pytest

from gateway.operations import CHAT
from gateway.operations.translations import ResponsesToChat
from tests.litellm_calls import make_call


@pytest.mark.parametrize(("kind", "is_kept"), [("deepseek", True), ("moonshot", True), ("groq", False)])
def test_reasoning_goes_back_to_those_who_want_it(kind: str, is_kept: bool) -> None:
    history = [
        {"role": "user", "content": "hi"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "ok"},
    ]
    translated = ResponsesToChat(CHAT).request({"input": history}, make_call(kind=kind).target, stream=True)
    assert translated.params["messages"][1].get("reasoning_content") == ("hm" if is_kept else None)
