"""`meshagent messaging`: who is in a room, and messages to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshagent.cli.command import command
from meshagent.cli.context import RoomTarget, room_session
from meshagent.cli.feed import Feed, follow
from meshagent.cli.output import CommandError, ExitCode, JsonOption, note, print_json_line, print_rows
from meshagent.cli.values import one_of, parse_loose

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient
    from meshagent.api.room.messaging import RoomMessage
    from meshagent.api.room.participants import RemoteParticipant

app = typer.Typer(help="Participants of a room, and messages to them.", no_args_is_help=True)

MessageArgument = Annotated[
    str | None, typer.Argument(metavar="MESSAGE", help="JSON, or plain text; @FILE for a file, - for standard input.")
]
DataOption = Annotated[
    str | None, typer.Option("--data", "--message", help="Another spelling of MESSAGE.", hidden=True)
]
TypeOption = Annotated[
    str | None, typer.Option("--type", "-t", help="The message's type; by default text or json, as it is.")
]


@command(app, "list-participants", "list", "ls")
async def list_participants(target: RoomTarget, as_json: JsonOption = False) -> None:
    """List those in the room who take messages."""
    async with room_session(target) as room:
        await room.messaging.enable()
        rows = [
            {"id": other.id, "name": _name(other), "role": other.role, "attributes": other._attributes}
            for other in room.messaging.remote_participants
        ]
    print_rows(rows, ("name", "role", "id"), as_json=as_json, empty="nobody else takes messages in this room")


@command(app, "send")
async def send(
    target: RoomTarget,
    message: MessageArgument = None,
    to: Annotated[
        str | None, typer.Option("--to", "--to-participant-id", help="To whom: a name, or a participant's id.")
    ] = None,
    message_type: TypeOption = None,
    data: DataOption = None,
) -> None:
    """Send a message to a participant."""
    content = _content(message, data)
    addressee = one_of(to, None, "--to")
    async with room_session(target) as room:
        await room.messaging.enable()
        found = find_participant(room, addressee)
        await room.messaging.send(content, to=found, type=message_type)


@command(app, "broadcast")
async def broadcast(
    target: RoomTarget, message: MessageArgument = None, message_type: TypeOption = None, data: DataOption = None
) -> None:
    """Send a message to everybody in the room who takes messages."""
    content = _content(message, data)
    async with room_session(target) as room:
        await room.messaging.send(content, type=message_type)


@command(app, "watch", "listen")
async def watch(
    target: RoomTarget,
    count: Annotated[int | None, typer.Option("--count", "-c", min=1, help="Stop after so many messages.")] = None,
) -> None:
    """Print messages to this participant as they come, one JSON object a line."""
    async with room_session(target, stay=True) as room:
        messages: Feed[RoomMessage] = Feed()
        room.messaging.on("message", messages.put)
        await room.messaging.enable()
        note(f"listening in {room.room_name} as {room.local_participant.id}")
        async for message in follow(room, messages, count):
            print_json_line(_described(message))


def find_participant(room: RoomClient, wanted: str) -> RemoteParticipant:
    """The participant with that id, else the one with that name; CommandError where there is none or several."""
    others = room.messaging.remote_participants
    found = [other for other in others if other.id == wanted] or [other for other in others if _name(other) == wanted]
    if not found:
        names = ", ".join(sorted({str(_name(other)) for other in others}))
        raise CommandError(
            f"{wanted!r} is not in the room, or takes no messages",
            code=ExitCode.NOT_FOUND,
            hint=f"there are: {names}" if names else "nobody else takes messages in this room",
        )
    if len(found) > 1:
        ids = ", ".join(other.id for other in found)
        raise CommandError(f"{len(found)} participants are called {wanted!r}: give one's id ({ids})")
    return found[0]


def _described(message: RoomMessage) -> dict[str, Any]:
    described = {"from": message.from_participant_id, "type": message.type, "message": message.message}
    if message.attachment:
        described["attachment_bytes"] = len(message.attachment)
    return described


def _content(message: str | None, data: str | None) -> str | dict[str, Any]:
    value = parse_loose(one_of(message, data, "MESSAGE"), "message")
    return value if isinstance(value, str | dict) else {"value": value}


def _name(participant: RemoteParticipant) -> Any:
    return participant.get_attribute("name")
