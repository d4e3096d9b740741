"""Routes of webhooks, and of what became of their deliveries."""

from __future__ import annotations

from typing import Any

from meshagent.api.errors import ConflictError
from meshagent.server.accounts import records
from meshagent.server.accounts.accounts import Accounts
from meshagent.server.gateway.accounts import models as m
from meshagent.server.gateway.accounts.rest_route import Access, ApiRequest, NoBody, Route
from meshagent.server.webhooks.deliverer import WebhookDeliverer

_WEBHOOKS = "/accounts/projects/{project_id}/webhooks"
_WEBHOOK = f"{_WEBHOOKS}/{{webhook_id}}"


class WebhookRoutes:
    """Subscriptions to the events of rooms."""

    def __init__(self, accounts: Accounts, deliverer: WebhookDeliverer) -> None:
        self._webhooks = accounts.store.webhooks
        self._cache = accounts.webhooks
        self._deliverer = deliverer

    def routes(self) -> list[Route]:
        return [
            Route(
                name="create_project_webhook",
                method="POST",
                path=_WEBHOOKS,
                summary="Subscribe a URL to events.",
                access=Access.DEVELOPER,
                handler=self.create,
                body=m.WebhookBody,
                answer=m.WebhookAnswer,
            ),
            Route(
                name="list_project_webhooks",
                method="GET",
                path=_WEBHOOKS,
                summary="The project's subscriptions.",
                access=Access.DEVELOPER,
                handler=self.list,
                query=m.PageQuery,
                answer=m.WebhookList,
            ),
            Route(
                name="update_project_webhook",
                method="PUT",
                path=_WEBHOOK,
                summary="Replace a subscription.",
                access=Access.DEVELOPER,
                handler=self.update,
                body=m.WebhookBody,
                answer=m.WebhookAnswer,
            ),
            Route(
                name="delete_project_webhook",
                method="DELETE",
                path=_WEBHOOK,
                summary="End a subscription.",
                access=Access.DEVELOPER,
                handler=self.delete,
                answer=m.Ok,
            ),
            Route(
                name="enable_project_webhook",
                method="POST",
                path=f"{_WEBHOOK}/enable",
                summary="Deliver to a webhook that was disabled again.",
                access=Access.DEVELOPER,
                handler=self.enable,
                answer=m.WebhookAnswer,
            ),
            Route(
                name="disable_project_webhook",
                method="POST",
                path=f"{_WEBHOOK}/disable",
                summary="Deliver nothing more to a webhook.",
                access=Access.DEVELOPER,
                handler=self.disable,
                answer=m.WebhookAnswer,
            ),
        ]

    async def create(self, request: ApiRequest[m.WebhookBody]) -> m.WebhookAnswer:
        webhook = records.Webhook(project_id=request.project_id, **_webhook_values(request.input))
        await self._webhooks.add(webhook)
        self._cache.invalidate(request.project_id)
        await self._deliverer.announcer.webhooks_changed(request.project_id)
        return m.WebhookAnswer.model_validate(webhook)

    async def list(self, request: ApiRequest[m.PageQuery]) -> m.WebhookList:
        page = await self._webhooks.page(
            limit=request.input.limit, offset=request.input.offset, project_id=request.project_id
        )
        webhooks = [m.WebhookAnswer.model_validate(webhook) for webhook in page.entries]
        return m.WebhookList(webhooks=webhooks, next_offset=page.next_offset)

    async def update(self, request: ApiRequest[m.WebhookBody]) -> m.WebhookAnswer:
        webhook_id = request.params["webhook_id"]
        await self._webhooks.update(_webhook_values(request.input), project_id=request.project_id, id=webhook_id)
        self._cache.invalidate(request.project_id)
        return await self._answer(request.project_id, webhook_id)

    async def delete(self, request: ApiRequest[NoBody]) -> m.Ok:
        await self._webhooks.delete(project_id=request.project_id, id=request.params["webhook_id"])
        self._cache.invalidate(request.project_id)
        await self._deliverer.forget(request.params["webhook_id"])
        return m.Ok()

    async def enable(self, request: ApiRequest[NoBody]) -> m.WebhookAnswer:
        webhook_id = request.params["webhook_id"]
        webhook = await self._webhooks.get(project_id=request.project_id, id=webhook_id)
        await self._cache.enable(request.project_id, webhook_id)
        if webhook.disabled_at is not None:
            await self._deliverer.enabled(request.project_id, webhook_id)
        return await self._answer(request.project_id, webhook_id)

    async def disable(self, request: ApiRequest[NoBody]) -> m.WebhookAnswer:
        webhook_id = request.params["webhook_id"]
        webhook = await self._webhooks.get(project_id=request.project_id, id=webhook_id)
        if webhook.disabled_at is None:
            reason = f"disabled by {request.caller.name}"
            await self._cache.disable(request.project_id, webhook_id, records.now(), reason)
            await self._deliverer.disabled(request.project_id, webhook_id, reason)
        return await self._answer(request.project_id, webhook_id)

    async def _answer(self, project_id: str, webhook_id: str) -> m.WebhookAnswer:
        return m.WebhookAnswer.model_validate(await self._webhooks.get(project_id=project_id, id=webhook_id))


class DeliveryRoutes:
    """What became of the events of a webhook."""

    def __init__(self, accounts: Accounts, deliverer: WebhookDeliverer) -> None:
        self._webhooks = accounts.store.webhooks
        self._deliverer = deliverer

    def routes(self) -> list[Route]:
        deliveries = f"{_WEBHOOK}/deliveries"
        return [
            Route(
                name="list_webhook_deliveries",
                method="GET",
                path=deliveries,
                summary="What became of a webhook's events, newest first.",
                access=Access.DEVELOPER,
                handler=self.list,
                query=m.DeliveryQuery,
                answer=m.DeliveryList,
            ),
            Route(
                name="get_webhook_delivery",
                method="GET",
                path=f"{deliveries}/{{delivery_id}}",
                summary="What became of one event.",
                access=Access.DEVELOPER,
                handler=self.get,
                answer=m.DeliveryAnswer,
            ),
            Route(
                name="resend_webhook_delivery",
                method="POST",
                path=f"{deliveries}/{{delivery_id}}/resend",
                summary="Send an event again; try one that is pending at once.",
                access=Access.DEVELOPER,
                handler=self.resend,
                answer=m.DeliveryAnswer,
            ),
            Route(
                name="resend_webhook_deliveries",
                method="POST",
                path=f"{deliveries}/resend",
                summary="Send all events again that were not delivered.",
                access=Access.DEVELOPER,
                handler=self.resend_undelivered,
                answer=m.ResentAnswer,
            ),
        ]

    async def list(self, request: ApiRequest[m.DeliveryQuery]) -> m.DeliveryList:
        webhook = await self._webhook(request)
        given = request.input
        outcomes = () if given.outcome is None else (given.outcome,)
        found, more = await self._deliverer.page(
            request.project_id, webhook.id, outcomes=outcomes, limit=given.limit, offset=given.offset
        )
        return m.DeliveryList(deliveries=[m.DeliveryAnswer.of(delivery) for delivery in found], next_offset=more)

    async def get(self, request: ApiRequest[NoBody]) -> m.DeliveryAnswer:
        webhook = await self._webhook(request)
        found = await self._deliverer.get(request.project_id, webhook.id, request.params["delivery_id"])
        return m.DeliveryAnswer.of(found)

    async def resend(self, request: ApiRequest[NoBody]) -> m.DeliveryAnswer:
        webhook = await self._enabled_webhook(request)
        found = await self._deliverer.resend(request.project_id, webhook.id, request.params["delivery_id"])
        return m.DeliveryAnswer.of(found)

    async def resend_undelivered(self, request: ApiRequest[NoBody]) -> m.ResentAnswer:
        webhook = await self._enabled_webhook(request)
        return m.ResentAnswer(resent=await self._deliverer.resend_undelivered(request.project_id, webhook.id))

    async def _webhook(self, request: ApiRequest[Any]) -> records.Webhook:
        return await self._webhooks.get(project_id=request.project_id, id=request.params["webhook_id"])

    async def _enabled_webhook(self, request: ApiRequest[Any]) -> records.Webhook:
        webhook = await self._webhook(request)
        if webhook.disabled_at is not None:
            raise ConflictError("the webhook is disabled: enable it first")
        return webhook


def _webhook_values(body: m.WebhookBody) -> dict[str, Any]:
    """Older clients send empty texts for no action and no payload."""
    return body.model_dump() | {
        "action": body.action or None,
        "payload": body.payload or None,
        "secret": body.secret or None,
    }
