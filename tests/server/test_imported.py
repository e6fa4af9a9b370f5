"""A config of the LiteLLM proxy, imported and served: requests fall over as they did there."""

from __future__ import annotations

from gateway.importers.litellm.convert import convert
from tests.scripted_openai import ScriptedOpenAI
from tests.server.conftest import Start

CONFIG = """\
model_list:
  - model_name: chat
    litellm_params: {model: openai/first, api_base: BASE_URL, order: 1}
  - model_name: chat
    litellm_params: {model: openai/second, api_base: BASE_URL, order: 2}
  - model_name: spare
    litellm_params: {model: openai/spare, api_base: BASE_URL, temperature: 0.5}
  - model_name: long
    litellm_params: {model: openai/long, api_base: BASE_URL}
  - model_name: "up/*"
    litellm_params: {model: "openai/*", api_base: BASE_URL}
router_settings:
  num_retries: 0
  timeout: 5
  fallbacks: [{chat: [spare]}]
  context_window_fallbacks: [{spare: [long]}]
  model_group_alias: {gpt-4: chat}
"""


async def test_requests_fall_over_as_the_config_says(start: Start, upstream: ScriptedOpenAI) -> None:
    imported = convert(CONFIG.replace("BASE_URL", upstream.base_url).encode(), source="config.yaml")
    assert imported.routes is not None
    gateway = await start(imported.routes)

    upstream.script("first", status=500).script("second", status=429).script("spare", reply="from the spare")
    answer = await gateway.chat("chat", temperature=1)
    assert (answer.status, answer.text) == (200, "from the spare")
    assert upstream.calls == ["first", "second", "spare"]
    assert [request.body["temperature"] for request in upstream.requests] == [1, 1, 0.5]

    answer = await gateway.chat("up/some/model")
    assert (answer.status, upstream.calls[3:]) == (200, ["some/model"])

    answer = await gateway.chat("gpt-4")
    assert (answer.status, upstream.calls[4:]) == (502, ["first", "second"])


async def test_a_prompt_that_is_too_long_goes_to_the_model_for_long_ones_and_nothing_else_does(
    start: Start, upstream: ScriptedOpenAI
) -> None:
    imported = convert(CONFIG.replace("BASE_URL", upstream.base_url).encode(), source="config.yaml")
    assert imported.routes is not None
    gateway = await start(imported.routes)

    upstream.script("spare", status=400, error={"code": "context_length_exceeded"})
    answer = await gateway.chat("spare")
    assert (answer.status, upstream.calls) == (200, ["spare", "long"])

    upstream.reset_script("spare").script("spare", status=500)
    answer = await gateway.chat("spare")
    assert (answer.status, upstream.calls[2:]) == (500, ["spare"])
