"""OpenAI's Agents SDK as its documentation uses it: `Agent`, `Runner`, a function tool."""

from __future__ import annotations

from agents import Agent, Runner, function_tool

from tests.clients.programs.jobs import TOOL_RESULT, work


def weather(city: str) -> str:
    """Tell the weather of a city."""
    return TOOL_RESULT


async def do(kind: str, model: str) -> str:
    """Run an agent once."""
    agent = Agent(name="tester", instructions="be brief", model=model, tools=[function_tool(weather)])
    if kind == "plain":
        return str((await Runner.run(agent, "hello")).final_output)
    result = Runner.run_streamed(agent, "hello")
    async for _ in result.stream_events():
        pass
    return str(result.final_output)


if __name__ == "__main__":
    work(do)
