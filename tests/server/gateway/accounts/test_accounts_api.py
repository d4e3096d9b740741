"""The accounts API through its own client: every method, as existing programs call it."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from meshagent.api.accounts_client import (
    AccountsClient,
    Endpoint,
    KeysSecret,
    Meshagent,
    Port,
    PullSecret,
    Service,
)
from meshagent.api.tokens.scope import ApiScope
from meshagent.api.tokens.token import ParticipantToken
from meshagent.server.accounts.records import Session
from tests.support.accounts_server import AccountsServer


async def _status(awaitable: object) -> int:
    with pytest.raises(aiohttp.ClientResponseError) as caught:
        await awaitable  # type: ignore[misc]  # any call of the client
    assert caught.value.message
    return caught.value.status


async def test_projects_and_roles(api: AccountsServer, admin: AccountsClient) -> None:
    user = await admin.create_user("ada@example.com", first_name="Ada", last_name="L")
    project = await admin.create_project("shop", {"theme": "dark"}, owner_user_id=user["id"])
    assert (project["name"], project["owner_user_id"]) == ("shop", user["id"])
    assert await admin.get_project_role(project["id"]) == "admin"
    assert (await admin.get_project(project["id"]))["settings"] == {"theme": "dark"}
    await admin.update_project_settings(project["id"], {"any": [1, None]})
    assert (await admin.get_project(project["id"]))["settings"] == {"any": [1, None]}
    assert len((await admin.list_projects())["projects"]) == 2

    helper = await admin.create_user("bob@example.com")
    assert await admin.add_user_to_project(project["id"], helper["id"]) == {"ok": True}
    assert await _status(admin.add_user_to_project(project["id"], email="bob@example.com")) == 409
    assert await _status(admin.add_user_to_project(project["id"], "nobody")) == 404
    await admin.update_user_role(project["id"], helper["id"], "developer")
    users = (await admin.get_users_in_project(project["id"]))["users"]
    assert {one["email"]: one["role"] for one in users} == {"ada@example.com": "admin", "bob@example.com": "developer"}
    await admin.remove_user_from_project(project["id"], helper["id"])
    assert len((await admin.get_users_in_project(project["id"]))["users"]) == 1


async def test_users_know_those_they_work_with(api: AccountsServer, admin: AccountsClient) -> None:
    ada, bob, eve = [await admin.create_user(f"{name}@example.com") for name in ("ada", "bob", "eve")]
    for user in (ada, bob):
        await admin.add_user_to_project(api.project_id, user["id"])
    as_ada = AccountsClient(api.url, (await admin.create_user_token(ada["id"]))["token"])
    try:
        assert (await as_ada.whoami())["user_id"] == ada["id"]
        await as_ada.update_user_profile("me", "Ada", "Lovelace")
        assert (await as_ada.get_user_profile(ada["id"]))["first_name"] == "Ada"
        assert (await as_ada.get_user_profile(bob["id"]))["email"] == "bob@example.com"
        assert await _status(as_ada.get_user_profile(eve["id"])) == 404
        assert await _status(as_ada.update_user_profile(bob["id"], "B", "B")) == 403
    finally:
        await as_ada.close()
    await admin.delete_user(eve["id"])
    assert await _status(admin.get_user_profile(eve["id"])) == 404
    assert len((await admin.list_users())["users"]) == 2


async def test_api_keys(api: AccountsServer, admin: AccountsClient) -> None:
    project = await admin.create_project("shop")
    key = await admin.create_project_api_key(project["id"], "ci", "for builds")
    assert api.accounts.keys.lookup(project["id"], key["id"]) == key["token"]
    [listed] = (await admin.list_project_api_keys(project["id"]))["keys"]
    assert (listed["id"], listed["name"], listed["description"]) == (key["id"], "ci", "for builds")
    assert "token" not in listed
    assert await admin.decrypt_project_api_key(project["id"], key["id"]) == {"token": key["token"]}
    await admin.delete_project_api_key(project["id"], key["id"])
    assert api.running.revoked == [key["id"]]
    assert await _status(admin.delete_project_api_key(project["id"], key["id"])) == 404
    assert await _status(admin.delete_project_api_key(api.project_id, api.accounts.identity.key_id)) == 409


async def test_secrets(api: AccountsServer, admin: AccountsClient) -> None:
    project = api.project_id
    keys = KeysSecret(name="model", data={"TOKEN": "x"})
    keys.id = await admin.create_secret(project_id=project, secret=keys)
    pull = PullSecret(name="registry", server="r", username="u", password="p")
    pull.id = await admin.create_secret(project_id=project, secret=pull)
    assert await admin.list_secrets(project) == [keys, pull]
    changed = keys.model_copy(update={"data": {"TOKEN": "y"}})
    await admin.update_secret(project_id=project, secret=changed)
    assert await admin.list_secrets(project) == [changed, pull]
    assert await _status(admin.create_secret(project_id=project, secret=keys)) == 409
    await admin.delete_secret(project_id=project, secret_id=pull.id)
    assert await admin.list_secrets(project) == [changed]


async def test_webhooks_are_seen_by_those_who_deliver(api: AccountsServer, admin: AccountsClient) -> None:
    project = api.project_id
    assert await api.accounts.webhooks.of_project(project) == []
    webhook = await admin.create_project_webhook(project, "w", "http://localhost/x", ["room.started"])
    [known] = await api.accounts.webhooks.of_project(project)
    assert (known.url, known.events, known.action, known.payload) == (
        "http://localhost/x",
        ["room.started"],
        None,
        None,
    )
    await admin.update_project_webhook(
        project, webhook["id"], "w", "http://localhost/y", ["*"], action="call", payload={"a": 1}, secret="s"
    )
    [known] = await api.accounts.webhooks.of_project(project)
    assert (known.url, known.action, known.payload, known.secret) == ("http://localhost/y", "call", {"a": 1}, "s")
    [listed] = (await admin.list_project_webhooks(project))["webhooks"]
    assert (listed["id"], listed["action"], "secret" in listed) == (webhook["id"], "call", False)
    await admin.delete_project_webhook(project, webhook["id"])
    assert await api.accounts.webhooks.of_project(project) == []
    assert await _status(admin.create_project_webhook(project, "w", "file:///etc/passwd", [])) == 400


async def test_services_with_a_url_are_to_be_called(api: AccountsServer, admin: AccountsClient) -> None:
    project = api.project_id
    chat = Endpoint(type="meshagent.callable", path="/chat", participant_name="chatty", role="agent")
    page = Endpoint(type="http", path="/page")
    service = Service(
        name="bot", url="http://localhost:8081/", ports={"8081": Port(liveness_path="/", endpoints=[chat, page])}
    )
    created = await admin.create_service(project_id=project, service=service)
    [call] = await api.accounts.external_services.calls_of(project)
    assert (call.url, call.liveness_url, call.participant_name, call.role) == (
        "http://localhost:8081/chat",
        "http://localhost:8081/",
        "chatty",
        "agent",
    )
    assert await _status(admin.create_service(project_id=project, service=service)) == 409
    kept = await admin.get_service(project_id=project, service_id=created["id"])
    assert (kept.id, kept.name, kept.ports) == (created["id"], "bot", service.ports)
    await admin.update_service(project_id=project, service_id=created["id"], service={"url": "http://localhost:9"})
    assert [one.url for one in await admin.list_services(project_id=project)] == ["http://localhost:9"]
    [call] = await api.accounts.external_services.calls_of(project)
    assert call.url == "http://localhost:9/chat"
    await admin.delete_service(project_id=project, service_id=created["id"])
    assert await api.accounts.external_services.calls_of(project) == []


async def test_urls_with_impossible_ports_are_refused(api: AccountsServer, admin: AccountsClient) -> None:
    project, events = api.project_id, ["*"]
    hook = await admin.create_project_webhook(project, "w", "http://localhost:65535/x", events)
    service = await admin.create_service(project_id=project, service=Service(name="s", url="http://localhost:1/"))
    for url in ("http://localhost:99999/", "http://localhost:0/", "http://[::1/"):
        bad = Service(name="t", url=url)
        assert await _status(admin.create_project_webhook(project, "v", url, events)) == 400
        assert await _status(admin.update_project_webhook(project, hook["id"], "w", url, events)) == 400
        assert await _status(admin.create_service(project_id=project, service=bad)) == 400
        assert await _status(admin.update_service(project_id=project, service_id=service["id"], service=bad)) == 400
    assert [each["url"] for each in (await admin.list_project_webhooks(project))["webhooks"]] == [hook["url"]]


async def test_container_services_are_kept_as_clients_of_0_5_write_them(
    api: AccountsServer, admin: AccountsClient
) -> None:
    body = {"image": "bot:1", "name": "bot", "ports": [None], "environment": {"A": "b"}}
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer test-admin-token"}) as session:
        url = f"{api.url}/accounts/projects/{api.project_id}/services"
        async with session.post(url, json=body) as response:
            assert response.status == 200
        async with session.post(url, json={"name": "nowhere"}) as response:
            assert response.status == 400
    [service] = await admin.list_services(project_id=api.project_id)
    assert (service.image, service.environment, service.ports) == ("bot:1", {"A": "b"}, None)
    assert await api.accounts.external_services.calls_of(api.project_id) == []


async def test_mailboxes(api: AccountsServer, admin: AccountsClient) -> None:
    project, address = api.project_id, "sales+eu@example.com"
    await admin.create_mailbox(project_id=project, address=address, room="lobby", queue="mail")
    assert await _status(admin.create_mailbox(project_id=project, address=address, room="lobby", queue="mail")) == 409
    await admin.update_mailbox(project_id=project, address=address, room="office", queue="in")
    assert await admin.list_mailboxes(project_id=project) == [{"address": address, "room": "office", "queue": "in"}]
    await admin.delete_mailbox(project_id=project, address=address)
    assert await admin.list_mailboxes(project_id=project) == []


async def test_a_rooms_data_follows_it_and_no_room_inherits_another_ones(
    api: AccountsServer, admin: AccountsClient
) -> None:
    project, registry = api.project_id, api.accounts.rooms
    room = await admin.create_room(project_id=project, name="a/b c")
    assert await admin.create_room(project_id=project, name="a/b c", if_not_exists=True) == room
    assert await _status(admin.create_room(project_id=project, name="a/b c")) == 409
    assert await admin.get_room(project_id=project, name="a/b c") == room
    assert await registry.storage_name(project, "a/b c") == "a/b c"

    await admin.update_room(project_id=project, room_id=room["id"], name="new")
    assert api.running.ended == ["a/b c"]
    assert await registry.storage_name(project, "new") == "a/b c"
    second = await admin.create_room(project_id=project, name="a/b c")
    assert await registry.storage_name(project, "a/b c") == second["id"]

    await admin.delete_room(project_id=project, room_id=room["id"])
    assert api.data.deleted == ["a/b c"]
    names = [one["name"] for one in (await admin.list_rooms(project_id=project))["rooms"]]
    assert names == ["a/b c"]
    assert await _status(admin.get_room(project_id=project, name="new")) == 404


async def test_members_enter_rooms_by_grants_only(api: AccountsServer, admin: AccountsClient) -> None:
    project = api.project_id
    user = await admin.create_user("ada@example.com")
    await admin.add_user_to_project(project, user["id"])
    room = await admin.create_room(project_id=project, name="lobby")
    as_ada = AccountsClient(api.url, (await admin.create_user_token(user["id"]))["token"])
    try:
        assert await _status(as_ada.connect_room(project_id=project, room_name="lobby")) == 403
        scope = ApiScope.from_json({"storage": {}})
        grant = await admin.create_room_grant(
            project_id=project, room_id=room["id"], user_id=user["id"], permissions=scope
        )
        connection = await as_ada.connect_room(project_id=project, room_name="lobby")
        token = ParticipantToken.from_jwt(connection["jwt"], validate=False)
        assert (token.name, token.role, token.project_id) == ("ada@example.com", "user", project)
        assert token.allows_room("lobby")
        assert token.get_api_grant() == scope
        assert connection["room_url"] == "ws://test/rooms/lobby"
        secret = api.accounts.keys.lookup(project, token.api_key_id or "")
        assert secret is not None
        ParticipantToken.from_jwt(connection["jwt"], secret=secret)

        for listing in (
            admin.list_room_grants(project_id=project),
            admin.list_room_grants_by_user(project_id=project, user_id=user["id"]),
            admin.list_room_grants_by_room(project_id=project, room_id=room["id"]),
        ):
            assert [one["id"] for one in (await listing)["room_grants"]] == [grant["id"]]
        elsewhere = await admin.list_room_grants_by_room(project_id=project, room_id="other")
        assert elsewhere["room_grants"] == []
        await admin.update_room_grant(project_id=project, grant_id=grant["id"])
        assert "permissions" not in await admin.get_room_grant(project_id=project, grant_id=grant["id"])
        await admin.delete_room_grant(project_id=project, grant_id=grant["id"])
        assert await _status(as_ada.connect_room(project_id=project, room_name="lobby")) == 403
    finally:
        await as_ada.close()


async def test_participant_tokens_and_their_check(api: AccountsServer, admin: AccountsClient) -> None:
    jwt = (await admin.create_project_participant_token(api.project_id, "lobby", name="bot", role="agent"))["token"]
    async with aiohttp.ClientSession() as session:

        async def check(token: str) -> object:
            async with session.post(f"{api.url}/api/participant-token/validate", json={"token": token}) as response:
                assert response.status == 200
                return await response.json()

        good, bad = await check(jwt), await check(jwt[:-4] + "AAAA")
    assert good == {
        "valid": True,
        "name": "bot",
        "role": "agent",
        "project_id": api.project_id,
        "rooms": ["lobby"],
    }
    assert isinstance(bad, dict)
    assert (bad["valid"], bool(bad["reason"])) == (False, True)


async def test_shares_open_one_room_until_they_end(api: AccountsServer, admin: AccountsClient) -> None:
    project = api.project_id
    share = await admin.create_share(project, {"room_name": "lobby", "participant_name": "visitor", "note": "x"})
    connection = await admin.connect_share(share["id"])
    token = ParticipantToken.from_jwt(connection["jwt"], validate=False)
    assert (token.name, token.allows_room("lobby"), connection["room_url"]) == (
        "visitor",
        True,
        "ws://test/rooms/lobby",
    )
    assert (await admin.list_shares(project))["shares"][0]["settings"]["note"] == "x"
    await admin.update_share(project, share["id"], {})
    assert await _status(admin.connect_share(share["id"])) == 409
    past = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    await admin.update_share(project, share["id"], {"room_name": "lobby", "expires_at": past})
    assert await _status(admin.connect_share(share["id"])) == 404
    await admin.delete_share(project, share["id"])
    assert (await admin.list_shares(project))["shares"] == []
    assert await _status(admin.create_share(project, {"room_name": 5})) == 400


async def test_clients_of_0_5_find_what_they_ask_for_elsewhere(api: AccountsServer, admin: AccountsClient) -> None:
    share = await admin.create_share(api.project_id, {"room_name": "lobby"})
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer test-admin-token"}) as session:
        async with session.get(f"{api.url}/shares/{api.project_id}") as response:
            assert [one["id"] for one in (await response.json())["shares"]] == [share["id"]]
        async with session.post(f"{api.url}/shares/{share['id']}", json={}) as response:
            assert set(await response.json()) == {"jwt", "room_url"}
        async with session.get(f"{api.url}/accounts/projects/{api.project_id}") as response:
            assert (await response.json())["role"] == "admin"


async def test_sessions(api: AccountsServer, admin: AccountsClient) -> None:
    project, recorder = api.project_id, api.accounts.sessions
    first = recorder.open(project, "lobby", "s1")
    first.record("room.participant_joined", {"name": "ada"})
    await first.close()
    second = recorder.open(project, "lobby", "s2")
    second.record("room.participant_joined", {"name": "bob"})
    api.running.sessions[(project, "lobby")] = "s2"
    api.running.people["p1"] = "bob"

    sessions = {one["id"]: one for one in (await admin.list_recent_sessions(project))["sessions"]}
    assert (sessions["s1"]["is_active"], sessions["s2"]["is_active"]) == (False, True)
    assert (await admin.get_session(project, "s1"))["participants"] == 1
    events = (await admin.list_session_events(project, "s1"))["events"]
    assert [(one["type"], one["data"]) for one in events] == [("room.participant_joined", {"name": "ada"})]
    here = await admin.list_session_participants(project_id=project, session_id="s2")
    assert here == {"participants": [{"id": "p1", "name": "bob", "role": "user"}]}
    assert await admin.list_session_participants(project_id=project, session_id="s1") == {"participants": []}
    await admin.kick_participant(project_id=project, session_id="s2", participant_id="p1")
    assert await _status(admin.kick_participant(project_id=project, session_id="s2", participant_id="p1")) == 404
    await admin.terminate_session(project_id=project, session_id="s2")
    assert await _status(admin.terminate_session(project_id=project, session_id="s2")) == 404
    [usage] = await admin.get_usage(project)
    assert (usage["room_name"], usage["sessions"], usage["participants"]) == ("lobby", 2, 2)


async def test_lists_come_in_pages(api: AccountsServer, admin: AccountsClient) -> None:
    for number in range(5):
        await api.accounts.store.sessions.add(
            Session(id=f"s{number}", project_id=api.project_id, room_name="r", server="x")
        )
    first = await admin.list_recent_sessions(api.project_id, limit=3)
    rest = await admin.list_recent_sessions(api.project_id, limit=3, offset=first["next_offset"])
    ids = [one["id"] for one in first["sessions"] + rest["sessions"]]
    assert sorted(ids) == ["s0", "s1", "s2", "s3", "s4"]
    assert "next_offset" not in rest
    assert await _status(admin.list_recent_sessions(api.project_id, limit=100_000)) == 400


async def test_project_files(api: AccountsServer, admin: AccountsClient) -> None:
    content = bytes(range(256)) * 8000
    await admin.upload(project_id=api.project_id, path="a/b c.bin", data=content)
    assert await admin.download(project_id=api.project_id, path="a/b c.bin") == content
    assert await _status(admin.download(project_id=api.project_id, path="missing")) == 404
    assert await _status(admin.upload(project_id=api.project_id, path="../x", data=b"")) == 400


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b"[]", 400), (b"\xff", 400), (b'{"name": "a\\u0000b"}', 400), (b" " * 2_000_000, 413)],
)
async def test_bad_bodies_are_refused_in_the_one_shape(
    api: AccountsServer, admin: AccountsClient, body: bytes, status: int
) -> None:
    headers = {"Authorization": "Bearer test-admin-token"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{api.url}/accounts/projects", data=io.BytesIO(body)) as response,
    ):
        code = (await response.json())["error"]["code"]
    assert (response.status, code) == (status, "invalid_request" if status == 400 else "body_too_large")


async def test_an_error_repeats_no_secret(api: AccountsServer) -> None:
    body = {"name": "s", "type": "keys", "data": {"TOKEN": ["very secret"]}}
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer test-admin-token"}) as session:
        url = f"{api.url}/accounts/projects/{api.project_id}/secrets"
        async with session.post(url, json=body) as response:
            assert response.status == 400
            text = await response.text()
    assert "data.TOKEN" in text
    assert "very secret" not in text


async def test_the_later_name_is_the_same_class(api: AccountsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHAGENT_API_URL", api.url + "/")
    monkeypatch.setenv("MESHAGENT_ADMIN_TOKEN", "test-admin-token")
    async with Meshagent() as client:
        assert (await client.whoami())["kind"] == "administrator"
