"""`meshagent queue`: send to and receive from the queues of a room."""

from __future__ import annotations

from typing import Annotated

import typer

from meshagent.cli import queue_dead
from meshagent.cli.command import command
from meshagent.cli.context import RoomTarget, room_session
from meshagent.cli.output import CommandError, ExitCode, JsonOption, UsageError, print_json, print_rows
from meshagent.cli.room_events import at_most
from meshagent.cli.values import parse_json_or_text, require_one

app = typer.Typer(help="Send to and receive from the queues of a room.", no_args_is_help=True)
app.add_typer(queue_dead.app, name="dead")

QueueArgument = Annotated[str | None, typer.Argument(metavar="QUEUE", help="Name of the queue.")]
QueueOption = Annotated[str | None, typer.Option("--queue", help="Same as QUEUE.", hidden=True)]
MessageOption = Annotated[
    str | None, typer.Option("--message", "--json", "--data", "-m", help="Same as MESSAGE.", hidden=True)
]


@command(app, "list", "ls")
async def list_queues(target: RoomTarget, as_json: JsonOption = False) -> None:
    """List queues with the number of messages in each."""
    async with room_session(target) as room:
        queues = await room.queues.list()
    rows = [{"name": queue.name, "size": queue.size} for queue in queues]
    print_rows(rows, ("name", "size"), as_json=as_json, empty="this room has no queues")


@command(app, "send")
async def send(
    target: RoomTarget,
    queue: QueueArgument = None,
    message: Annotated[
        str | None,
        typer.Argument(metavar="MESSAGE", help="JSON or text; @FILE reads a file, - standard input."),
    ] = None,
    queue_option: QueueOption = None,
    message_option: MessageOption = None,
    create: Annotated[bool, typer.Option(help="Make the queue if there is none.")] = True,
    delay: Annotated[float, typer.Option(min=0, help="Seconds before anybody can receive it.")] = 0,
    deduplication_id: Annotated[
        str | None, typer.Option(help="A second message with this id within five minutes is dropped.")
    ] = None,
) -> None:
    """Append a message to a queue."""
    name = require_one(queue, queue_option, "QUEUE")
    if queue_option is not None and message is None:  # `send --queue q MESSAGE`: the only argument is the message
        message = queue
        name = queue_option
    content = parse_json_or_text(require_one(message, message_option, "MESSAGE"), "message")
    async with room_session(target) as room:
        await room.queues.send(name, content, create=create, delay=delay, deduplication_id=deduplication_id)


@command(app, "receive")
async def receive(
    target: RoomTarget,
    queue: QueueArgument = None,
    queue_option: QueueOption = None,
    wait: Annotated[bool, typer.Option(help="Wait for a message if the queue is empty.")] = True,
    timeout: Annotated[float | None, typer.Option(min=0, help="Maximum seconds to wait; then exit code 7.")] = None,
    create: Annotated[bool, typer.Option(help="Make the queue if there is none.")] = True,
    lease: Annotated[
        float | None,
        typer.Option(help="Keep the message in the queue, unseen by others for so many seconds, until `queue ack`."),
    ] = None,
    max_attempts: Annotated[
        int | None,
        typer.Option(min=1, help="Move messages that were leased so often to QUEUE.dead. Needs --lease."),
    ] = None,
) -> None:
    """Remove the oldest message and print it as JSON. Exit code 3 if there is none.

    With --lease it prints {"message", "lease", "attempts"}; the message returns to the queue unless `meshagent queue
    ack QUEUE LEASE` comes in time.
    """
    name = require_one(queue, queue_option, "QUEUE")
    if max_attempts is not None and lease is None:
        raise UsageError("--max-attempts needs --lease")
    async with room_session(target) as room, at_most(timeout, "timed out waiting for a message"):
        if lease is None:
            message = await room.queues.receive(name, create=create, wait=wait)
        else:
            leased = await room.queues.receive(name, create=create, wait=wait, lease=lease, max_attempts=max_attempts)
            message = leased and {"message": leased.message, "lease": leased.lease, "attempts": leased.attempts}
    if message is None:
        raise CommandError(f"queue {name!r} is empty", code=ExitCode.NOT_FOUND)
    print_json(message)


LeaseArgument = Annotated[str, typer.Argument(metavar="LEASE", help="The lease, as `queue receive --lease` prints it.")]


@command(app, "ack")
async def ack(
    target: RoomTarget,
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="Name of the queue.")],
    lease: LeaseArgument,
) -> None:
    """Remove a leased message for good. Exit code 3 if the lease has ended."""
    async with room_session(target) as room:
        await room.queues.ack(queue, lease)


@command(app, "release")
async def release(
    target: RoomTarget,
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="Name of the queue.")],
    lease: LeaseArgument,
    delay: Annotated[float, typer.Option(min=0, help="Seconds before anybody can receive it again.")] = 0,
) -> None:
    """Return a leased message to its place in the queue. Exit code 3 if the lease has ended."""
    async with room_session(target) as room:
        await room.queues.release(queue, lease, delay=delay)


@command(app, "extend")
async def extend(
    target: RoomTarget,
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="Name of the queue.")],
    lease: LeaseArgument,
    seconds: Annotated[float, typer.Argument(metavar="SECONDS", help="The lease ends so many seconds from now.")],
) -> None:
    """Make a lease last longer. Exit code 3 if it has ended."""
    async with room_session(target) as room:
        await room.queues.extend(queue, lease, seconds)


@command(app, "drain")
async def drain(target: RoomTarget, queue: QueueArgument = None, queue_option: QueueOption = None) -> None:
    """Delete all messages of a queue."""
    async with room_session(target) as room:
        await room.queues.drain(require_one(queue, queue_option, "QUEUE"))


@command(app, "close")
async def close(target: RoomTarget, queue: QueueArgument = None, queue_option: QueueOption = None) -> None:
    """Delete a queue with its messages."""
    async with room_session(target) as room:
        await room.queues.close(require_one(queue, queue_option, "QUEUE"))
