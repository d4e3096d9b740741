"""`meshagent webhook`: URLs that are told what happens in a project's rooms."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from meshagent.cli.command import command
from meshagent.cli.context import AccountTarget, accounts_session, all_pages
from meshagent.cli.output import JsonOption, print_json, print_rows
from meshagent.cli.profile_choice import choose
from meshagent.cli.values import parse_json

app = typer.Typer(help="URLs that are told what happens in a project's rooms.", no_args_is_help=True)


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
    name: Annotated[str, typer.Option("--name", help="What to call it.")],
    url: Annotated[str, typer.Option(help="Where events are posted.")],
    event: Annotated[
        list[str] | None,
        typer.Option(
            "--event", "-e", help="Such as room.started or storage.file.updated; may be repeated. By default all."
        ),
    ] = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    action: Annotated[str, typer.Option(help="`call` sends a room.call instead of the event.")] = "",
    payload: Annotated[str | None, typer.Option(help="JSON that goes with each event, @FILE, or -.")] = None,
    secret: Annotated[str | None, typer.Option(help="Signs what is posted; by default the server's own.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a webhook, and print its id."""
    content: Any = "" if payload is None else parse_json(payload, "payload")
    async with accounts_session(target) as (accounts, project_id):
        made = await accounts.create_project_webhook(
            project_id, name, url, event or ["*"], description, action, content, secret=secret
        )
    if as_json:
        print_json(made)
    else:
        typer.echo(made["id"])


@command(app, "delete", "rm")
async def delete(
    target: AccountTarget, webhook: Annotated[str, typer.Argument(metavar="WEBHOOK", help="Its id or name.")]
) -> None:
    """Delete a webhook."""
    async with accounts_session(target) as (accounts, project_id):
        webhooks = await all_pages(accounts.list_project_webhooks, "webhooks", project_id=project_id)
        await accounts.delete_project_webhook(project_id, choose(webhooks, webhook, "webhook")["id"])
