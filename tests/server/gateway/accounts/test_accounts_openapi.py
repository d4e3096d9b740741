"""The OpenAPI document: complete, valid, true to what the server does."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import aiohttp
import jsonschema
import pytest

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


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_no_request_makes_the_server_fail(api: AccountsServer, tmp_path: Path) -> None:
    """Schemathesis sends what the document allows, and what it forbids; ids lead to what exists, sometimes."""
    await api.accounts.rooms.create(api.project_id, "lobby")
    document = await _document(api)
    paths = document["paths"]
    assert isinstance(paths, dict)
    existing = {"project_id": [api.project_id], "room": ["lobby", "missing"], "share_id": ["missing"]}
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
        *("--phases", "examples,coverage,fuzzing", "--max-examples", "15", "--seed", "1"),
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
