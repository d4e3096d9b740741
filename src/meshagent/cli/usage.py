"""`meshagent usage`: what a project used of the language models."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from functools import partial
from typing import Annotated, Final

import typer

from meshagent.cli.command import runnable
from meshagent.cli.context import AccountTarget, accounts_session, all_pages
from meshagent.cli.output import JsonOption, note, print_rows


class Group(StrEnum):
    """What a row of the listing stands for."""

    DAY = "day"
    ROOM = "room"
    PARTICIPANT = "participant"
    MODEL = "model"


_SUMS: Final = ("requests", "input_tokens", "cached_input_tokens", "output_tokens", "cost")
_COLUMNS: Final = {Group.ROOM: "room_name"}


@runnable
async def usage(
    target: AccountTarget,
    by: Annotated[
        list[Group] | None, typer.Option("--by", help="Group by this; repeatable. Default: day and model.")
    ] = None,
    start: Annotated[
        datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], help="First day, in UTC. Default: 29 days before the last."),
    ] = None,
    end: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day. Default: today.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List what the project's participants used of the language models: requests, tokens and cost."""
    groups = list(dict.fromkeys(by or (Group.DAY, Group.MODEL)))
    async with accounts_session(target) as (accounts, project_id):
        names = [group.value for group in groups]
        fetch = partial(accounts.get_model_usage, project_id, start=_day(start), end=_day(end), by=names)
        rows = await all_pages(fetch, "usage")
        report = await fetch(limit=1)
    columns = [_COLUMNS.get(group, group.value) for group in groups]
    print_rows(rows, (*columns, *_SUMS), as_json=as_json, empty="no model was used in these days")
    for name, most in report["budget"].items():
        note(f"budget of the project: {name.replace('_', ' ')} {most:g}{_spent(name, report)}")


def _spent(name: str, report: dict[str, dict[str, float]]) -> str:
    """How much of a budget is used; nothing for those of a minute."""
    if name == "cost_per_month":
        return f", used {report['month']['cost']:g}"
    if name == "cost_per_day":
        return f", used {report['today']['cost']:g}"
    if name == "tokens_per_day":
        return f", used {report['today']['input_tokens'] + report['today']['output_tokens']:g}"
    return ""


def _day(moment: datetime | None) -> date | None:
    return None if moment is None else moment.date()
