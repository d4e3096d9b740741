"""`meshagent queue dead`: messages that were leased too often, in the queues QUEUE.dead (protocol 10.5)."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from meshagent.cli.command import command
from meshagent.cli.context import RoomTarget, room_session
from meshagent.cli.output import JsonOption, echo, print_rows

app = typer.Typer(help="Messages that were received too often without being finished.", no_args_is_help=True)

SUFFIX: Final = ".dead"
RETRY_LEASE: Final = 60.0
"""Seconds in which a message must be back in its queue before it is seen in the dead-letter queue again."""


@command(app, "list", "ls")
async def list_dead(
    target: RoomTarget,
    queue: Annotated[str | None, typer.Argument(metavar="QUEUE", help="Only this queue. Default: all.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List queues that have dead messages, with their number. `queue receive QUEUE.dead` takes one out."""
    async with room_session(target) as room:
        queues = await room.queues.list()
    rows = [
        {"queue": found.name.removesuffix(SUFFIX), "dead": found.size}
        for found in queues
        if found.name.endswith(SUFFIX) and found.size and queue in (None, found.name.removesuffix(SUFFIX))
    ]
    print_rows(rows, ("queue", "dead"), as_json=as_json, empty="there are no dead messages")


@command(app, "retry")
async def retry(
    target: RoomTarget,
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="The queue that the messages came from.")],
    count: Annotated[int | None, typer.Option(min=1, help="At most so many. Default: all there are.")] = None,
) -> None:
    """Return dead messages to the end of their queue, oldest first, with no attempts counted."""
    retried = 0
    async with room_session(target) as room:
        there = sum(found.size for found in await room.queues.list() if found.name == queue + SUFFIX)
        most = there if count is None else min(count, there)  # those that die meanwhile stay dead
        while retried < most:
            leased = await room.queues.receive(queue + SUFFIX, create=False, wait=False, lease=RETRY_LEASE)
            if leased is None:
                break
            await room.queues.send(queue, leased.message)
            await leased.ack()  # last: if this command is killed in between, the message is there twice and not lost
            retried += 1
    echo(f"{retried} {'message' if retried == 1 else 'messages'} returned to {queue}")
