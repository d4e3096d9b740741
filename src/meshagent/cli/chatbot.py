"""`meshagent chatbot`: run a chat bot."""

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

GreetingOption = Annotated[str | None, typer.Option("--greeting", help="First message in a new thread.")]


@command(app, "join")
async def join(target: RoomTarget, agent: AgentOptions, greeting: GreetingOption = None) -> None:
    """Run a chat bot in a room until Ctrl+C. It rejoins when the room ends."""
    name = agent.agent_name or target.name or DEFAULT_NAME
    await run_in_room(target, make_chat_bot(agent, name, greeting), name=name)


@command(app, "service")
async def service(
    agent: AgentOptions,
    greeting: GreetingOption = None,
    path: Annotated[str, typer.Option(help="URL path for invitations.")] = "/agent",
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: all interfaces.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on. Default: MESHAGENT_PORT or 8081.")] = None,
) -> None:
    """Wait for invitations (`meshagent call agent --url …`), and run a chat bot in each inviting room."""
    name = agent.agent_name or DEFAULT_NAME
    agent.rules()  # fail now if the rules file cannot be read, not at the first invitation
    await run_as_service(lambda: make_chat_bot(agent, name, greeting), host=host, port=port, path=path)


def make_chat_bot(options: AgentOptions, name: str, greeting: str | None) -> ChatBot:
    """Create the bot described by the options."""
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
