"""`meshagent developer`: the log of a room."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from meshagent.cli.command import command
from meshagent.cli.context import RoomTarget, room_session
from meshagent.cli.feed import Feed, follow
from meshagent.cli.output import JsonOption, note, print_json_line
from meshagent.cli.values import parse_object

app = typer.Typer(help="The log of a room: what participants, agents and the server report.", no_args_is_help=True)


@command(app, "watch")
async def watch(
    target: RoomTarget,
    types: Annotated[
        list[str] | None, typer.Option("--type", "-t", help="Only entries of this type; may be repeated.")
    ] = None,
    count: Annotated[int | None, typer.Option("--count", "-c", min=1, help="Stop after so many entries.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print entries as they come, until Ctrl+C."""
    async with room_session(target, stay=True) as room:
        entries: Feed[tuple[str, Any]] = Feed()

        def keep(type: str, data: Any) -> None:
            if not types or type in types:
                entries.put((type, data))

        room.developer.on("log", keep)
        await room.developer.enable()
        note(f"watching the log of {room.room_name}")
        async for kind, data in follow(room, entries, count):
            _print_entry(kind, data, as_json=as_json)


def _print_entry(kind: str, data: Any, *, as_json: bool) -> None:
    now = datetime.now(UTC)
    if as_json:
        print_json_line({"time": now, "type": kind, "data": data})
        return
    typer.echo(f"{now.astimezone():%H:%M:%S.%f}"[:-3] + f" {kind} {json.dumps(data, ensure_ascii=False)}")


@command(app, "log")
async def log(
    target: RoomTarget,
    type: Annotated[str, typer.Argument(metavar="TYPE", help="What kind of entry.")],
    data: Annotated[str, typer.Argument(metavar="DATA", help="A JSON object, @FILE, or -.")] = "{}",
) -> None:
    """Write an entry."""
    content = parse_object(data, "data")
    async with room_session(target) as room:
        await room.developer.log(type, content)
