"""What LiteLLM works out about a model is worked out once, as long as nothing else says more about it."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from gateway.adapters.litellm.remembering import MAX_ANSWERS, remember_models
from gateway.adapters.litellm.signing import sign_in_place


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stand-ins for two modules of LiteLLM's, one of which imports from the other."""
    seen: list[Any] = []

    def supports_factory(model: str, custom_llm_provider: Any, key: str = "x") -> bool:
        seen.append(model)
        return True

    class AmazonConverseConfig:
        def get_supported_openai_params(self, model: str) -> list[str]:
            seen.append(model)
            return ["stream"]

        @classmethod
        def _supports_sampling_params(cls, model: str) -> bool:
            seen.append(model)
            return True

    utils, user = ModuleType("litellm.utils"), ModuleType("litellm.user")
    converse = ModuleType("litellm.llms.bedrock.chat.converse_transformation")
    vars(utils)["supports_factory"] = vars(user)["ask"] = supports_factory
    vars(converse)["AmazonConverseConfig"] = AmazonConverseConfig
    for module in (utils, user, converse):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    remember_models()
    remember_models()
    return seen


def ask(*args: Any, **kwargs: Any) -> Any:
    return sys.modules["litellm.user"].ask(*args, **kwargs)


def test_a_function_is_asked_once_wherever_it_was_imported(calls: list[Any]) -> None:
    assert [ask("m", None), ask("m", None), sys.modules["litellm.utils"].supports_factory("m", None)] == [True] * 3
    ask("m", None, key="y")
    assert calls == ["m", "m"]


def test_a_deployment_that_says_more_is_asked_about_each_time(calls: list[Any]) -> None:
    for _ in range(2):
        ask("m", {"model_info": {"x": 1}})
        ask("m", {"model_info": None, "other": 1})
        ask("m", [])
    assert len(calls) == 5


def test_methods_answer_for_all_instances_and_lists_are_the_callers_own(calls: list[Any]) -> None:
    kind = sys.modules["litellm.llms.bedrock.chat.converse_transformation"].AmazonConverseConfig
    kind().get_supported_openai_params("m").append("changed")
    assert kind().get_supported_openai_params("m").append("changed") is None
    assert kind().get_supported_openai_params("m") == ["stream"]
    assert kind._supports_sampling_params("m") is kind()._supports_sampling_params("m") is True
    assert calls == ["m", "m"]


def test_a_longer_list_of_models_is_looked_at_anew(calls: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    litellm = ModuleType("litellm")
    monkeypatch.setitem(sys.modules, "litellm", litellm)
    for models in ({}, {"m": 1}, {"m": 1}):
        vars(litellm)["model_cost"] = models
        ask("m", None)
    assert calls == ["m", "m"]


def test_answers_are_bounded(calls: list[Any]) -> None:
    for number in range(MAX_ANSWERS + 1):
        ask(f"m{number}", None)
    ask("m0", None)
    assert len(calls) == MAX_ANSWERS + 2


def test_without_litellm_there_is_nothing_to_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "litellm.llms.bedrock.base_aws_llm", raising=False)
    sign_in_place()
