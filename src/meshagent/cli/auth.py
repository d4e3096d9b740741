"""`meshagent auth`: log in to a server's REST API, and show the current credentials."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import typer

from meshagent.cli.command import command
from meshagent.cli.context import ApiUrl, accounts_client, all_pages
from meshagent.cli.output import CommandError, ExitCode, JsonOption, exit_code_of, note, print_json, print_rows
from meshagent.cli.values import read_text

app = typer.Typer(help="Log in to a server's REST API with a token. Needs no browser.", no_args_is_help=True)


@command(app, "login")
async def login(
    token: Annotated[
        str | None,
        typer.Option(help="Administrator's or user's token; - reads standard input. Prompts if omitted."),
    ] = None,
    api_url: ApiUrl = None,
) -> None:
    """Check a token for the server's REST API, and save it in the profile."""
    from meshagent.api.helpers import meshagent_base_url
    from meshagent.api.profile import load_profile, save_profile

    given = token if token is not None else typer.prompt("Token", hide_input=True)
    secret = read_text(given, "token").strip()
    url = meshagent_base_url(api_url)
    async with accounts_client(url, secret) as accounts:
        identity = await accounts.whoami()
        projects = await all_pages(accounts.list_projects, "projects")
    profile = load_profile()
    if profile.api_url not in (None, url):  # the saved key belongs to another server
        profile = replace(profile, project_id=None, key_id=None, secret=None)
    project_id = profile.project_id or (projects[0]["id"] if len(projects) == 1 else None)
    path = save_profile(replace(profile, api_url=url, admin_token=secret, project_id=project_id))
    note(f"logged in to {url} as {identity['name'] or identity['kind']}; saved in {path}")
    if profile.secret is None:
        note("run `meshagent setup` to choose a project and an API key for joining rooms")


@command(app, "logout")
def logout() -> None:
    """Remove the token and the API key from the profile."""
    from meshagent.api.profile import load_profile, save_profile

    profile = load_profile()
    if profile.admin_token is None and profile.secret is None:
        note("nothing to remove")
        return
    path = save_profile(replace(profile, admin_token=None, secret=None, key_id=None, project_id=None))
    note(f"removed the token and the API key; the server's URL stays in {path}")


@command(app, "whoami")
async def whoami(api_url: ApiUrl = None, as_json: JsonOption = False) -> None:
    """Show the server, project and API key in use, and the REST API identity."""
    facts = await _facts(api_url)
    if as_json:
        print_json(facts)
        return
    print_rows(
        [{"setting": name, "value": value} for name, value in facts.items()], ("setting", "value"), as_json=False
    )


async def _facts(api_url: str | None) -> dict[str, Any]:
    from meshagent.api.errors import NotFoundError
    from meshagent.api.helpers import meshagent_base_url
    from meshagent.api.profile import find_credentials, profile_path

    facts: dict[str, Any] = {"api_url": meshagent_base_url(api_url), "profile": str(profile_path())}
    try:
        credentials = find_credentials()
    except NotFoundError:
        facts |= {"project_id": None, "key_id": None}
    else:
        facts |= {"project_id": credentials.project_id, "key_id": credentials.key_id}
    try:
        async with accounts_client(api_url) as accounts:
            identity = await accounts.whoami()
    except CommandError as error:
        if error.code is not ExitCode.NOT_ALLOWED:
            raise
        return {**facts, "accounts": None}
    except Exception as error:
        if exit_code_of(error) not in (ExitCode.NOT_FOUND, ExitCode.NOT_ALLOWED):
            raise
        return {**facts, "accounts": None, "reason": getattr(error, "message", str(error))}
    return {**facts, "accounts": identity["kind"], "name": identity["name"]}
