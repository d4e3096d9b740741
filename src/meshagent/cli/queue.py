"""`meshagent queue`: work for whoever takes it first."""

from __future__ import annotations

from typing import Annotated

import typer

from meshagent.cli.command import command
from meshagent.cli.context import RoomTarget, room_session
from meshagent.cli.feed import at_most
from meshagent.cli.output import CommandError, ExitCode, JsonOption, print_json, print_rows
from meshagent.cli.values import one_of, parse_loose

app = typer.Typer(help="Queues of a room.", no_args_is_help=True)

QueueArgument = Annotated[str | None, typer.Argument(metavar="QUEUE", help="The queue's name.")]
QueueOption = Annotated[str | None, typer.Option("--queue", help="Another spelling of QUEUE.", hidden=True)]
MessageOption = Annotated[
    str | None, typer.Option("--message", "--json", "--data", "-m", help="Another spelling of MESSAGE.", hidden=True)
]


@command(app, "list", "ls")
async def list_queues(target: RoomTarget, as_json: JsonOption = False) -> None:
    """List queues, and how many messages wait in each."""
    async with room_session(target) as room:
        queues = await room.queues.list()
    rows = [{"name": queue.name, "size": queue.size} for queue in queues]
    print_rows(rows, ("name", "size"), as_json=as_json, empty="this room has no queues")


@command(app, "send")
async def send(
    target: RoomTarget,
    queue: QueueArgument = None,
    message: Annotated[
        str | None, typer.Argument(metavar="MESSAGE", help="JSON, or plain text; @FILE, or - for standard input.")
    ] = None,
    queue_option: QueueOption = None,
    message_option: MessageOption = None,
    create: Annotated[bool, typer.Option(help="Make the queue if there is none.")] = True,
) -> None:
    """Append a message."""
    name = one_of(queue, queue_option, "QUEUE")
    if queue_option is not None and message is None:  # `send --queue q MESSAGE`: the only argument is the message
        message = queue
        name = queue_option
    content = parse_loose(one_of(message, message_option, "MESSAGE"), "message")
    async with room_session(target) as room:
        await room.queues.send(name, content, create=create)


@command(app, "receive")
async def receive(
    target: RoomTarget,
    queue: QueueArgument = None,
    queue_option: QueueOption = None,
    wait: Annotated[bool, typer.Option(help="Wait for a message when there is none.")] = True,
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds to wait at most; exit code 7 then.")] = None,
    create: Annotated[bool, typer.Option(help="Make the queue if there is none.")] = True,
) -> None:
    """Take the oldest message and print it as JSON; exit code 3 if there is none."""
    name = one_of(queue, queue_option, "QUEUE")
    async with room_session(target) as room, at_most(timeout, "no message came in time"):
        message = await room.queues.receive(name, create=create, wait=wait)
    if message is None:
        raise CommandError(f"queue {name!r} is empty", code=ExitCode.NOT_FOUND)
    print_json(message)


@command(app, "drain")
async def drain(target: RoomTarget, queue: QueueArgument = None, queue_option: QueueOption = None) -> None:
    """Drop all messages of a queue."""
    async with room_session(target) as room:
        await room.queues.drain(one_of(queue, queue_option, "QUEUE"))


@command(app, "close")
async def close(target: RoomTarget, queue: QueueArgument = None, queue_option: QueueOption = None) -> None:
    """Remove a queue with its messages."""
    async with room_session(target) as room:
        await room.queues.close(one_of(queue, queue_option, "QUEUE"))
