"""Legacy completions: `POST /v1/completions`, plain and as a stream.

Source: https://platform.openai.com/docs/api-reference/completions
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gateway.errors import BadRequest
from gateway.operations.base import (
    OpenAIOperation,
    check_choices,
    check_stream_fields,
    first_choice,
    is_long_list,
    is_long_text,
    positive,
    usage_of,
    words_in,
)
from gateway.wire.json import Json, JsonObject, RawJson


class Completions(OpenAIOperation):
    """Legacy completions: a prompt in, its continuation out."""

    name: Final = "completions"
    wire: Final = "completions"
    path: Final = "/completions"
    generates_text = True
    usage_on_demand = True
    field: Final = "prompt"
    params: Final = frozenset(
        {
            "best_of", "echo", "frequency_penalty", "logit_bias", "logprobs", "max_tokens", "n", "presence_penalty",
            "prompt", "seed", "stop", "stream_options", "suffix", "temperature", "top_k", "top_p", "user",
        }
    )  # fmt: skip
    example = MappingProxyType({"prompt": "hello"})
    id_prefix = "cmpl-"
    streams = True
    read_fields = ("prompt", "suffix")
    limit_fields = ("max_tokens",)

    def check(self, body: JsonObject) -> None:
        """Raise BadRequest for a request that no upstream could accept. Upstreams check the details."""
        prompt = body.get("prompt")
        if (
            (not isinstance(prompt, str | list) or prompt == [])
            and not is_long_text(prompt)
            and not is_long_list(prompt)
        ):
            raise BadRequest("prompt must be a string or a non-empty list", param="prompt")
        check_stream_fields(body)

    def texts(self, params: Mapping[str, Json]) -> int:
        """Return `n`, or `best_of` if that is more, for each prompt. Those of a list that is not decoded are one."""
        prompt = params.get("prompt")
        prompts = len(prompt) if isinstance(prompt, list) and prompt and isinstance(prompt[0], str | list) else 1
        return max(super().texts(params), positive(params.get("best_of"))) * prompts

    def check_reply(self, data: JsonObject) -> None:
        """Raise UpstreamError unless a choice has a text and a finish reason, even with empty text."""
        check_choices(data, "text", str)

    def one_choice_asked(self, params: Mapping[str, Json], overrides: Mapping[str, Json]) -> bool:
        """Tell whether the request asks for one choice: `n` for each prompt."""
        prompt = params.get("prompt")
        if isinstance(prompt, RawJson):
            several = prompt.is_array and not prompt.begins_with_number()
        else:
            several = isinstance(prompt, list) and len(prompt) > 1 and not isinstance(prompt[0], int)
        return not several and super().one_choice_asked(params, overrides)

    def has_content(self, choice: JsonObject) -> bool:
        """Tell whether a choice of an event carries content."""
        return bool(choice.get("text"))

    def is_own(self, choice: JsonObject) -> bool:
        """Tell whether a choice of an event has this operation's shape."""
        return isinstance(choice.get("text"), str)

    def lone_text(self, choice: JsonObject) -> tuple[str, Json]:
        """Return the name of the text field in an event's choice, and the text."""
        return "text", choice.get("text")

    # For the mock and the simulation

    def prompt(self, params: Mapping[str, Json]) -> str:
        """Return the last prompt if it is text."""
        prompt = params.get("prompt")
        last = prompt[-1] if isinstance(prompt, list) and prompt else prompt
        return last if isinstance(last, str) else ""

    def reply(self, text: str, params: Mapping[str, Json]) -> JsonObject:
        """Return a reply with `text`."""
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": "stop"}
        return {"object": "text_completion", "choices": [choice], "usage": self.usage(text, params)}

    def event(self, text: str, finish_reason: str | None = None, *, first: bool = False) -> JsonObject:
        """Return an event with `text` or the finish reason."""
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}
        return {"object": "text_completion", "choices": [choice]}

    def usage(self, text: str, params: Mapping[str, Json]) -> JsonObject:
        """Return rough token counts."""
        return usage_of(words_in(params.get("prompt")), words_in(text))

    def text(self, data: JsonObject) -> str | None:
        """Return the text of a reply's or an event's first choice; None if it has none."""
        text = first_choice(data).get("text")
        return text if isinstance(text, str) else None
