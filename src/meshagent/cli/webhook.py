"""`meshagent webhook`: manage the webhooks of a project."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshagent.cli.command import command
from meshagent.cli.context import AccountTarget, accounts_session, all_pages
from meshagent.cli.output import JsonOption, UsageError, echo, note, print_json, print_rows
from meshagent.cli.profile_choice import choose
from meshagent.cli.values import parse_json

if TYPE_CHECKING:
    from meshagent.api.accounts.client import AccountsClient

app = typer.Typer(help="Manage webhooks, which notify URLs of events in a project's rooms.", no_args_is_help=True)

WebhookArgument = Annotated[str, typer.Argument(metavar="WEBHOOK", help="Id or name of the webhook.")]


@command(app, "list", "ls")
async def list_webhooks(target: AccountTarget, as_json: JsonOption = False) -> None:
    """List webhooks."""
    async with accounts_session(target) as (accounts, project_id):
        webhooks = await all_pages(accounts.list_project_webhooks, "webhooks", project_id=project_id)
    columns = ("name", "id", "url", "events", "action", "failing_since", "disabled_at")
    print_rows(webhooks, columns, as_json=as_json, empty="this project has no webhooks")


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
async def delete(target: AccountTarget, webhook: WebhookArgument) -> None:
    """Delete a webhook."""
    async with _chosen(target, webhook) as (accounts, project_id, webhook_id):
        await accounts.delete_project_webhook(project_id, webhook_id)


@command(app, "deliveries")
async def deliveries(
    target: AccountTarget,
    webhook: WebhookArgument,
    outcome: Annotated[
        str | None,
        typer.Option(help="Only waiting, retrying, delivered, failed, dropped or abandoned deliveries."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="Maximum number of deliveries.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List what became of the events of a webhook, newest first."""
    async with _chosen(target, webhook) as (accounts, project_id, webhook_id):
        page = await accounts.list_webhook_deliveries(project_id, webhook_id, outcome=outcome, limit=limit)
    columns = ("created_at", "id", "event", "room_name", "outcome", "attempts", "status", "error", "next_attempt_at")
    print_rows(page["deliveries"], columns, as_json=as_json, empty="no deliveries")


@command(app, "resend")
async def resend(
    target: AccountTarget,
    webhook: WebhookArgument,
    delivery: Annotated[
        list[str] | None, typer.Argument(metavar="[DELIVERY]...", help="Ids of deliveries, also of delivered ones.")
    ] = None,
    undelivered: Annotated[
        bool, typer.Option("--undelivered", help="All that failed, were dropped or were abandoned.")
    ] = False,
) -> None:
    """Send events again. Those that are waiting are tried at once."""
    if bool(delivery) == undelivered:
        raise UsageError("give the ids of deliveries, or --undelivered")
    async with _chosen(target, webhook) as (accounts, project_id, webhook_id):
        if undelivered:
            count = await accounts.resend_webhook_deliveries(project_id, webhook_id)
        else:
            ids = delivery or []
            for delivery_id in ids:
                await accounts.resend_webhook_delivery(project_id, webhook_id, delivery_id)
            count = len(ids)
    note(f"sending {count} {'event' if count == 1 else 'events'} again")


@command(app, "enable")
async def enable(target: AccountTarget, webhook: WebhookArgument) -> None:
    """Deliver to a disabled webhook again. Send events that it missed with `resend --undelivered`."""
    async with _chosen(target, webhook) as (accounts, project_id, webhook_id):
        await accounts.enable_project_webhook(project_id, webhook_id)


@command(app, "disable")
async def disable(target: AccountTarget, webhook: WebhookArgument) -> None:
    """Deliver nothing more to a webhook, and give up the events that wait for it."""
    async with _chosen(target, webhook) as (accounts, project_id, webhook_id):
        await accounts.disable_project_webhook(project_id, webhook_id)


@asynccontextmanager
async def _chosen(target: AccountTarget, webhook: str) -> AsyncIterator[tuple[AccountsClient, str, str]]:
    """A REST API client, and the ids of the project and of the webhook that was given by id or name."""
    async with accounts_session(target) as (accounts, project_id):
        webhooks = await all_pages(accounts.list_project_webhooks, "webhooks", project_id=project_id)
        yield accounts, project_id, choose(webhooks, webhook, "webhook")["id"]
