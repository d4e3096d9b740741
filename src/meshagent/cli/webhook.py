"""`meshagent webhook`: manage the webhooks of a project."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from meshagent.cli.command import command
from meshagent.cli.context import AccountTarget, accounts_session, all_pages
from meshagent.cli.output import JsonOption, echo, print_json, print_rows
from meshagent.cli.profile_choice import choose
from meshagent.cli.values import parse_json

app = typer.Typer(help="Manage webhooks, which notify URLs of events in a project's rooms.", no_args_is_help=True)


@command(app, "list", "ls")
async def list_webhooks(target: AccountTarget, as_json: JsonOption = False) -> None:
    """List webhooks."""
    async with accounts_session(target) as (accounts, project_id):
        webhooks = await all_pages(accounts.list_project_webhooks, "webhooks", project_id=project_id)
    print_rows(
        webhooks, ("name", "id", "url", "events", "action"), as_json=as_json, empty="this project has no webhooks"
    )


@command(app, "create")
async def create(
    target: AccountTarget,
    name: Annotated[str, typer.Option("--name", help="Name of the webhook.")],
    url: Annotated[str, typer.Option(help="URL that receives the events.")],
    event: Annotated[
        list[str] | None,
        typer.Option(
            "--event", "-e", help="Event, such as room.started or storage.file.updated; repeatable. Default: all."
        ),
    ] = None,
    description: Annotated[str, typer.Option(help="Description of the webhook.")] = "",
    action: Annotated[str, typer.Option(help="`call` sends a room.call instead of the event.")] = "",
    payload: Annotated[str | None, typer.Option(help="JSON added to each event; @FILE, or -.")] = None,
    secret: Annotated[str | None, typer.Option(help="Secret that signs requests. Default: the server's.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Create a webhook, and print its id."""
    content: Any = "" if payload is None else parse_json(payload, "payload")
    async with accounts_session(target) as (accounts, project_id):
        created = await accounts.create_project_webhook(
            project_id, name, url, event or ["*"], description, action, content, secret=secret
        )
    if as_json:
        print_json(created)
    else:
        echo(created["id"])


@command(app, "delete", "rm")
async def delete(
    target: AccountTarget, webhook: Annotated[str, typer.Argument(metavar="WEBHOOK", help="Id or name of the webhook.")]
) -> None:
    """Delete a webhook."""
    async with accounts_session(target) as (accounts, project_id):
        webhooks = await all_pages(accounts.list_project_webhooks, "webhooks", project_id=project_id)
        await accounts.delete_project_webhook(project_id, choose(webhooks, webhook, "webhook")["id"])
