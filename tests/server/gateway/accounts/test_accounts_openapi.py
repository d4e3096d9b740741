"""The OpenAPI document: complete, valid, true to what the server does."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import aiohttp
import jsonschema
import pytest

from meshagent.api.accounts_client import AccountsClient, KeysSecret, Service
from tests.support.accounts_server import ADMIN_TOKEN, AccountsServer


async def _document(api: AccountsServer) -> dict[str, object]:
    async with aiohttp.ClientSession() as session, session.get(f"{api.url}/openapi.json") as response:
        assert response.status == 200
        document: dict[str, object] = await response.json()
        return document


async def test_every_route_is_described(api: AccountsServer) -> None:
    document = await _document(api)
    assert document["openapi"] == "3.1.0"
    paths = document["paths"]
    assert isinstance(paths, dict)
    described = {(method.upper(), path): item for path, item in paths.items() for method, item in item.items()}
    assert {key: item["operationId"] for key, item in described.items()} == {
        (route.method, route.path): route.name for route in api.table
    }
    assert all(item["summary"] and item["description"] for item in described.values())


async def test_every_reference_leads_somewhere(api: AccountsServer) -> None:
    document = await _document(api)
    text = json.dumps(document)
    components = document["components"]
    assert isinstance(components, dict)
    for name, schema in components["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert f'"#/components/schemas/{name}"' in text, f"nothing uses the schema {name}"
    used = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert used <= set(components["schemas"])


async def test_the_page_needs_nothing_from_elsewhere(api: AccountsServer) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"{api.url}/docs") as response:
        page = await response.text()
        assert response.status == 200
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert "http://" not in page
    assert "https://" not in page
    assert 'fetch("openapi.json")' in page


async def _something_of_each_kind(api: AccountsServer, admin: AccountsClient) -> dict[str, list[str]]:
    """Ids for the parameters of paths; some are deleted on the way, so there are several of each."""
    project = api.project_id
    ids: dict[str, list[str]] = {"project_id": [project], "session_id": ["running", "ended"], "participant_id": ["p1"]}
    for number in ("1", "2", "3"):
        user = await admin.create_user(f"{number}@example.com")
        await admin.add_user_to_project(project, user["id"])
        room = await admin.create_room(project_id=project, name=f"room {number}")
        grant = await admin.create_room_grant(project_id=project, room_id=room["id"], user_id=user["id"])
        hook = await admin.create_project_webhook(project, number, "http://localhost/x", ["*"])
        service = await admin.create_service(project_id=project, service=Service(name=number, image="x"))
        await admin.create_mailbox(project_id=project, address=f"{number}@example.com", room="r", queue="q")
        made = {
            "user_id": user["id"],
            "token_id": (await admin.create_user_token(user["id"]))["id"],
            "room": f"room {number}",
            "room_id": room["id"],
            "grant_id": grant["id"],
            "key_id": (await admin.create_project_api_key(project, number, ""))["id"],
            "secret_id": await admin.create_secret(project_id=project, secret=KeysSecret(name=number, data={})),
            "webhook_id": hook["id"],
            "service_id": service["id"],
            "address": f"{number}@example.com",
            "share_id": (await admin.create_share(project, {"room_name": "lobby"}))["id"],
        }
        for name, value in made.items():
            ids.setdefault(name, ["missing"]).append(value)
    logs = [api.accounts.sessions.open(project, "lobby", session_id) for session_id in ids["session_id"]]
    for log in logs:
        log.record("room.participant_joined", {"name": "ada"})
    await logs[1].close()
    api.running.sessions[(project, "lobby")] = "running"
    api.running.people["p1"] = "ada"
    return ids


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_no_request_makes_the_server_fail(api: AccountsServer, admin: AccountsClient, tmp_path: Path) -> None:
    """Schemathesis sends what the document allows, and what it forbids; ids lead to what exists, or did."""
    document = await _document(api)
    existing = await _something_of_each_kind(api, admin)
    paths = document["paths"]
    assert isinstance(paths, dict)
    for methods in paths.values():
        for operation in methods.values():
            for parameter in operation["parameters"]:
                if parameter["name"] in existing:
                    parameter["schema"]["enum"] = existing[parameter["name"]]
    description = tmp_path / "openapi.json"
    description.write_text(json.dumps(document))
    checks = (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
    )
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", str(description), "--url", api.url),
        *("--header", f"Authorization: Bearer {ADMIN_TOKEN}", "--checks", ",".join(checks)),
        *("--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "15", "--seed", "1"),
        *("--generation-database", "none", "--no-color", "--continue-on-failure"),
    ]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=tmp_path
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, output.decode()[-8000:]
