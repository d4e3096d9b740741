"""`meshagent agents`: ask agents and call tools."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshagent.cli.command import command
from meshagent.cli.context import RoomTarget, room_session
from meshagent.cli.output import CommandError, ExitCode, JsonOption, echo, print_json, print_rows
from meshagent.cli.room_events import at_most
from meshagent.cli.values import parse_object, parse_pairs

if TYPE_CHECKING:
    from meshagent.api.contracts.content import Body
    from meshagent.api.room.client import RoomClient
    from meshagent.api.room.participants import RemoteParticipant

app = typer.Typer(help="Ask agents and call tools in a room.", no_args_is_help=True)

Timeout = Annotated[float | None, typer.Option(min=0, help="Maximum seconds to wait; then exit code 7.")]
Participant = Annotated[
    str | None, typer.Option("--participant-id", help="Participant whose private toolkits to use: name or id.")
]


@command(app, "list-agents", "list")
async def list_agents(target: RoomTarget, as_json: JsonOption = False) -> None:
    """List the agents that accept requests."""
    async with room_session(target) as room:
        agents = await room.agents.list_agents()
    rows = [agent.to_json() for agent in agents]
    print_rows(rows, ("name", "title", "description"), as_json=as_json, empty="no agent in this room accepts requests")


@command(app, "list-toolkits", "toolkits")
async def list_toolkits(target: RoomTarget, participant_id: Participant = None, as_json: JsonOption = False) -> None:
    """List toolkits and their tools."""
    async with room_session(target) as room:
        toolkits = await room.agents.list_toolkits(await _participant_id(room, participant_id))
    if as_json:
        print_json([toolkit.to_json() for toolkit in toolkits])
        return
    rows = [
        {"toolkit": toolkit.name, "tool": tool.name, "description": tool.description or tool.title}
        for toolkit in toolkits
        for tool in toolkit.tools
    ]
    print_rows(rows, ("toolkit", "tool", "description"), as_json=False, empty="this room has no toolkits")


@command(app, "ask")
async def ask(
    target: RoomTarget,
    agent: Annotated[str, typer.Option(help="Name of the agent.")],
    arguments: Annotated[
        str, typer.Option("--input", "--arguments", help="Arguments: a JSON object, @FILE, or -.")
    ] = "{}",
    on_behalf_of: Annotated[
        str | None, typer.Option(help="Participant whose toolkits the agent uses: name or id.")
    ] = None,
    timeout: Timeout = None,
) -> None:
    """Send a request to an agent, and print its answer as JSON."""
    request = parse_object(arguments, "input")
    async with room_session(target) as room:
        person = None
        if on_behalf_of is not None:
            person = await _participant(room, on_behalf_of)
        async with at_most(timeout, "timed out waiting for an answer"):
            answer = await room.agents.ask(agent=agent, arguments=request, on_behalf_of=person)
    print_json(answer.json)


@command(app, "invoke-tool", "invoke")
async def invoke_tool(
    target: RoomTarget,
    toolkit: Annotated[str, typer.Option(help="Name of the toolkit.")],
    tool: Annotated[str, typer.Option(help="Name of the tool.")],
    arguments: Annotated[str, typer.Option(help="Arguments: a JSON object, @FILE, or -.")] = "{}",
    argument: Annotated[list[str] | None, typer.Option("--arg", help="One argument, NAME=TEXT; repeatable.")] = None,
    participant_id: Participant = None,
    on_behalf_of_id: Annotated[str | None, typer.Option(help="Participant the call is made for: name or id.")] = None,
    caller_context: Annotated[str | None, typer.Option(help="JSON object passed to the tool unchanged.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write a returned file here.")] = None,
    timeout: Timeout = None,
) -> None:
    """Call a tool, and print the result: text as is, anything else as JSON."""
    values: dict[str, Any] = parse_object(arguments, "arguments") | parse_pairs(argument or [], "argument")
    context = None if caller_context is None else parse_object(caller_context, "caller context")
    async with room_session(target) as room:
        owner = await _participant_id(room, participant_id)
        behalf = await _participant_id(room, on_behalf_of_id)
        async with at_most(timeout, "timed out waiting for an answer"):
            answer = await room.agents.invoke_tool(
                toolkit=toolkit,
                tool=tool,
                arguments=values,
                participant_id=owner,
                on_behalf_of_id=behalf,
                caller_context=context,
            )
    _print_answer(answer, output)


async def _participant_id(room: RoomClient, wanted: str | None) -> str | None:
    """Return a participant's id for a name or id.

    Unknown values are returned unchanged: they may be ids of participants that have not enabled messaging.
    """
    if wanted is None:
        return None
    try:
        return (await _participant(room, wanted)).id
    except CommandError as error:
        if error.code is not ExitCode.NOT_FOUND:
            raise
        return wanted


async def _participant(room: RoomClient, wanted: str) -> RemoteParticipant:
    from meshagent.cli.messaging import find_participant

    await room.messaging.enable()
    return find_participant(room, wanted)


def _print_answer(answer: Body, output: Path | None) -> None:
    match answer.type:
        case "file":
            _write_file(answer, output)
        case "text":
            echo(answer.to_json()["text"])
        case "json":
            print_json(answer.to_json()["json"])
        case "empty":
            pass
        case _:
            print_json(answer.to_json())


def _write_file(answer: Body, output: Path | None) -> None:
    data = answer.get_data() or b""
    if output is not None:
        output.write_bytes(data)
    elif sys.stdout.isatty():
        name = answer.to_json().get("name")
        raise CommandError(f"the tool returned a file: {name!r} ({len(data)} bytes)", hint="save it with -o FILE")
    else:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
