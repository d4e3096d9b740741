"""`meshagent setup`: choose the server, the project and the key that commands and programs use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshagent.cli.command import runnable
from meshagent.cli.context import accounts_client, all_pages
from meshagent.cli.output import CommandError, ExitCode, note
from meshagent.cli.profile_choice import choose, keep_key, save_key

if TYPE_CHECKING:
    from meshagent.api.profile import Profile


async def _setup(
    api_url: Annotated[str | None, typer.Option(envvar="MESHAGENT_API_URL", help="The server.")] = None,
    api_key: Annotated[str | None, typer.Option(help="Use this key: ma-KEY-PROJECT-SECRET.")] = None,
    admin_token: Annotated[str | None, typer.Option(help="Opens the server's accounts, to choose a key there.")] = None,
    project: Annotated[str | None, typer.Option("--project", "--project-id", help="Its id or name.")] = None,
    key: Annotated[str | None, typer.Option("--key", "--api-key-id", help="Its id or name.")] = None,
) -> None:
    """Choose the server, the project and the key that commands and programs use, and keep them in the profile.

    A server that was started on this machine has written the profile already: then there is nothing to choose.
    """
    from meshagent.api.helpers import meshagent_base_url
    from meshagent.api.profile import profile_path

    url = meshagent_base_url(api_url)
    await _require_server(url)
    if api_key is not None:
        kept = _keep_one_line(api_key, url)
    elif admin_token is None and project is None and key is None and (known := _known()) is not None:
        kept = save_key(known.project_id, known.key_id, known.secret or "", url)
    else:
        kept = await _choose(url, admin_token, project, key)
    note(f"{url}, project {kept.project_id}, key {kept.key_id}: kept in {profile_path()}")
    note("`meshagent doctor` tries them; `meshagent env` prints them for another machine")


setup = runnable(_setup)


def _known() -> Any:
    """The key at hand; None if there is none."""
    from meshagent.api.errors import NotFoundError
    from meshagent.api.profile import find_credentials

    try:
        return find_credentials()
    except NotFoundError:
        return None


async def _require_server(url: str) -> None:
    """Go on only if a server answers there.

    Raises:
        CommandError: It does not; the text says how to start one.
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
            f"no server answers at {url}: {str(error) or type(error).__name__}",
            code=ExitCode.NO_CONNECTION,
            hint="`meshagent serve` starts one on this machine; --api-url names another",
        ) from None


def _keep_one_line(api_key: str, url: str) -> Profile:
    from meshagent.api.tokens.api_key import ApiKey

    key = ApiKey.decode(api_key)
    return save_key(key.project_id, key.key_id, key.secret, url)


async def _choose(url: str, admin_token: str | None, project: str | None, key: str | None) -> Profile:
    from dataclasses import replace

    from meshagent.api.profile import load_profile, save_profile

    async with accounts_client(url, admin_token) as accounts:
        projects = await all_pages(accounts.list_projects, "projects")
        chosen = choose(projects, project, "project")
        kept = await keep_key(accounts, chosen["id"], key=key, api_url=url, ask=True)
    if admin_token is not None:
        save_profile(replace(load_profile(), admin_token=admin_token))
    return kept
