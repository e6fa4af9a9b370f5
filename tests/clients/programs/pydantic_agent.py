"""pydantic-ai as its documentation uses it, with the provider named in front of the model."""

from __future__ import annotations

import sys

from pydantic_ai import Agent

from tests.clients.programs.jobs import TOOL_RESULT, work

PROVIDER = sys.argv[1]
"""`openai` or `anthropic`."""


def weather(city: str) -> str:
    """Tell the weather of a city."""
    return TOOL_RESULT


async def do(kind: str, model: str) -> str:
    """Run an agent once."""
    agent = Agent(f"{PROVIDER}:{model}", instructions="be brief", tools=[weather])
    if kind == "plain":
        return str((await agent.run("hello")).output)
    async with agent.run_stream("hello") as result:
        return "".join([piece async for piece in result.stream_text(delta=True)])


if __name__ == "__main__":
    work(do)
