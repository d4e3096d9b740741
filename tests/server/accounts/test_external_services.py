"""Which calls a project's service stands for."""

from __future__ import annotations

from typing import Any

import pytest

from meshagent.api.accounts.services import Service
from meshagent.server.accounts import records
from meshagent.server.accounts.external_services import as_service, definition_of, service_calls


def _calls(**values: Any) -> list[tuple[str, str | None, str, str]]:
    service = Service.model_validate({"id": "s", "name": "bot", **values})
    return [(call.url, call.liveness_url, call.participant_name, call.role) for call in service_calls(service)]


def test_a_service_without_a_url_is_not_called() -> None:
    assert _calls(image="bot:1") == []


def test_a_service_without_ports_is_called_at_its_url() -> None:
    assert _calls(url="http://x/base/") == [("http://x/base", None, "bot", "agent")]
    assert _calls(url="http://x", role="user") == [("http://x", None, "bot", "user")]


def test_each_callable_endpoint_is_called() -> None:
    endpoints = [
        {"type": "meshagent.callable", "path": "/a", "participant_name": "ann"},
        {"type": "mcp.sse", "path": "/b"},
        {"type": "meshagent.callable", "path": "c", "role": "tool"},
    ]
    assert _calls(url="http://x/", ports={"1": {"liveness_path": "/up", "endpoints": endpoints}}) == [
        ("http://x/a", "http://x/up", "ann", "agent"),
        ("http://x/c", "http://x/up", "bot", "tool"),
    ]


@pytest.mark.parametrize(("kind", "calls"), [(None, 1), ("meshagent.callable", 1), ("mcp.sse", 0)])
def test_a_port_without_endpoints_is_called_if_its_type_says_so(kind: str | None, calls: int) -> None:
    port = {"path": "/p"} | ({} if kind is None else {"type": kind})
    assert len(_calls(url="http://x", ports={"1": port})) == calls


def test_a_stored_definition_is_the_service_again() -> None:
    service = Service.model_validate({"name": "bot", "url": "http://x", "environment": {"TOKEN": "t"}})
    record = records.Service(project_id="p", name="bot", definition=definition_of(service))
    restored = as_service(record)
    assert (restored.id, restored.name, restored.url) == (record.id, "bot", "http://x")
    assert definition_of(restored) == record.definition
    assert "name" not in record.definition
