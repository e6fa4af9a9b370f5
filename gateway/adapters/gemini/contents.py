"""The messages of a chat request as system instruction and contents of a Gemini request.

1. Every system message becomes a part of the system instruction, in order: contents have no place for one.
2. Users and the model take turns, so messages of one side in a row are one content.
3. Results of tools are a content of their own right after the calls, in the order in which they come. A result needs
   the name of its function, which the history's call with the same id tells.
4. The first call of a turn has a thought signature where the model wants one: its own, else Google's placeholder.
5. Reasoning is left out: Gemini reads only its own back, and signatures carry that.

Sources: https://ai.google.dev/api/caching#Content, https://ai.google.dev/gemini-api/docs/function-calling and
https://ai.google.dev/gemini-api/docs/thought-signatures
"""

from __future__ import annotations

from typing import Final

from gateway.adapters.anthropic.to_messages.messages import SYSTEM_ROLES
from gateway.adapters.base import NotSupported
from gateway.adapters.fields import arguments_of, fields_of, is_text, items_of, text_of
from gateway.adapters.gemini.models import GeminiModel
from gateway.adapters.gemini.parts import parts_of, text_parts_of
from gateway.adapters.gemini.signatures import PLACEHOLDER, plain_id, signature_of
from gateway.adapters.sent import ToolNames
from gateway.wire.json import Json, JsonObject, decode_json

_NO_USER: Final = "."
"""The user's turn of a request with system messages only: Gemini wants contents."""
_NO_TEXT: Final = " "
"""A text beside media: some of Google's servers want one."""
_REFERENCE: Final = "$ref"
"""Gemini takes an object with this key, in a result, for a pointer to one of its parts.

Source: https://github.com/vercel/ai/issues/14369
"""
_MAX_RESULT_DEPTH: Final = 64


class Contents:
    """Takes a request's messages one after the other, and has them as Gemini wants them."""

    __slots__ = ("_called", "_model", "_names", "contents", "system")

    def __init__(self, model: GeminiModel, names: ToolNames) -> None:
        self._model = model
        self._names = names
        self._called: dict[str, str] = {}
        """Id of a call, without its signature → the name of its function, as sent."""
        self.system: list[JsonObject] = []
        """Parts of the system instruction."""
        self.contents: list[JsonObject] = []

    def take(self, message: Json) -> None:
        """Take the next message."""
        if not isinstance(message, dict):
            raise NotSupported("does not support messages that are no objects")
        role = message.get("role")
        if role == "user":
            self._add("user", parts_of(message, self._model))
        elif role == "assistant":
            self._add("model", self._said(message))
        elif role == "tool":
            self._add_result(message, message.get("tool_call_id"))
        elif role in SYSTEM_ROLES:
            self.system += text_parts_of(message, self._model)
        elif role == "function":
            self._add_result(message, None)
        else:
            raise NotSupported(f"does not support messages with the role {str(role)[:64]}")

    def end(self) -> None:
        """Finish the conversation. Raises NotSupported for one without a message that says something."""
        if not self._model.has_system and self.system:
            system, self.system = self.system, []
            if self.contents and self.contents[0]["role"] == "user":
                self.contents[0]["parts"][:0] = system
            else:
                self.contents.insert(0, {"role": "user", "parts": system})
        if not self.contents:
            if not self.system:
                raise NotSupported("does not support a conversation without a message that says something")
            self.contents.append({"role": "user", "parts": [{"text": _NO_USER}]})
        for content in self.contents:
            parts = content["parts"]
            if content["role"] == "user" and not any("text" in one or "functionResponse" in one for one in parts):
                parts.append({"text": _NO_TEXT})

    def _add(self, role: str, parts: list[JsonObject]) -> None:
        """Add parts to the turn of this side; results of tools stay alone."""
        if not parts:
            return
        last = self.contents[-1] if self.contents else None
        if last is not None and last["role"] == role and "functionResponse" not in last["parts"][0]:
            last["parts"] += parts
        else:
            self.contents.append({"role": role, "parts": parts})

    def _said(self, message: JsonObject) -> list[JsonObject]:
        parts = parts_of(message, self._model)
        refusal = message.get("refusal")
        if is_text(refusal):
            parts.append({"text": refusal})
        for image in items_of(message.get("images")):
            if isinstance(image, dict):
                parts += parts_of({"content": [{"type": "image_url", **image}]}, self._model)
        calls = [self._call(call) for call in items_of(message.get("tool_calls"))]
        legacy = message.get("function_call")
        if isinstance(legacy, dict):
            calls.append(self._function_call(legacy, {}))
        if calls and self._model.is_signed and "thoughtSignature" not in calls[0]:
            calls[0]["thoughtSignature"] = PLACEHOLDER
        self._sign_text(parts, calls, message)
        return parts + calls

    def _sign_text(self, parts: list[JsonObject], calls: list[JsonObject], message: JsonObject) -> None:
        """Give the last text the signature that the answer told beside it, unless a call has the same."""
        beside = fields_of(message.get("provider_specific_fields"))
        signature = next(iter(items_of(beside.get("thought_signatures"))), None)
        if not is_text(signature) or any(call.get("thoughtSignature") == signature for call in calls):
            return
        for part in reversed(parts):
            if "text" in part:
                part["thoughtSignature"] = signature
                return

    def _call(self, call: Json) -> JsonObject:
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            return self._function_call(function, call)
        custom = call.get("custom") if isinstance(call, dict) else None
        if isinstance(custom, dict):
            given = {"input": custom.get("input")}
            return self._function_call({"name": custom.get("name"), "arguments": given}, call)
        raise NotSupported("does not support tool calls without a function")

    def _function_call(self, function: JsonObject, call: JsonObject) -> JsonObject:
        name = self._names.sent(text_of(function.get("name")))
        called: JsonObject = {"name": name, "args": arguments_of(function.get("arguments"))}
        call_id = plain_id(text_of(call.get("id")))
        if call_id:
            self._called[call_id] = name
            if self._model.is_signed:
                called["id"] = call_id
        part: JsonObject = {"functionCall": called}
        signature = signature_of(call)
        if signature is not None:
            part["thoughtSignature"] = signature
        return part

    def _add_result(self, message: JsonObject, given: Json) -> None:
        call_id = plain_id(text_of(given))
        name = self._called.get(call_id)
        if name is None:
            own = text_of(message.get("name"))
            if not own:
                raise NotSupported("does not support the result of a tool that the history does not call")
            name = self._names.sent(own)
        texts, media = list[str](), list[JsonObject]()
        for part in parts_of(message, self._model):
            if "text" in part:
                texts.append(part["text"])
            else:
                media.append(part)
        result: JsonObject = {"name": name, "response": _response("".join(texts))}
        if self._model.is_signed:
            if call_id:
                result["id"] = call_id
            if media:
                if any("inlineData" not in part for part in media):
                    raise NotSupported("does not support media by URL in results of tools")
                result["parts"], media = media, []
        last = self.contents[-1] if self.contents else None
        if last is not None and "functionResponse" in last["parts"][0]:
            last["parts"] += [{"functionResponse": result}, *media]
        else:
            self.contents.append({"role": "user", "parts": [{"functionResponse": result}, *media]})


def _response(text: str) -> JsonObject:
    """Return a tool's result as an object: the one that its text is, else with the text as its `content`."""
    if text.lstrip().startswith("{"):
        try:
            value = decode_json(text.encode("utf-8", "surrogatepass"), exact=True)
        except ValueError:
            value = None
        if isinstance(value, dict) and not _has_reference(value, _MAX_RESULT_DEPTH):
            return value
    return {"content": text}


def _has_reference(value: Json, depth: int) -> bool:
    """Tell whether JSON has an object with a reference, or is too deep to tell."""
    if isinstance(value, dict):
        if _REFERENCE in value:
            return True
        value = value.values()
    elif not isinstance(value, list):
        return False
    return depth == 0 or any(_has_reference(one, depth - 1) for one in value)
