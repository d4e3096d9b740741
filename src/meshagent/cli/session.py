"""`meshagent session`: list, inspect and end sessions."""

from __future__ import annotations

from typing import Annotated

import typer

from meshagent.cli.command import command
from meshagent.cli.context import AccountTarget, accounts_session, all_pages
from meshagent.cli.output import JsonOption, note, print_rows

app = typer.Typer(help="List, inspect and end sessions of rooms.", no_args_is_help=True)

SessionArgument = Annotated[str, typer.Argument(metavar="SESSION", help="Id of the session.")]


@command(app, "list", "ls")
async def list_sessions(
    target: AccountTarget,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="Maximum number of sessions.")] = 50,
    active: Annotated[bool, typer.Option("--active", help="Only active sessions.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List sessions, newest first."""
    async with accounts_session(target) as (accounts, project_id):
        sessions = (await accounts.list_recent_sessions(project_id, limit=limit))["sessions"]
    rows = [session for session in sessions if session.get("is_active") or not active]
    columns = ("id", "room_name", "created_at", "is_active")
    print_rows(rows, columns, as_json=as_json, empty="no active sessions" if active else "no sessions")


@command(app, "show")
async def show(target: AccountTarget, session: SessionArgument, as_json: JsonOption = False) -> None:
    """List the events of a session in order."""
    async with accounts_session(target) as (accounts, project_id):
        events = await all_pages(accounts.list_session_events, "events", project_id=project_id, session_id=session)
    print_rows(events, ("at", "type", "data"), as_json=as_json, empty="no events")


@command(app, "end", "terminate")
async def end(target: AccountTarget, session: SessionArgument) -> None:
    """End a session, disconnecting all participants."""
    async with accounts_session(target) as (accounts, project_id):
        await accounts.terminate_session(project_id=project_id, session_id=session)
    note(f"ended session {session}")
