"""`meshagent service`: programs that a project runs or calls in its rooms, and running one while it is written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshagent.cli.command import command
from meshagent.cli.context import AccountTarget, RoomTarget, accounts_session, room_session
from meshagent.cli.output import CommandError, JsonOption, UsageError, note, print_json, print_rows
from meshagent.cli.profile_choice import choose
from meshagent.cli.values import parse_pairs, parse_yaml

if TYPE_CHECKING:
    from meshagent.api.accounts.client import AccountsClient
    from meshagent.api.accounts.services import Service

app = typer.Typer(help="Programs that a project calls into its rooms.", no_args_is_help=True)

ServiceArgument = Annotated[str, typer.Argument(metavar="SERVICE", help="Its id or name.")]
FileOption = Annotated[
    Path, typer.Option("--file", "-f", help="YAML file: `kind: Service` or `kind: ServiceTemplate`.")
]
Values = Annotated[
    list[str] | None, typer.Option("--value", "-v", help="NAME=VALUE for a template's variable; may be repeated.")
]


@command(app, "list", "ls")
async def list_services(target: AccountTarget, as_json: JsonOption = False) -> None:
    """List services."""
    async with accounts_session(target) as (accounts, project_id):
        services = await accounts.list_services(project_id=project_id, limit=1000)
    rows = [service.model_dump(mode="json", exclude_none=True) for service in services]
    print_rows(rows, ("name", "id", "url", "image", "role"), as_json=as_json, empty="this project has no services")


@command(app, "show")
async def show(target: AccountTarget, service: ServiceArgument) -> None:
    """Print a service as JSON."""
    async with accounts_session(target) as (accounts, project_id):
        found = await accounts.get_service(project_id=project_id, service_id=await _id(accounts, project_id, service))
    print_json(found.model_dump(mode="json", exclude_none=True))


@command(app, "create")
async def create(target: AccountTarget, file: FileOption, values: Values = None) -> None:
    """Make a service from a file, and print its id."""
    service = read_service(file, parse_pairs(values or [], "value"))
    async with accounts_session(target) as (accounts, project_id):
        typer.echo((await accounts.create_service(project_id=project_id, service=service))["id"])


@command(app, "update")
async def update(target: AccountTarget, service: ServiceArgument, file: FileOption, values: Values = None) -> None:
    """Give a service the values of a file."""
    changed = read_service(file, parse_pairs(values or [], "value"))
    body = changed.model_dump(mode="json", exclude_none=True, exclude={"id", "created_at"})
    async with accounts_session(target) as (accounts, project_id):
        service_id = await _id(accounts, project_id, service)
        await accounts.update_service(project_id=project_id, service_id=service_id, service=body)


@command(app, "delete", "rm")
async def delete(target: AccountTarget, service: ServiceArgument) -> None:
    """Remove a service."""
    async with accounts_session(target) as (accounts, project_id):
        await accounts.delete_service(project_id=project_id, service_id=await _id(accounts, project_id, service))


@command(app, "test")
async def try_out(target: RoomTarget, file: FileOption, values: Values = None) -> None:
    """Call the service of a file into a room, without making it one of the project's, until Ctrl+C."""
    from meshagent.cli.call import invite
    from meshagent.cli.service_trial import invitations

    calls = invitations(read_service(file, parse_pairs(values or [], "value")))
    async with room_session(target, stay=True) as room:
        for call in calls:
            await invite(target, url=call.url, name=call.name, role=call.role)
            note(f"{call.url} was called into {room.room_name} as {call.name}")
        await room.wait_for_close()


@command(app, "run")
async def run(
    target: RoomTarget,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A Python program that runs a ServiceHost.")],
    participant_name: Annotated[
        str | None, typer.Option(help="The name under which each path joins; by default the path's.")
    ] = None,
    port: Annotated[int, typer.Option(help="What MESHAGENT_PORT says to the program; 0 takes a free one.")] = 0,
    reload: Annotated[bool, typer.Option(help="Start again when a Python file beside it changes.")] = True,
) -> None:
    """Start a program, wait until it listens, and call each of its paths into the room; again on every change."""
    from meshagent.cli.service_run import ServiceRun

    if not file.is_file():
        raise UsageError(f"there is no file {file}")
    await ServiceRun(target, file, participant_name=participant_name, port=port, reload=reload).run()


def read_service(path: Path, values: dict[str, str]) -> Service:
    """The service of a file; `values` fill in a template.

    Raises:
        UsageError: The file is no service, or a value is missing.
    """
    from pydantic import ValidationError

    from meshagent.api.specs.service import ServiceSpec, ServiceTemplateSpec

    content = parse_yaml(path, "service file")
    try:
        if content.get("kind") == "ServiceTemplate":
            return ServiceTemplateSpec.model_validate(content).to_service_spec(values=values).to_service()
        return ServiceSpec.model_validate(content).to_service()
    except KeyError as error:
        raise UsageError(f"the template needs a value: --value {error.args[0]}=…") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(f"{path} is no service: {f'{place}: ' if place else ''}{first['msg']}") from None
    except ValueError as error:
        raise CommandError(f"{path} is no service: {error}") from None


async def _id(accounts: AccountsClient, project_id: str, wanted: str) -> str:
    services = await accounts.list_services(project_id=project_id, limit=1000)
    entries: list[dict[str, Any]] = [{"id": service.id, "name": service.name} for service in services]
    return str(choose(entries, wanted, "service")["id"])
