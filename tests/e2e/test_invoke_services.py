"""`services.list`: what a room's participants see of the services that its project calls in."""

from __future__ import annotations

import json

from meshagent.api.accounts_client import AccountsClient, Service
from tests.support.invoke_client import invoke
from tests.support.server import PROJECT_ID, TestServer
from tests.support.wire_client import join


async def test_services_are_listed_with_their_state(server: TestServer) -> None:
    async with AccountsClient(server.url, "test-admin-token") as admin:
        service = Service.model_validate({"name": "helper", "url": "http://127.0.0.1:9/helper"})
        created = await admin.create_service(project_id=PROJECT_ID, service=service)
    async with join(server, "alice") as alice:
        listed = (await invoke(alice, "services", "list", {})).header["json"]
        assert set(listed) == {"services_json", "service_states"}
        (specification,) = map(json.loads, listed["services_json"])
        assert specification["kind"] == "Service"
        assert specification["name"] == "helper"
        (state,) = listed["service_states"]
        assert state == {"service_id": created["id"], "state": "stopped", "container_id": None, "restart_count": 0}
        async with join(server, "helper", role="agent"):
            (state,) = (await invoke(alice, "services", "list", {})).header["json"]["service_states"]
            assert state["state"] == "running"
        refused = (await invoke(alice, "services", "restart", {"service_id": created["id"]})).header
        assert (refused["type"], refused["code"]) == ("error", 7002)
