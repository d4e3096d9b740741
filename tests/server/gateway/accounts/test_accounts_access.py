"""Who may do what: every route for every kind of caller."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import aiohttp
import pytest
from pydantic import SecretStr

from meshagent.api.accounts_client import AccountsClient, ProjectRole
from meshagent.server.accounts.database import DatabaseStartError
from tests.support.accounts_server import ADMIN_TOKEN, AccountsServer, accounts_server

# What the documentation promises; written out here so that a slip in the table of routes shows.
PUBLIC = {"get_config", "validate_participant_token", "connect_share", "connect_share_legacy"}
SIGNED_IN = {"whoami", "list_projects", "get_user_profile", "update_user_profile"}
SERVER_ADMIN = {
    "create_project",
    "create_user",
    "list_users",
    "delete_user",
    "create_user_token",
    "list_user_tokens",
    "delete_user_token",
}
MEMBER = {
    "get_project",
    "get_project_role",
    "get_users_in_project",
    "list_rooms",
    "get_room",
    "connect_room",
    "get_model_usage",
}
PROJECT_ADMIN = {
    "update_project_settings",
    "add_user_to_project",
    "update_user_role",
    "remove_user_from_project",
    "create_project_api_key",
    "decrypt_project_api_key",
    "delete_project_api_key",
    "create_room_grant",
    "list_room_grants",
    "list_room_grants_by_user",
    "list_room_grants_by_room",
    "get_room_grant",
    "update_room_grant",
    "delete_room_grant",
    "get_usage",
}
DEVELOPER = {
    "list_project_api_keys",
    "create_secret",
    "list_secrets",
    "update_secret",
    "delete_secret",
    "create_project_webhook",
    "list_project_webhooks",
    "update_project_webhook",
    "delete_project_webhook",
    "enable_project_webhook",
    "disable_project_webhook",
    "list_webhook_deliveries",
    "get_webhook_delivery",
    "resend_webhook_delivery",
    "resend_webhook_deliveries",
    "create_service",
    "list_services",
    "get_service",
    "update_service",
    "delete_service",
    "create_mailbox",
    "list_mailboxes",
    "update_mailbox",
    "delete_mailbox",
    "create_room",
    "update_room",
    "delete_room",
    "create_project_participant_token",
    "create_share",
    "list_shares",
    "list_shares_legacy",
    "update_share",
    "delete_share",
    "list_recent_sessions",
    "get_session",
    "list_session_events",
    "terminate_session",
    "list_session_participants",
    "kick_participant",
    "upload",
    "download",
}
CALLERS = ("nobody", "wrong", "outsider", "member", "developer", "own key", "admin", "other key", "administrator")
ROLES = {"member": 1, "developer": 2, "own key": 2, "admin": 3, "administrator": 4}


def expected_refusal(route: str, caller: str) -> int | None:
    """401 or 403, or None where the caller is let in."""
    if route in PUBLIC:
        return None
    if caller in ("nobody", "wrong"):
        return 401
    if route in SIGNED_IN:
        return None
    needed = 4 if route in SERVER_ADMIN else 3 if route in PROJECT_ADMIN else 2 if route in DEVELOPER else 1
    return None if ROLES.get(caller, 0) >= needed else 403


async def _tokens(api: AccountsServer, admin: AccountsClient) -> dict[str, str | None]:
    """Bearer tokens of all callers; the member has a grant for the room `lobby`."""
    tokens: dict[str, str | None] = {"nobody": None, "wrong": "wrong", "administrator": ADMIN_TOKEN}
    room = await admin.create_room(project_id=api.project_id, name="lobby")
    roles: tuple[ProjectRole | Literal["outsider"], ...] = ("outsider", "member", "developer", "admin")
    for role in roles:
        user = await admin.create_user(f"{role}@example.com")
        tokens[role] = (await admin.create_user_token(user["id"]))["token"]
        if role != "outsider":
            await admin.add_user_to_project(api.project_id, user["id"], role=role)
        if role == "member":
            await admin.create_room_grant(project_id=api.project_id, room_id=room["id"], user_id=user["id"])
    other = await admin.create_project("other")
    tokens["other key"] = (await admin.create_project_api_key(other["id"], "k", ""))["api_key"]
    tokens["own key"] = (await admin.create_project_api_key(api.project_id, "k", ""))["token"]
    return tokens


@pytest.mark.slow
async def test_every_route_lets_in_whom_it_should(api: AccountsServer, admin: AccountsClient) -> None:
    assert {route.name for route in api.table} == PUBLIC | SIGNED_IN | SERVER_ADMIN | MEMBER | DEVELOPER | PROJECT_ADMIN
    tokens = await _tokens(api, admin)
    mistakes = []
    async with aiohttp.ClientSession() as session:
        for route in api.table:
            for caller in CALLERS:
                room = "lobby" if route.name == "connect_room" else "missing"
                names = {"project_id": api.project_id, "room": room}
                path = re.sub(r"{(\w+)}", lambda found: names.get(found[1], "missing"), route.path)  # noqa: B023
                headers = {"Authorization": f"Bearer {tokens[caller]}"} if tokens[caller] else {}
                async with session.request(route.method, api.url + path, headers=headers) as response:
                    refusal = expected_refusal(route.name, caller)
                    right = response.status == refusal if refusal else response.status in (200, 204, 400, 404, 409)
                    if not right:
                        mistakes.append((route.name, caller, response.status, await response.text()))
                    if response.status >= 400:
                        error = (await response.json())["error"]
                        assert error["code"]
                        assert error["message"]
    assert mistakes == []


async def test_a_refusal_says_how_to_sign_in(api: AccountsServer) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"{api.url}/accounts/projects") as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_a_key_of_one_project_sees_only_that(api: AccountsServer, admin: AccountsClient) -> None:
    other = await admin.create_project("other")
    key = await admin.create_project_api_key(other["id"], "k", "")
    client = AccountsClient(api.url, key["api_key"])
    try:
        projects = (await client.list_projects())["projects"]
        assert [project["id"] for project in projects] == [other["id"]]
        assert await client.get_project_role(other["id"]) == "developer"
    finally:
        await client.close()


async def test_an_expired_or_revoked_user_token_is_refused(api: AccountsServer, admin: AccountsClient) -> None:
    user = await admin.create_user("ada@example.com")
    short = await admin.create_user_token(user["id"], days=1e-9)
    long = await admin.create_user_token(user["id"], name="laptop")
    assert [token.get("token") for token in (await admin.list_user_tokens(user["id"]))["tokens"]] == [None, None]
    statuses = []
    async with aiohttp.ClientSession() as session:

        async def status(token: str) -> int:
            headers = {"Authorization": f"Bearer {token}"}
            async with session.get(f"{api.url}/accounts/whoami", headers=headers) as response:
                return response.status

        statuses += [await status(short["token"]), await status(long["token"])]
        await admin.delete_user_token(user["id"], long["id"])
        statuses.append(await status(long["token"]))
    assert statuses == [401, 200, 401]


async def test_another_encryption_key_stops_the_start_in_words(tmp_path: Path) -> None:
    async with accounts_server(tmp_path):
        pass
    with pytest.raises(DatabaseStartError, match="encryption_key"):
        async with accounts_server(tmp_path, encryption_key=SecretStr("another")):
            pass
