"""Serves clients of OpenAI's Responses on upstreams that speak chat completions only. Pure: no I/O, no clock.

One request, plain:

    body, asked = request(params)                    # `params` of a Responses call → those of a chat call
    answer(reply, asked, serial=…, now=…)            # chat reply → Response object

and as a stream:

    body, asked = request(params, stream=True)
    events = Events(asked, serial=…, now=…)
    events.feed(chunk)                               # chat chunk → the next Responses events, in order
    events.end(now=…)                                # the last events; none if the source is not whole

- `request` raises NotSupported, by name, for what changes the meaning of the answer and has no counterpart in chat
  completions. What only asks for more detail, or saves work, is left out.
- `keep_reasoning` and `recall`, both off unless given, are told in `request`.
- `Asked` is what an answer repeats of its request, and which of its tools a chat function stands for.
- `serial` is a text that no other answer has, for the ids in it; `now` is in seconds since 1970.
- `feed` and `answer` raise UpstreamError for an error, a failed choice, and what is no answer at all.

Sources: https://platform.openai.com/docs/api-reference/responses, https://platform.openai.com/docs/api-reference/chat.
"""

from __future__ import annotations

from gateway.adapters.responses.answer import answer
from gateway.adapters.responses.asked import Asked
from gateway.adapters.responses.events import Events
from gateway.adapters.responses.request import request

__all__ = ["Asked", "Events", "answer", "request"]
