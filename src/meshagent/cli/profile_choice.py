"""Select a project and an API key, and save them in the profile for other commands and programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

from meshagent.cli.context import all_pages
from meshagent.cli.output import CommandError, ExitCode, UsageError, echo, note

if TYPE_CHECKING:
    from meshagent.api.accounts.client import AccountsClient
    from meshagent.api.profile import Profile

KEY_NAME = "cli"


def choose(entries: Sequence[dict[str, Any]], wanted: str | None, what: str) -> dict[str, Any]:
    """Return the entry with the id or name `wanted`; without one, the only entry, or the user's choice.

    Raises:
        CommandError: There is no such entry, or several have that name.
        UsageError: A choice is needed, and the input is not a terminal.
    """
    if wanted is not None:
        found = [entry for entry in entries if entry["id"] == wanted]
        found = found or [entry for entry in entries if entry.get("name") == wanted]
        if len(found) > 1:
            raise CommandError(f"{len(found)} {what}s are named {wanted!r}: use the id")
        if not found:
            raise CommandError(f"no such {what}: {wanted!r}", code=ExitCode.NOT_FOUND)
        return found[0]
    if not entries:
        raise CommandError(f"there are no {what}s", code=ExitCode.NOT_FOUND)
    if len(entries) == 1:
        return entries[0]
    if not sys.stdin.isatty():
        raise UsageError(f"there are {len(entries)} {what}s: give an id or name")
    for number, entry in enumerate(entries, 1):
        echo(f"  {number}. {entry.get('name') or ''}  {entry['id']}", err=True)
    while True:
        picked: int = typer.prompt(f"Which {what}", type=int, err=True)
        if 1 <= picked <= len(entries):
            return entries[picked - 1]


async def activate_key(
    accounts: AccountsClient, project_id: str, *, key: str | None, api_url: str | None, ask: bool = False
) -> Profile:
    """Save an API key of a project in the profile, and return the profile.

    `key` is an id or name. Without it, the first key is used, or with `ask` the one that the user chooses. A key is
    created if the project has none.
    """
    keys = await all_pages(accounts.list_project_api_keys, "keys", project_id=project_id)
    if key is None and not keys:
        created = await accounts.create_project_api_key(project_id, KEY_NAME, "created by the command line")
        return save_key(project_id, created["id"], created["token"], api_url)
    chosen = choose(keys if key is not None or ask else keys[:1], key, "key")
    secret = (await accounts.decrypt_project_api_key(project_id, chosen["id"]))["token"]
    return save_key(project_id, chosen["id"], secret, api_url)


def save_key(project_id: str | None, key_id: str | None, secret: str, api_url: str | None) -> Profile:
    """Save an API key in the profile, and warn about environment variables that override it."""
    from meshagent.api.helpers import meshagent_base_url
    from meshagent.api.profile import load_profile, save_profile

    url = meshagent_base_url(api_url)
    profile = replace(load_profile(), api_url=url, project_id=project_id, key_id=key_id, secret=secret)
    save_profile(profile)
    overriding = [name for name in ("MESHAGENT_SECRET", "MESHAGENT_API_KEY") if os.environ.get(name)]
    if overriding:
        note(f"warning: {overriding[0]} is set and overrides the profile")
    return profile
