"""`meshagent session`: runs of rooms."""

from __future__ import annotations

from typing import Annotated

import typer

from meshagent.cli.command import command
from meshagent.cli.context import AccountTarget, accounts_session, all_pages
from meshagent.cli.output import JsonOption, note, print_rows

app = typer.Typer(help="Runs of rooms, and what happened in them.", no_args_is_help=True)

SessionArgument = Annotated[str, typer.Argument(metavar="SESSION", help="Its id.")]


@command(app, "list", "ls")
async def list_sessions(
    target: AccountTarget,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="The newest so many.")] = 50,
    active: Annotated[bool, typer.Option("--active", help="Only those that run now.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List runs of rooms, newest first."""
    async with accounts_session(target) as (accounts, project_id):
        sessions = (await accounts.list_recent_sessions(project_id, limit=limit))["sessions"]
    rows = [session for session in sessions if session.get("is_active") or not active]
    columns = ("id", "room_name", "created_at", "is_active")
    print_rows(rows, columns, as_json=as_json, empty="no room has run yet" if not active else "no room runs now")


@command(app, "show")
async def show(target: AccountTarget, session: SessionArgument, as_json: JsonOption = False) -> None:
    """List the events of a run in their order."""
    async with accounts_session(target) as (accounts, project_id):
        events = await all_pages(accounts.list_session_events, "events", project_id=project_id, session_id=session)
    print_rows(events, ("at", "type", "data"), as_json=as_json, empty="nothing was recorded")


@command(app, "end", "terminate")
async def end(target: AccountTarget, session: SessionArgument) -> None:
    """End a run, whoever is in the room."""
    async with accounts_session(target) as (accounts, project_id):
        await accounts.terminate_session(project_id=project_id, session_id=session)
    note(f"session {session} has ended")
