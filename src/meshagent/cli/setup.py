"""`meshagent setup`: choose the server, project and API key for commands and programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshagent.cli.command import runnable
from meshagent.cli.context import accounts_client, all_pages
from meshagent.cli.output import CommandError, ExitCode, note
from meshagent.cli.profile_choice import activate_key, choose, save_key

if TYPE_CHECKING:
    from meshagent.api.profile import Profile


async def _setup(
    api_url: Annotated[str | None, typer.Option(envvar="MESHAGENT_API_URL", help="URL of the server.")] = None,
    api_key: Annotated[str | None, typer.Option(help="Use this API key: ma-KEY-PROJECT-SECRET.")] = None,
    admin_token: Annotated[str | None, typer.Option(help="REST API token for choosing a project and key.")] = None,
    project: Annotated[str | None, typer.Option("--project", "--project-id", help="Id or name of the project.")] = None,
    key: Annotated[str | None, typer.Option("--key", "--api-key-id", help="Id or name of the API key.")] = None,
) -> None:
    """Choose the server, project and API key for commands and programs, and save them in the profile.

    A server started on this machine has already written the profile. Then nothing needs to be chosen.
    """
    from meshagent.api.helpers import meshagent_base_url
    from meshagent.api.profile import profile_path

    url = meshagent_base_url(api_url)
    await _require_server(url)
    if api_key is not None:
        profile = _save_encoded_key(api_key, url)
    elif admin_token is None and project is None and key is None and (active := _active_key()) is not None:
        profile = save_key(active.project_id, active.key_id, active.secret or "", url)
    else:
        profile = await _choose(url, admin_token, project, key)
    note(f"saved {url}, project {profile.project_id} and key {profile.key_id} in {profile_path()}")
    note("`meshagent doctor` checks them; `meshagent env` prints them for other machines")


setup = runnable(_setup)


def _active_key() -> Any:
    """Return the active API key, or None."""
    from meshagent.api.errors import NotFoundError
    from meshagent.api.profile import find_credentials

    try:
        return find_credentials()
    except NotFoundError:
        return None


async def _require_server(url: str) -> None:
    """Check that a server responds at the URL.

    Raises:
        CommandError: No server responds.
    """
    import aiohttp

    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
            session.get(f"{url}/") as answer,
        ):
            answer.raise_for_status()
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise CommandError(
            f"no server at {url}: {str(error) or type(error).__name__}",
            code=ExitCode.NO_CONNECTION,
            hint="start one with `meshagent serve`, or use --api-url for another server",
        ) from None


def _save_encoded_key(api_key: str, url: str) -> Profile:
    from meshagent.api.tokens.api_key import ApiKey

    key = ApiKey.decode(api_key)
    return save_key(key.project_id, key.key_id, key.secret, url)


async def _choose(url: str, admin_token: str | None, project: str | None, key: str | None) -> Profile:
    from dataclasses import replace

    from meshagent.api.profile import load_profile, save_profile

    async with accounts_client(url, admin_token) as accounts:
        projects = await all_pages(accounts.list_projects, "projects")
        chosen = choose(projects, project, "project")
        profile = await activate_key(accounts, chosen["id"], key=key, api_url=url, ask=True)
    if admin_token is not None:
        save_profile(replace(load_profile(), admin_token=admin_token))
    return profile
