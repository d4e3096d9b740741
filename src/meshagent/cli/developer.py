"""`meshagent developer`: watch and write the developer log of a room."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from meshagent.cli.command import command
from meshagent.cli.context import RoomTarget, room_session
from meshagent.cli.output import JsonOption, echo, note, print_json_line
from meshagent.cli.room_events import EventQueue, follow
from meshagent.cli.values import parse_object

app = typer.Typer(help="Watch and write the developer log of a room.", no_args_is_help=True)


@command(app, "watch")
async def watch(
    target: RoomTarget,
    types: Annotated[
        list[str] | None, typer.Option("--type", "-t", help="Show only entries of this type; repeatable.")
    ] = None,
    count: Annotated[int | None, typer.Option("--count", "-c", min=1, help="Exit after this many entries.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print log entries as they arrive, until Ctrl+C."""
    async with room_session(target, stay=True) as room:
        entries: EventQueue[tuple[str, Any]] = EventQueue()

        def on_log(type: str, data: Any) -> None:
            if not types or type in types:
                entries.put((type, data))

        room.developer.on("log", on_log)
        await room.developer.enable()
        note(f"watching the log of room {room.room_name}")
        async for kind, data in follow(room, entries, count):
            _print_entry(kind, data, as_json=as_json)


def _print_entry(kind: str, data: Any, *, as_json: bool) -> None:
    now = datetime.now(UTC)
    if as_json:
        print_json_line({"time": now, "type": kind, "data": data})
        return
    echo(f"{now.astimezone():%H:%M:%S.%f}"[:-3] + f" {kind} {json.dumps(data, ensure_ascii=False)}")


@command(app, "log")
async def log(
    target: RoomTarget,
    type: Annotated[str, typer.Argument(metavar="TYPE", help="Type of the entry.")],
    data: Annotated[str, typer.Argument(metavar="DATA", help="A JSON object, @FILE, or -.")] = "{}",
) -> None:
    """Write a log entry."""
    content = parse_object(data, "data")
    async with room_session(target) as room:
        await room.developer.log(type, content)
