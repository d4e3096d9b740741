"""`meshagent project`: manage the projects of a server."""

from __future__ import annotations

from typing import Annotated

import typer

from meshagent.cli.command import command
from meshagent.cli.context import ApiUrl, accounts_client, all_pages
from meshagent.cli.output import JsonOption, echo, note, print_json, print_rows
from meshagent.cli.profile_choice import activate_key, choose

app = typer.Typer(help="Manage projects. Each has its own rooms and API keys.", no_args_is_help=True)


@command(app, "create")
async def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the project.")],
    api_url: ApiUrl = None,
    as_json: JsonOption = False,
) -> None:
    """Create a project, and print its id."""
    async with accounts_client(api_url) as accounts:
        project = await accounts.create_project(name)
    if as_json:
        print_json(project)
    else:
        echo(project["id"])


@command(app, "list", "ls")
async def list_projects(api_url: ApiUrl = None, as_json: JsonOption = False) -> None:
    """List projects, and show which one is active."""
    from meshagent.api.profile import load_profile

    async with accounts_client(api_url) as accounts:
        projects = await all_pages(accounts.list_projects, "projects")
    active = load_profile().project_id
    rows = [{**project, "active": project["id"] == active} for project in projects]
    print_rows(rows, ("name", "id", "active"), as_json=as_json, empty="this server has no projects")


@command(app, "activate")
async def activate(
    project: Annotated[str | None, typer.Argument(metavar="PROJECT", help="Id or name of the project.")] = None,
    interactive: Annotated[bool, typer.Option("--interactive", "-i", help="Choose from a list.")] = False,
    api_url: ApiUrl = None,
) -> None:
    """Make a project the active one, with one of its API keys."""
    async with accounts_client(api_url) as accounts:
        projects = await all_pages(accounts.list_projects, "projects")
        chosen = choose(projects, None if interactive else project, "project")
        profile = await activate_key(accounts, chosen["id"], key=None, api_url=api_url)
    note(f"project {chosen['name']!r} is now active, with API key {profile.key_id}")
