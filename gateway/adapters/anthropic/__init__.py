"""Translates between OpenAI's chat completions and Anthropic's Messages, both ways. No I/O, and no LiteLLM.

`to_messages`: the client speaks chat, the target Messages. `to_chat`: the client speaks Messages, the target chat.
Both have the same three parts, and each call goes through them in this order:

1. `sent = request(body, …)`: the client's body, with `model` and `stream`, as the target's body (`sent.body`). Raises
   NotSupported, which names what has no counterpart. It shares values with what came in, and changes nothing in that.
   `reading(body)` returns the same without the body, for a caller that did not keep it.
2. `answer(data, sent, …)`: the target's plain reply as the client's.
3. `Events(sent, …)`, for a stream: `feed(event)` takes one decoded event of the target and returns the client's events,
   often one, often none; `end()` is called at the end of the target's stream and returns the last ones. An event that
   ends an answer (a `finish_reason`, `message_delta`, `message_stop`) is returned only after the target has told that
   its answer is whole, so a stream that is cut anywhere never looks whole.

`answer` and `feed` raise UpstreamError for an error of the target in any shape, and for what is no answer. Unknown
fields, blocks and events are left out.
"""
