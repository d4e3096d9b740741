"""`meshagent api-key`: manage the API keys of a project."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from meshagent.cli.command import command
from meshagent.cli.context import AccountTarget, accounts_session, all_pages
from meshagent.cli.output import JsonOption, echo, note, print_json, print_rows
from meshagent.cli.profile_choice import activate_key, choose, save_key

app = typer.Typer(help="Manage a project's API keys, which sign tokens.", no_args_is_help=True)

KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="Id or name of the key.")]


@command(app, "list", "ls")
async def list_keys(target: AccountTarget, as_json: JsonOption = False) -> None:
    """List API keys without their secrets."""
    from meshagent.api.profile import load_profile

    async with accounts_session(target) as (accounts, project_id):
        keys = await all_pages(accounts.list_project_api_keys, "keys", project_id=project_id)
    active = load_profile().key_id
    rows = [{**key, "active": key["id"] == active} for key in keys]
    print_rows(rows, ("name", "id", "description", "active"), as_json=as_json, empty="this project has no API keys")


@command(app, "create")
async def create(
    target: AccountTarget,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the key.")],
    description: Annotated[str, typer.Argument(metavar="DESCRIPTION", help="Description of the key.")] = "",
    activate_it: Annotated[bool, typer.Option("--activate", help="Make it the active key.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Create an API key, and print it with its secret."""
    async with accounts_session(target) as (accounts, project_id):
        key = await accounts.create_project_api_key(project_id, name, description)
    if activate_it:
        save_key(project_id, key["id"], key["token"], target.api_url)
    _print_key(key, as_json=as_json)


@command(app, "show")
async def show(target: AccountTarget, key: KeyArgument, as_json: JsonOption = False) -> None:
    """Print an API key with its secret."""
    async with accounts_session(target) as (accounts, project_id):
        keys = await all_pages(accounts.list_project_api_keys, "keys", project_id=project_id)
        found = choose(keys, key, "key")
        secret = await accounts.decrypt_project_api_key(project_id, found["id"])
    _print_key({**found, **secret}, as_json=as_json)


@command(app, "delete", "rm")
async def delete(target: AccountTarget, key: KeyArgument) -> None:
    """Delete an API key, and disconnect participants whose tokens it signed."""
    async with accounts_session(target) as (accounts, project_id):
        keys = await all_pages(accounts.list_project_api_keys, "keys", project_id=project_id)
        await accounts.delete_project_api_key(project_id, choose(keys, key, "key")["id"])


@command(app, "activate")
async def activate(
    target: AccountTarget,
    key: Annotated[str | None, typer.Argument(metavar="KEY", help="Id or name of the key.")] = None,
    interactive: Annotated[bool, typer.Option("--interactive", "-i", help="Choose from a list.")] = False,
) -> None:
    """Make an API key the active one by saving it in the profile."""
    async with accounts_session(target) as (accounts, project_id):
        wanted = None if interactive else key
        profile = await activate_key(accounts, project_id, key=wanted, api_url=target.api_url, ask=True)
    note(f"API key {profile.key_id} of project {profile.project_id} is now active")


def _print_key(key: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(key)
        return
    lines = {"id": key["id"], "secret": key["token"], "MESHAGENT_API_KEY": key.get("api_key")}
    for label, value in lines.items():
        if value is not None:
            echo(f"{label}\t{value}")
