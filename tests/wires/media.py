"""Images and sound: JSON or multipart in; JSON, text, bytes or events out.

https://platform.openai.com/docs/api-reference/images, .../images-streaming, .../audio
"""

from __future__ import annotations

import base64
from typing import Any, Final

from tests.wires.play import EVENT_STREAM, Answer, Play, WireRequest, in_json, named_event, openai_error

PIECE_BYTES: Final = 4096
SOUND: Final = bytes(n * 7 % 251 for n in range(48_000))
"""A file of sound; it ends nowhere but at the end of the HTTP message."""
PNG: Final = b"\x89PNG\r\n\x1a\nscripted\r\n--image"
"""A picture, with line ends such as also divide a form."""
IMAGE_USAGE: Final = {
    "total_tokens": 30,
    "input_tokens": 10,
    "output_tokens": 20,
    "input_tokens_details": {"text_tokens": 10, "image_tokens": 0},
}
_LOOKS: Final = {"background": "opaque", "output_format": "png", "quality": "low", "size": "1024x1024"}


def images(request: WireRequest, play: Play) -> Answer:
    """Answer `POST /images/generations`, `/images/edits` and `/images/variations`."""
    if "edits" in request.path and not _has_image(request):
        error = {"message": "an image is needed", "param": "image"}
        return in_json(openai_error(Play(error=error)), status=400)
    picture = base64.b64encode(PNG).decode()
    count = int(request.field("n") or 1)
    usage = dict(play.usage or IMAGE_USAGE)
    if not request.stream:
        data = [{"b64_json": picture} for _ in range(count)]
        return in_json({"created": 1_700_000_000, "data": data, "usage": usage, **_LOOKS})
    kind = "image_edit" if "edits" in request.path else "image_generation"
    told: list[dict[str, Any]] = []
    for _ in range(count):
        for index in range(int(request.field("partial_images") or 0)):
            partial = {"type": f"{kind}.partial_image", "partial_image_index": index}
            told.append({**partial, "b64_json": picture, "created_at": 1_700_000_000, **_LOOKS})
        completed = {"type": f"{kind}.completed", "b64_json": picture, "created_at": 1_700_000_000, **_LOOKS}
        told.append({**completed, "usage": usage})
    return _events(play, told)


def _has_image(request: WireRequest) -> bool:
    named = {part.name.removesuffix("[]") for part in request.form if part.filename is not None}
    return "image" in named or bool(request.field("images"))


def speech(request: WireRequest, play: Play) -> Answer:
    """Answer `POST /audio/speech`: bytes, or events."""
    if request.field("stream_format") == "sse":
        pieces = [SOUND[start : start + 16_000] for start in range(0, len(SOUND), 16_000)]
        told: list[dict[str, Any]] = [
            {"type": "speech.audio.delta", "audio": base64.b64encode(piece).decode()} for piece in pieces
        ]
        usage = {"input_tokens": 4, "output_tokens": 9, "total_tokens": 13}
        return _events(play, [*told, {"type": "speech.audio.done", "usage": usage}])
    parts = [SOUND[start : start + PIECE_BYTES] for start in range(0, len(SOUND), PIECE_BYTES)]
    return Answer(parts=parts, content_type="audio/mpeg")


def transcriptions(request: WireRequest, play: Play) -> Answer:
    """Answer `POST /audio/transcriptions` and `/audio/translations`: JSON, text or events."""
    if not any(part.name == "file" and part.filename is not None for part in request.form):
        return in_json(openai_error(Play(error={"message": "a file is needed", "param": "file"})), status=400)
    usage = dict(play.usage or {"type": "duration", "seconds": 3})
    form = request.field("response_format") or "json"
    if request.stream:
        deltas: list[dict[str, Any]] = [{"type": "transcript.text.delta", "delta": word} for word in play.words]
        return _events(play, [*deltas, {"type": "transcript.text.done", "text": play.text, "usage": usage}])
    if form == "text":
        return Answer(body=f"{play.text}\n".encode(), content_type="text/plain; charset=utf-8")
    if form in ("srt", "vtt"):
        head = "WEBVTT\n\n" if form == "vtt" else "1\n"
        return Answer(body=f"{head}00:00:00,000 --> 00:00:03,000\n{play.text}\n".encode(), content_type="text/plain")
    if form == "verbose_json":
        segment = {"id": 0, "start": 0.0, "end": 3.0, "text": play.text}
        told = {"task": "transcribe", "language": "english", "duration": 3.0, "text": play.text}
        return in_json({**told, "segments": [segment], "usage": usage})
    return in_json({"text": play.text, "usage": usage})


def _events(play: Play, told: list[dict[str, Any]]) -> Answer:
    error = named_event({"type": "error", **openai_error(play, status=500)})
    return Answer(parts=list(map(named_event, told)), content_type=EVENT_STREAM, error_part=error)
