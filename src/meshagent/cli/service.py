"""`meshagent service`: manage the external services of a project, and run one during development."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshagent.cli.command import command
from meshagent.cli.context import AccountTarget, RoomTarget, accounts_session, room_session
from meshagent.cli.output import CommandError, JsonOption, UsageError, echo, note, print_json, print_rows
from meshagent.cli.profile_choice import choose
from meshagent.cli.values import parse_pairs, parse_yaml

if TYPE_CHECKING:
    from meshagent.api.accounts.client import AccountsClient
    from meshagent.api.accounts.services import Service

app = typer.Typer(help="Manage the external services that a project invites into its rooms.", no_args_is_help=True)

ServiceArgument = Annotated[str, typer.Argument(metavar="SERVICE", help="Id or name of the service.")]
FileOption = Annotated[
    Path, typer.Option("--file", "-f", help="YAML file with `kind: Service` or `kind: ServiceTemplate`.")
]
Values = Annotated[
    list[str] | None, typer.Option("--value", "-v", help="Variable of a template, NAME=VALUE; repeatable.")
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
    """Create a service from a file, and print its id."""
    service = read_service(file, parse_pairs(values or [], "value"))
    async with accounts_session(target) as (accounts, project_id):
        echo((await accounts.create_service(project_id=project_id, service=service))["id"])


@command(app, "update")
async def update(target: AccountTarget, service: ServiceArgument, file: FileOption, values: Values = None) -> None:
    """Update a service from a file."""
    changed = read_service(file, parse_pairs(values or [], "value"))
    body = changed.model_dump(mode="json", exclude_none=True, exclude={"id", "created_at"})
    async with accounts_session(target) as (accounts, project_id):
        service_id = await _id(accounts, project_id, service)
        await accounts.update_service(project_id=project_id, service_id=service_id, service=body)


@command(app, "delete", "rm")
async def delete(target: AccountTarget, service: ServiceArgument) -> None:
    """Delete a service."""
    async with accounts_session(target) as (accounts, project_id):
        await accounts.delete_service(project_id=project_id, service_id=await _id(accounts, project_id, service))


@command(app, "test")
async def try_service(target: RoomTarget, file: FileOption, values: Values = None) -> None:
    """Invite the service in a file into a room without adding it to the project, until Ctrl+C."""
    from meshagent.cli.call import invite
    from meshagent.cli.service_invitations import invitations

    calls = invitations(read_service(file, parse_pairs(values or [], "value")))
    async with room_session(target, stay=True) as room:
        for call in calls:
            await invite(target, url=call.url, name=call.name, role=call.role)
            note(f"invited {call.url} into room {room.room_name} as {call.name}")
        await room.wait_for_close()


@command(app, "run")
async def run(
    target: RoomTarget,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Python program that runs a ServiceHost.")],
    participant_name: Annotated[
        str | None, typer.Option(help="Name under which the service joins. Default: the name of each path.")
    ] = None,
    port: Annotated[int, typer.Option(help="MESHAGENT_PORT for the program; 0 chooses a free port.")] = 0,
    reload: Annotated[bool, typer.Option(help="Restart when a Python file in its folder changes.")] = True,
) -> None:
    """Start a program, and invite each path of its ServiceHost into the room. Restarts on changes."""
    from meshagent.cli.service_run import ServiceRun

    if not file.is_file():
        raise UsageError(f"no such file: {file}")
    await ServiceRun(target, file, participant_name=participant_name, port=port, reload=reload).run()


def read_service(path: Path, values: dict[str, str]) -> Service:
    """Read a service from a file; `values` are the variables of a template.

    Raises:
        UsageError: The file does not describe a service, or a variable is missing.
    """
    from pydantic import ValidationError

    from meshagent.api.specs.service import ServiceSpec, ServiceTemplateSpec

    content = parse_yaml(path, "service file")
    try:
        if content.get("kind") == "ServiceTemplate":
            return ServiceTemplateSpec.model_validate(content).to_service_spec(values=values).to_service()
        return ServiceSpec.model_validate(content).to_service()
    except KeyError as error:
        raise UsageError(f"missing variable of the template: use --value {error.args[0]}=…") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(f"{path} is not a valid service: {f'{place}: ' if place else ''}{first['msg']}") from None
    except ValueError as error:
        raise CommandError(f"{path} is not a valid service: {error}") from None


async def _id(accounts: AccountsClient, project_id: str, wanted: str) -> str:
    services = await accounts.list_services(project_id=project_id, limit=1000)
    entries: list[dict[str, Any]] = [{"id": service.id, "name": service.name} for service in services]
    return str(choose(entries, wanted, "service")["id"])
