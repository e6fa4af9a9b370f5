"""Images: `POST /v1/images/generations`, `/v1/images/edits` and `/v1/images/variations`, plain and as a stream.

Sources: https://platform.openai.com/docs/api-reference/images and its `images-streaming`
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Generator, Mapping
from types import MappingProxyType
from typing import ClassVar, Final

from gateway.adapters.base import Bonds
from gateway.adapters.content_types import FORM, JSON
from gateway.adapters.counts import counts
from gateway.adapters.events import Event, StreamJudge
from gateway.errors import BadRequest
from gateway.operations.base import check_stream_fields, is_long_text, raise_error, words_in
from gateway.operations.bonds import image_bonds
from gateway.operations.typed_events import TypedEvents, TypedJudge
from gateway.policy.failures import no_answer
from gateway.wire.json import Json, JsonObject
from gateway.wire.multipart import Form

_PICTURES: Final = ("b64_json", "url")
_GIVEN: Final = ("image", "images", "mask")
"""Fields with the images that a request has."""
_MAX_COUNT: Final = 10
_MAX_DIGITS: Final = 4


class _ImageOperation(TypedEvents):
    """What the operations on images have in common. A request may leave the model out."""

    wire: Final = "images"
    field: Final = None
    event_name: ClassVar[str] = "image_generation"
    """How the types of its events begin."""
    example = MappingProxyType({"prompt": "hello"})
    model_is_optional = True
    can_bind = True
    read_fields = ("prompt",)
    form_media = frozenset({"images", "files"})
    params: Final = frozenset(
        {
            "background", "frame_count", "image", "images", "input_fidelity", "mask", "moderation", "n",
            "output_compression", "output_format", "partial_images", "prompt", "quality", "response_format", "size",
            "style", "svg", "user",
        }
    )  # fmt: skip

    def check(self, body: JsonObject) -> None:
        """Raise BadRequest for a request that no upstream could accept. Upstreams check the details."""
        prompt = body.get("prompt")
        if not isinstance(prompt, str) and not is_long_text(prompt):
            raise BadRequest("prompt must be a string", param="prompt")
        check_stream_fields(body)

    def check_reply(self, data: JsonObject) -> None:
        """Raise UpstreamError unless there are images, each as bytes or as a URL."""
        if "error" in data:
            raise_error(data)
        images = data.get("data")
        if not isinstance(images, list) or not images or not all(map(_is_image, images)):
            raise no_answer()

    def bound_to(self, params: Mapping[str, Json]) -> Bonds:
        """Return the files that the request names."""
        return image_bonds(params)

    def media(self, params: Mapping[str, Json], form: Form | None) -> Generator[None, None, frozenset[str]]:
        """Return `images` for a request that names some, and `files` too if they come in a form."""
        found = yield from super().media(params, form)
        return found | {"images"} if any(params.get(name) for name in _GIVEN) else found

    def tokens(self, data: JsonObject) -> dict[str, int] | None:
        """Return the token counts of an answer or an event; None if it has none."""
        usage = data.get("usage")
        if not isinstance(usage, dict) or not usage:
            return None
        return counts(prompt=usage.get("input_tokens"), completion=usage.get("output_tokens"))

    def judge_for(self, params: Mapping[str, Json], overrides: Mapping[str, Json]) -> StreamJudge:
        """Return a judge of a stream that has one `…completed` for each image asked for."""
        asked = overrides["n"] if "n" in overrides else params.get("n")
        return TypedJudge((".partial_image", ".completed"), ".completed", self.tokens, ends=_count(asked))

    def judge(self, *, one_choice: bool = False) -> StreamJudge:
        """Return a judge of the stream of one image."""
        return self.judge_for({}, {})

    def is_answer(self, data: JsonObject) -> bool:
        """Tell whether a body has images."""
        return bool(data.get("data"))

    def as_events(self, data: JsonObject) -> list[Event]:
        """Return an answer as the events of a whole stream, one for each image."""
        more = {name: value for name, value in data.items() if name not in ("created", "data")}
        kind = f"{self.event_name}.completed"
        return [
            Event({"type": kind, "created_at": data.get("created"), **more, **image}, name=kind.encode())
            for image in data["data"]
        ]

    # For the mock and the simulation

    def mock_events(self, text: str, params: Mapping[str, Json]) -> list[Event]:
        """Return a partial image, then the images."""
        events = self.as_events(self.reply(text, params))
        kind = f"{self.event_name}.partial_image"
        begun = {"type": kind, "partial_image_index": 0, "b64_json": base64.b64encode(_DOT).decode()}
        return [Event(begun, name=kind.encode()), *events]

    def prompt(self, params: Mapping[str, Json]) -> str:
        """Return the prompt."""
        prompt = params.get("prompt")
        return prompt if isinstance(prompt, str) else ""

    def reply(self, text: str, params: Mapping[str, Json]) -> JsonObject:
        """Return as many grey dots as images were asked for."""
        picture = base64.b64encode(_DOT).decode()
        data = [{"b64_json": picture} for _ in range(min(_count(params.get("n")), _MAX_COUNT))]
        return {"created": 0, "data": data, "usage": self.usage(text, params)}

    def usage(self, text: str, params: Mapping[str, Json]) -> JsonObject:
        """Return rough token counts."""
        words = words_in(params.get("prompt"))
        return {"input_tokens": words, "output_tokens": 1, "total_tokens": words + 1}


class Images(_ImageOperation):
    """Making images."""

    name: Final = "images"
    path: Final = "/images/generations"
    streams = True


class ImageEdits(_ImageOperation):
    """Editing images, which come as files of a form, or in JSON as URLs and ids."""

    name: Final = "image_edits"
    path: Final = "/images/edits"
    event_name = "image_edit"
    media_types = (FORM, JSON)
    streams = True


class ImageVariations(_ImageOperation):
    """Variations of an image. They have no prompt."""

    name: Final = "image_variations"
    path: Final = "/images/variations"
    media_types = (FORM,)

    def check(self, body: JsonObject) -> None:
        """Do nothing: upstreams check the details."""


def _count(asked: Json) -> int:
    """Return how many images were asked for. A form says it as text."""
    digits = str(asked)
    return max(1, int(digits)) if len(digits) <= _MAX_DIGITS and digits.isascii() and digits.isdigit() else 1


def _is_image(image: Json) -> bool:
    return isinstance(image, dict) and any(isinstance(image.get(name), str) and image[name] for name in _PICTURES)


def _chunk(name: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG (https://www.w3.org/TR/png-3/#5Chunk-layout)."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


_DOT: Final = b"".join(
    (
        b"\x89PNG\r\n\x1a\n",
        _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)),
        _chunk(b"IDAT", zlib.compress(b"\0\x80")),
        _chunk(b"IEND", b""),
    )
)
"""An image of one grey pixel."""
