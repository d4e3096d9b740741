"""The whole table of the accounts API, and its routes for aiohttp."""

from __future__ import annotations

import asyncio

from aiohttp import hdrs, web

from meshagent.api import jsontext
from meshagent.server.accounts.accounts import Accounts
from meshagent.server.gateway.accounts.key_routes import KeyRoutes, SecretRoutes
from meshagent.server.gateway.accounts.model_usage_routes import ModelUsageRoutes
from meshagent.server.gateway.accounts.openapi import openapi_document
from meshagent.server.gateway.accounts.openapi_page import CONTENT_SECURITY_POLICY, PAGE
from meshagent.server.gateway.accounts.people_routes import PeopleRoutes
from meshagent.server.gateway.accounts.rest_route import Route, serve
from meshagent.server.gateway.accounts.room_routes import RoomGrantRoutes, RoomRoutes, ShareRoutes
from meshagent.server.gateway.accounts.session_routes import ServerRoutes, SessionRoutes, StorageRoutes
from meshagent.server.gateway.accounts.subscription_routes import MailboxRoutes, ServiceRoutes
from meshagent.server.gateway.accounts.webhook_routes import DeliveryRoutes, WebhookRoutes
from meshagent.server.gateway.auth import RoomAuthenticator
from meshagent.server.webhooks.deliverer import WebhookDeliverer


def all_routes(accounts: Accounts, authenticator: RoomAuthenticator, webhooks: WebhookDeliverer) -> list[Route]:
    """Every route of the API, once."""
    groups = (
        PeopleRoutes(accounts),
        KeyRoutes(accounts),
        SecretRoutes(accounts),
        WebhookRoutes(accounts, webhooks),
        DeliveryRoutes(accounts, webhooks),
        ServiceRoutes(accounts),
        MailboxRoutes(accounts),
        RoomRoutes(accounts),
        RoomGrantRoutes(accounts),
        ShareRoutes(accounts),
        SessionRoutes(accounts),
        ModelUsageRoutes(accounts),
        StorageRoutes(accounts),
        ServerRoutes(authenticator),
    )
    return [route for group in groups for route in group.routes()]


def account_routes(
    accounts: Accounts, authenticator: RoomAuthenticator, webhooks: WebhookDeliverer
) -> list[web.RouteDef]:
    """The API for aiohttp, with `/openapi.json` and the page `/docs` that shows it."""
    table = all_routes(accounts, authenticator, webhooks)
    document: list[bytes] = []

    async def openapi(request: web.Request) -> web.Response:
        if not document:  # made when it is first asked for, because making it takes longer than all else at a start
            document.append(await asyncio.to_thread(lambda: jsontext.dumps(openapi_document(table))))
        return web.Response(body=document[0], content_type="application/json")

    async def docs(request: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY, hdrs.CACHE_CONTROL: "no-cache"}
        return web.Response(text=PAGE, content_type="text/html", headers=headers)

    served = [serve(route, accounts.authenticator, authenticator.rates) for route in table]
    return [*served, web.get("/openapi.json", openapi), web.get("/docs", docs)]
