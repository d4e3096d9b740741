"""The route of a project's use of the models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final, cast

from meshagent.server.accounts.accounts import Accounts
from meshagent.server.accounts.model_usage import BILLIONTH, Grouping
from meshagent.server.gateway.accounts import models as m
from meshagent.server.gateway.accounts.rest_route import Access, ApiRequest, Route

_DEFAULT_DAYS: Final = 30


class ModelUsageRoutes:
    """What the rooms of a project used of the models, and what it may use."""

    def __init__(self, accounts: Accounts) -> None:
        self._usage = accounts.model_usage
        self._budget = {name: float(value) for name, value in accounts.project_budget.model_dump().items() if value}

    def routes(self) -> list[Route]:
        return [
            Route(
                name="get_model_usage",
                method="GET",
                path="/accounts/projects/{project_id}/model-usage",
                summary="Requests, tokens and cost of the language models, by day, room, participant or model.",
                access=Access.MEMBER,
                handler=self.get,
                query=m.ModelUsageQuery,
                answer=m.ModelUsageAnswer,
            ),
        ]

    async def get(self, request: ApiRequest[m.ModelUsageQuery]) -> m.ModelUsageAnswer:
        query, today = request.input, self._usage.today()
        end = query.end or today
        start = query.start or end - timedelta(days=_DEFAULT_DAYS - 1)
        by = cast("list[Grouping]", list(dict.fromkeys(query.by.split(","))) if query.by else [])
        page = await self._usage.report(
            request.project_id, start=start, end=end, by=by, limit=query.limit, offset=query.offset
        )
        return m.ModelUsageAnswer(
            usage=[_row(entry) for entry in page.entries],
            next_offset=page.next_offset,
            today=await self._sum(request.project_id, today, today),
            month=await self._sum(request.project_id, today.replace(day=1), today),
            budget=self._budget,
        )

    async def _sum(self, project_id: str, start: date, end: date) -> m.ModelUsageRow:
        by: Sequence[Grouping] = ()
        page = await self._usage.report(project_id, start=start, end=end, by=by, limit=1, offset=0)
        nothing = dict.fromkeys(
            (name for name, field in m.ModelUsageRow.model_fields.items() if field.is_required()), 0
        )
        return _row(page.entries[0] if page.entries else nothing)


def _row(entry: Mapping[str, Any]) -> m.ModelUsageRow:
    return m.ModelUsageRow(**{**entry, "cost": entry["cost"] / BILLIONTH})
