"""`meshagent secret`: manage the secrets of a project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshagent.cli.command import command
from meshagent.cli.context import AccountTarget, accounts_session
from meshagent.cli.output import JsonOption, echo, print_rows
from meshagent.cli.profile_choice import choose
from meshagent.cli.values import parse_pairs, read_text

if TYPE_CHECKING:
    from meshagent.api.accounts.client import AccountsClient
    from meshagent.api.accounts.secrets import SecretLike

app = typer.Typer(help="Manage a project's secrets, which the server encrypts.", no_args_is_help=True)
keys = typer.Typer(help="Manage named values, such as environment variables of a service.", no_args_is_help=True)
docker = typer.Typer(help="Manage logins for container registries.", no_args_is_help=True)
app.add_typer(keys, name="keys")
app.add_typer(docker, name="docker")

SecretArgument = Annotated[str, typer.Argument(metavar="SECRET", help="Id or name of the secret.")]
Name = Annotated[str, typer.Option("--name", help="Name of the secret.")]
Pairs = Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help="The values.")]
Password = Annotated[str | None, typer.Option(help="Password; - reads standard input. Prompts if omitted.")]
Server = Annotated[str, typer.Option(help="Host of the registry, such as ghcr.io.")]
Username = Annotated[str, typer.Option(help="User name at the registry.")]
Email = Annotated[str, typer.Option(help="Email address of the user.")]


@command(app, "list", "ls")
async def list_secrets(
    target: AccountTarget,
    reveal: Annotated[bool, typer.Option("--reveal", help="With --json, include the values.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List secrets without their values."""
    async with accounts_session(target) as (accounts, project_id):
        secrets = await _all(accounts, project_id)
    rows = [
        {"id": secret.id, "name": secret.name, "type": secret.type, "keys": sorted(secret.payload())}
        | ({"data": secret.payload()} if reveal else {})
        for secret in secrets
    ]
    print_rows(rows, ("name", "id", "type", "keys"), as_json=as_json, empty="this project has no secrets")


@command(app, "delete", "rm")
async def delete(target: AccountTarget, secret: SecretArgument) -> None:
    """Delete a secret."""
    async with accounts_session(target) as (accounts, project_id):
        found = await _find(accounts, project_id, secret)
        await accounts.delete_secret(project_id=project_id, secret_id=found["id"])


@command(keys, "create")
async def create_keys(target: AccountTarget, name: Name, values: Pairs) -> None:
    """Create a secret with named values, and print its id."""
    from meshagent.api.accounts.secrets import KeysSecret

    secret = KeysSecret(name=name, data=parse_pairs(values, "value"))
    async with accounts_session(target) as (accounts, project_id):
        echo(await accounts.create_secret(project_id=project_id, secret=secret))


@command(keys, "update")
async def update_keys(target: AccountTarget, secret: SecretArgument, values: Pairs) -> None:
    """Replace the values of a secret."""
    from meshagent.api.accounts.secrets import KeysSecret

    data = parse_pairs(values, "value")
    async with accounts_session(target) as (accounts, project_id):
        found = await _find(accounts, project_id, secret)
        changed = KeysSecret(id=found["id"], name=found["name"], data=data)
        await accounts.update_secret(project_id=project_id, secret=changed)


@command(docker, "create")
async def create_docker(
    target: AccountTarget,
    name: Name,
    server: Server,
    username: Username,
    password: Password = None,
    email: Email = "none@example.com",
) -> None:
    """Create a secret with a registry login, and print its id."""
    from meshagent.api.accounts.secrets import PullSecret

    secret = PullSecret(name=name, server=server, username=username, password=_password(password), email=email)
    async with accounts_session(target) as (accounts, project_id):
        echo(await accounts.create_secret(project_id=project_id, secret=secret))


@command(docker, "update")
async def update_docker(
    target: AccountTarget,
    secret: SecretArgument,
    server: Server,
    username: Username,
    password: Password = None,
    email: Email = "none@example.com",
) -> None:
    """Replace the registry login of a secret."""
    from meshagent.api.accounts.secrets import PullSecret

    word = _password(password)
    async with accounts_session(target) as (accounts, project_id):
        found = await _find(accounts, project_id, secret)
        changed = PullSecret(
            id=found["id"], name=found["name"], server=server, username=username, password=word, email=email
        )
        await accounts.update_secret(project_id=project_id, secret=changed)


def _password(given: str | None) -> str:
    text = given if given is not None else typer.prompt("Password", hide_input=True)
    return read_text(text, "password").rstrip("\n")


async def _all(accounts: AccountsClient, project_id: str) -> list[SecretLike]:
    return await accounts.list_secrets(project_id, limit=1000)


async def _find(accounts: AccountsClient, project_id: str, wanted: str) -> dict[str, Any]:
    secrets = await _all(accounts, project_id)
    return choose([{"id": secret.id, "name": secret.name} for secret in secrets], wanted, "secret")
