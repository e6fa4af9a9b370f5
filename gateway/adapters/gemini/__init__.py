"""Translates OpenAI's chat completions and embeddings into Gemini's own API, and its answers back. No I/O, no LiteLLM.

A chat goes through three parts, in this order:

1. `sent = request(body)`: the client's body, with `model`, as the body of `generateContent` (`sent.body`). The same
   body asks for a stream. Raises NotSupported, which names what has no counterpart. It shares values with what came
   in, and changes nothing in that.
2. `answer(data, sent, …)`: the plain answer as a chat reply.
3. `Events(sent, …)`, for a stream: `feed(event)` takes one decoded event and returns chunks; `run(raw)` takes events
   that differ in their text only, undecoded; `end()` returns the chunks with the finish reasons and the usage. They are
   returned only at the end of the stream, so a stream that is cut anywhere never looks whole.

`embeddings` does the same for embeddings. Unknown fields and parts of answers are left out.

Sources: https://ai.google.dev/api/generate-content, https://ai.google.dev/api/caching#Content
"""

from __future__ import annotations

from gateway.adapters.gemini.answer import answer
from gateway.adapters.gemini.events import Events
from gateway.adapters.gemini.models import path_of
from gateway.adapters.gemini.request import request

__all__ = ["Events", "answer", "path_of", "request"]
