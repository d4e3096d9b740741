"""`meshagent project`: the projects of a server."""

from __future__ import annotations

from typing import Annotated

import typer

from meshagent.cli.command import command
from meshagent.cli.context import ApiUrl, accounts_client, all_pages
from meshagent.cli.output import JsonOption, note, print_json, print_rows
from meshagent.cli.profile_choice import choose, keep_key

app = typer.Typer(help="Projects: each has its own rooms and keys.", no_args_is_help=True)


@command(app, "create")
async def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.")],
    api_url: ApiUrl = None,
    as_json: JsonOption = False,
) -> None:
    """Make a project, and print its id."""
    async with accounts_client(api_url) as accounts:
        project = await accounts.create_project(name)
    if as_json:
        print_json(project)
    else:
        typer.echo(project["id"])


@command(app, "list", "ls")
async def list_projects(api_url: ApiUrl = None, as_json: JsonOption = False) -> None:
    """List projects; the active one is that of the key at hand."""
    from meshagent.api.profile import load_profile

    async with accounts_client(api_url) as accounts:
        projects = await all_pages(accounts.list_projects, "projects")
    active = load_profile().project_id
    rows = [{**project, "active": project["id"] == active} for project in projects]
    print_rows(rows, ("name", "id", "active"), as_json=as_json, empty="there are no projects")


@command(app, "activate")
async def activate(
    project: Annotated[str | None, typer.Argument(metavar="PROJECT", help="Its id or name.")] = None,
    interactive: Annotated[bool, typer.Option("--interactive", "-i", help="Choose from a list.")] = False,
    api_url: ApiUrl = None,
) -> None:
    """Use a project from now on, with one of its keys."""
    async with accounts_client(api_url) as accounts:
        projects = await all_pages(accounts.list_projects, "projects")
        chosen = choose(projects, None if interactive else project, "project")
        profile = await keep_key(accounts, chosen["id"], key=None, api_url=api_url)
    note(f"project {chosen['name']!r} is active, with key {profile.key_id}")
