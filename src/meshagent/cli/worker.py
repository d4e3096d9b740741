"""`meshagent worker`: run a worker that processes a queue with a language model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from meshagent.cli.agent_options import AgentOptions, document_toolkits, run_in_room
from meshagent.cli.command import command
from meshagent.cli.context import RoomTarget

if TYPE_CHECKING:
    from meshagent.agents.worker import Worker

app = typer.Typer(help="Run a worker.", no_args_is_help=True)

DEFAULT_NAME = "worker"


@command(app, "join")
async def join(
    target: RoomTarget,
    agent: AgentOptions,
    queue: Annotated[str, typer.Option(help="Name of the queue to process.")],
    concurrency: Annotated[int, typer.Option(min=1, help="Number of messages processed at a time.")] = 1,
) -> None:
    """Process a queue of a room with a language model until Ctrl+C. Rejoins when the room ends."""
    name = agent.agent_name or target.name or DEFAULT_NAME
    await run_in_room(target, make_worker(agent, name, queue, concurrency), name=name)


def make_worker(options: AgentOptions, name: str, queue: str, concurrency: int) -> Worker:
    """Create the worker described by the options."""
    from meshagent.agents.worker import Worker

    class CommandLineWorker(Worker):
        async def install_requirements(self) -> None:
            await super().install_requirements()
            self.toolkits = await document_toolkits(self.room, options.schema or [])

    return CommandLineWorker(
        queue=queue,
        name=name,
        llm_adapter=options.llm_adapter(),
        rules=options.rules(),
        requires=options.requires(),
        concurrency=concurrency,
    )
