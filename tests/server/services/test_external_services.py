"""The programs that a project calls into its rooms, as participants see them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from meshagent.api.contracts import services as api
from meshagent.api.contracts.operation import EMPTY
from meshagent.api.errors import InvalidStateError, PermissionDeniedError
from meshagent.api.tokens.scope import ApiScope
from meshagent.server.services.external_services import ExternalServicesService
from meshagent.server.webhooks.ports import ExternalService
from tests.support.fake_room import FakeRoom, fake_participant, start_operation


@dataclass(frozen=True)
class Call:
    service_id: str
    url: str
    participant_name: str
    liveness_url: str | None = None
    role: str = "agent"


class Calls:
    """A source with two services, of which one has two endpoints."""

    async def calls_of(self, project_id: str) -> Sequence[ExternalService]:
        assert project_id == "project"
        return [
            Call("s1", "http://127.0.0.1:8080/one", "one"),
            Call("s2", "https://agents.example/", "helper", role="tool"),
            Call("s1", "http://127.0.0.1:8080/two", "two"),
        ]


async def test_services_are_listed_with_their_endpoints_and_states() -> None:
    room = FakeRoom()
    alice = room.join()
    room.join(fake_participant("two", role="agent"))
    listed = await ExternalServicesService(room, Calls()).list(alice, EMPTY)
    first, second = map(json.loads, listed.services_json)
    assert (first["id"], first["url"], first["ports"][0]["num"]) == ("s1", "http://127.0.0.1:8080", 8080)
    assert [endpoint["path"] for endpoint in first["ports"][0]["endpoints"]] == ["/one", "/two"]
    assert second["ports"][0]["endpoints"] == [{"path": "/", "identity": "helper", "role": "tool"}]
    assert [(state.service_id, state.state) for state in listed.service_states] == [
        ("s1", "running"),
        ("s2", "stopped"),
    ]


async def test_a_service_with_a_stored_url_that_cannot_be_is_listed() -> None:
    class Old(Calls):
        async def calls_of(self, project_id: str) -> Sequence[ExternalService]:
            return [Call("s1", "http://[::1", "one"), Call("s2", "http://127.0.0.1:99999/x", "two")]

    room = FakeRoom()
    listed = await ExternalServicesService(room, Old()).list(room.join(), EMPTY)
    assert [json.loads(text)["id"] for text in listed.services_json] == ["s1", "s2"]


def test_services_cannot_be_restarted_from_here() -> None:
    with pytest.raises(InvalidStateError) as caught:
        ExternalServicesService(FakeRoom(), Calls()).restart(fake_participant(), api.RestartRequest(service_id="s1"))
    assert caught.value.wire_code == 7002


async def test_listing_needs_a_grant() -> None:
    service = ExternalServicesService(FakeRoom(), Calls())
    with pytest.raises(PermissionDeniedError):
        await start_operation(service.operations(), api.LIST, fake_participant(scope=ApiScope()), EMPTY)
