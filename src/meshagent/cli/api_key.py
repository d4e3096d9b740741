"""`meshagent api-key`: the keys that sign a project's tokens."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from meshagent.cli.command import command
from meshagent.cli.context import AccountTarget, accounts_session, all_pages
from meshagent.cli.output import JsonOption, note, print_json, print_rows
from meshagent.cli.profile_choice import choose, keep_key, save_key

app = typer.Typer(help="Keys of a project: they sign tokens.", no_args_is_help=True)

KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="Its id or name.")]


@command(app, "list", "ls")
async def list_keys(target: AccountTarget, as_json: JsonOption = False) -> None:
    """List keys, without their secrets."""
    from meshagent.api.profile import load_profile

    async with accounts_session(target) as (accounts, project_id):
        keys = await all_pages(accounts.list_project_api_keys, "keys", project_id=project_id)
    active = load_profile().key_id
    rows = [{**key, "active": key["id"] == active} for key in keys]
    print_rows(rows, ("name", "id", "description", "active"), as_json=as_json, empty="this project has no keys")


@command(app, "create")
async def create(
    target: AccountTarget,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.")],
    description: Annotated[str, typer.Argument(metavar="DESCRIPTION", help="What it is for.")] = "",
    activate_it: Annotated[bool, typer.Option("--activate", help="Use it from now on.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a key, and print it with its secret."""
    async with accounts_session(target) as (accounts, project_id):
        key = await accounts.create_project_api_key(project_id, name, description)
    if activate_it:
        save_key(project_id, key["id"], key["token"], target.api_url)
    _print_key(key, as_json=as_json)


@command(app, "show")
async def show(target: AccountTarget, key: KeyArgument, as_json: JsonOption = False) -> None:
    """Print a key with its secret."""
    async with accounts_session(target) as (accounts, project_id):
        keys = await all_pages(accounts.list_project_api_keys, "keys", project_id=project_id)
        found = choose(keys, key, "key")
        secret = await accounts.decrypt_project_api_key(project_id, found["id"])
    _print_key({**found, **secret}, as_json=as_json)


@command(app, "delete", "rm")
async def delete(target: AccountTarget, key: KeyArgument) -> None:
    """Revoke a key; who came in with it is disconnected."""
    async with accounts_session(target) as (accounts, project_id):
        keys = await all_pages(accounts.list_project_api_keys, "keys", project_id=project_id)
        await accounts.delete_project_api_key(project_id, choose(keys, key, "key")["id"])


@command(app, "activate")
async def activate(
    target: AccountTarget,
    key: Annotated[str | None, typer.Argument(metavar="KEY", help="Its id or name.")] = None,
    interactive: Annotated[bool, typer.Option("--interactive", "-i", help="Choose from a list.")] = False,
) -> None:
    """Use a key from now on: keep it in the profile."""
    async with accounts_session(target) as (accounts, project_id):
        wanted = None if interactive else key
        profile = await keep_key(accounts, project_id, key=wanted, api_url=target.api_url, ask=True)
    note(f"key {profile.key_id} of project {profile.project_id} is active")


def _print_key(key: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(key)
        return
    lines = {"id": key["id"], "secret": key["token"], "MESHAGENT_API_KEY": key.get("api_key")}
    for label, value in lines.items():
        if value is not None:
            typer.echo(f"{label}\t{value}")
