"""`meshagent chatbot`: a chat bot without a line of code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from meshagent.cli.agent_options import AgentOptions, document_toolkits, run_as_service, run_in_room
from meshagent.cli.command import command
from meshagent.cli.context import RoomTarget

if TYPE_CHECKING:
    from meshagent.agents.chat import ChatBot

app = typer.Typer(help="Run a chat bot.", no_args_is_help=True)

DEFAULT_NAME = "chatbot"

GreetingOption = Annotated[str | None, typer.Option("--greeting", help="What it says in a thread that is new to it.")]


@command(app, "join")
async def join(target: RoomTarget, agent: AgentOptions, greeting: GreetingOption = None) -> None:
    """Let a chat bot answer in a room until Ctrl+C; when the room ends, it comes back."""
    name = agent.agent_name or target.name or DEFAULT_NAME
    await run_in_room(target, make_chat_bot(agent, name, greeting), name=name)


@command(app, "service")
async def service(
    agent: AgentOptions,
    greeting: GreetingOption = None,
    path: Annotated[str, typer.Option(help="The path at which it is called.")] = "/agent",
    host: Annotated[str | None, typer.Option(help="Address to listen on; every interface by default.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; MESHAGENT_PORT or 8081 by default.")] = None,
) -> None:
    """Wait for calls (`meshagent call agent --url …`), and let a chat bot answer in each room that calls."""
    name = agent.agent_name or DEFAULT_NAME
    agent.rules()
    await run_as_service(lambda: make_chat_bot(agent, name, greeting), host=host, port=port, path=path)


def make_chat_bot(options: AgentOptions, name: str, greeting: str | None) -> ChatBot:
    """The bot that the options describe."""
    from meshagent.agents.chat import ChatBot

    class CommandLineBot(ChatBot):
        async def install_requirements(self) -> None:
            await super().install_requirements()
            self.toolkits = await document_toolkits(self.room, options.schema or [])

    return CommandLineBot(
        name=name,
        llm_adapter=options.llm_adapter(),
        rules=options.rules(),
        requires=options.requires(),
        auto_greet_message=greeting,
    )
