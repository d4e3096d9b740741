"""An agent that answers requests with the tools of `math_toolkit.py`. Stop it with Ctrl+C."""

import asyncio
from contextlib import suppress

from pydantic import BaseModel

from meshagent.agents import AgentCallContext, PydanticAgent
from meshagent.api import JsonResponse, RequiredToolkit, RoomClient, websocket_protocol


class Numbers(BaseModel):
    numbers: list[float]


class Total(BaseModel):
    total: float
    steps: int


class SummingAgent(PydanticAgent[Numbers, Total]):
    """Adds numbers by calling a tool that adds two of them."""

    def __init__(self) -> None:
        super().__init__(
            name="summing-agent",
            description="Adds numbers.",
            input_model=Numbers,
            output_model=Total,
            requires=[RequiredToolkit(name="math", tools=["add"])],
        )

    async def ask_model(self, context: AgentCallContext, arguments: Numbers) -> Total:
        total = 0.0
        for number in arguments.numbers:
            pair = {"a": total, "b": number}
            answer = await context.room.agents.invoke_tool(toolkit="math", tool="add", arguments=pair)
            assert isinstance(answer, JsonResponse)
            total = answer.json["sum"]
        return Total(total=total, steps=len(arguments.numbers))


async def main() -> None:
    protocol = websocket_protocol(participant_name="summing-agent", room_name="examples")
    async with RoomClient(protocol=protocol) as room:
        agent = SummingAgent()
        await agent.start(room=room)
        print("summing-agent is in the room", flush=True)
        try:
            await room.wait_for_close()
        finally:
            await agent.stop()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
