"""`meshagent messaging`: list participants, and send and watch messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshagent.cli.command import command
from meshagent.cli.context import RoomTarget, room_session
from meshagent.cli.output import CommandError, ExitCode, JsonOption, note, print_json_line, print_rows
from meshagent.cli.room_events import EventQueue, follow
from meshagent.cli.values import parse_json_or_text, require_one

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient
    from meshagent.api.room.messaging import RoomMessage
    from meshagent.api.room.participants import RemoteParticipant

app = typer.Typer(help="List participants, and send and watch messages.", no_args_is_help=True)

NOBODY = "no other participant in this room has messaging enabled"

MessageArgument = Annotated[
    str | None,
    typer.Argument(metavar="MESSAGE", help="JSON or text; @FILE reads a file, - reads standard input."),
]
DataOption = Annotated[str | None, typer.Option("--data", "--message", help="Same as MESSAGE.", hidden=True)]
TypeOption = Annotated[
    str | None, typer.Option("--type", "-t", help="Message type. Default: text or json, by content.")
]


@command(app, "list-participants", "list", "ls")
async def list_participants(target: RoomTarget, as_json: JsonOption = False) -> None:
    """List the participants that have messaging enabled."""
    async with room_session(target) as room:
        await room.messaging.enable()
        rows = [
            {"id": other.id, "name": _name(other), "role": other.role, "attributes": other._attributes}
            for other in room.messaging.remote_participants
        ]
    print_rows(rows, ("name", "role", "id"), as_json=as_json, empty=NOBODY)


@command(app, "send")
async def send(
    target: RoomTarget,
    message: MessageArgument = None,
    to: Annotated[
        str | None, typer.Option("--to", "--to-participant-id", help="Receiver: name or id of a participant.")
    ] = None,
    message_type: TypeOption = None,
    data: DataOption = None,
) -> None:
    """Send a message to a participant."""
    content = _content(message, data)
    receiver = require_one(to, None, "--to")
    async with room_session(target) as room:
        await room.messaging.enable()
        found = find_participant(room, receiver)
        await room.messaging.send(content, to=found, type=message_type)


@command(app, "broadcast")
async def broadcast(
    target: RoomTarget, message: MessageArgument = None, message_type: TypeOption = None, data: DataOption = None
) -> None:
    """Send a message to all participants that have messaging enabled."""
    content = _content(message, data)
    async with room_session(target) as room:
        await room.messaging.send(content, type=message_type)


@command(app, "watch", "listen")
async def watch(
    target: RoomTarget,
    count: Annotated[int | None, typer.Option("--count", "-c", min=1, help="Exit after this many messages.")] = None,
) -> None:
    """Print messages to this participant as they arrive, as one JSON object per line."""
    async with room_session(target, stay=True) as room:
        messages: EventQueue[RoomMessage] = EventQueue()
        room.messaging.on("message", messages.put)
        await room.messaging.enable()
        note(f"listening in room {room.room_name} as {room.local_participant.id}")
        async for message in follow(room, messages, count):
            print_json_line(_message_json(message))


def find_participant(room: RoomClient, wanted: str) -> RemoteParticipant:
    """Return the participant with that id, or else that name; CommandError if there is none or several."""
    others = room.messaging.remote_participants
    found = [other for other in others if other.id == wanted] or [other for other in others if _name(other) == wanted]
    if not found:
        names = ", ".join(sorted({str(_name(other)) for other in others}))
        raise CommandError(
            f"participant {wanted!r} is not in the room, or has not enabled messaging",
            code=ExitCode.NOT_FOUND,
            hint=f"available: {names}" if names else NOBODY,
        )
    if len(found) > 1:
        ids = ", ".join(other.id for other in found)
        raise CommandError(f"{len(found)} participants are named {wanted!r}: use an id ({ids})")
    return found[0]


def _message_json(message: RoomMessage) -> dict[str, Any]:
    described = {"from": message.from_participant_id, "type": message.type, "message": message.message}
    if message.attachment:
        described["attachment_bytes"] = len(message.attachment)
    return described


def _content(message: str | None, data: str | None) -> str | dict[str, Any]:
    value = parse_json_or_text(require_one(message, data, "MESSAGE"), "message")
    return value if isinstance(value, str | dict) else {"value": value}


def _name(participant: RemoteParticipant) -> Any:
    return participant.get_attribute("name")
