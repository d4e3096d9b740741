"""Services, secrets and service files, as clients of 0.5 know them."""

from __future__ import annotations

from datetime import datetime

import pytest
import yaml
from pydantic import ValidationError

from meshagent.api import accounts_client
from meshagent.api.accounts.secrets import KeysSecret, PullSecret, parse_secret
from meshagent.api.accounts.services import Endpoint, Port, Service, Services
from meshagent.api.specs.service import ServiceSpec, ServiceTemplateSpec

SPEC = """
version: v1
kind: Service
name: bot
image: bot:1
secrets: [model]
environment: {LOG: debug}
ports:
  - num: 8081
    type: meshagent.callable
    liveness: /
    endpoints:
      - {path: /chat, identity: chatty, role: agent}
      - {path: /page, identity: page, type: http}
  - num: "*"
"""

TEMPLATE = """
version: v1
kind: ServiceTemplate
name: bot
url: http://localhost:9
variables:
  - {name: key, obscure: true}
  - {name: region, optional: true}
environment:
  - {name: KEY, value: "Bearer {key}"}
  - {name: REGION, value: "{region}"}
"""


def test_what_is_not_set_is_not_sent() -> None:
    service = Service(name="bot", image="bot:1", builtin=True)
    assert service.model_dump(exclude_unset=True) == {"name": "bot", "image": "bot:1"}


def test_a_service_runs_somewhere() -> None:
    with pytest.raises(ValidationError, match="image or a url"):
        Service(name="bot")
    with pytest.raises(ValidationError):
        Service(name="bot", url="file:///etc/passwd")


@pytest.mark.parametrize("ports", [[None], (None,), [], None])
def test_the_older_form_of_no_ports_is_none(ports: object) -> None:
    assert Service.model_validate({"name": "bot", "image": "b", "ports": ports}).ports is None


def test_port_numbers_are_texts() -> None:
    service = Service.model_validate({"name": "b", "image": "b", "ports": {8081: {"type": "http"}, "*": {}}})
    assert service.ports == {"8081": Port(type="http"), "*": Port()}
    with pytest.raises(ValidationError):
        Service.model_validate({"name": "b", "image": "b", "ports": {"http": {}}})


def test_members_of_newer_clients_are_kept() -> None:
    service = Service.model_validate({"name": "b", "image": "b", "agents": [{"name": "x"}]})
    assert service.model_dump(mode="json", exclude_unset=True)["agents"] == [{"name": "x"}]
    assert Services(services=[service]).services[0] == service


def test_secrets_are_told_apart_by_type() -> None:
    pull = PullSecret(id="1", name="r", server="s", username="u", password="p")
    assert pull.payload() == {"server": "s", "username": "u", "password": "p", "email": "none@example.com"}
    assert parse_secret({"id": "1", "name": "r", "type": "docker", "data": pull.payload()}) == pull
    keys = KeysSecret(id="2", name="k", data={"A": "b"})
    for kind in ("keys", "something newer"):
        assert parse_secret({"id": "2", "name": "k", "type": kind, "data": {"A": "b"}}) == keys


def test_a_service_file_becomes_a_service() -> None:
    service = ServiceSpec.model_validate(yaml.safe_load(SPEC)).to_service()
    assert (service.id, service.name, service.image) == ("", "bot", "bot:1")
    assert service.environment_secrets == ["model"]
    assert service.ports == {
        "8081": Port(
            type="meshagent.callable",
            liveness_path="/",
            endpoints=[
                Endpoint(type="meshagent.callable", path="/chat", participant_name="chatty", role="agent"),
                Endpoint(type="http", path="/page", participant_name="page", role=None),
            ],
        ),
        "*": Port(type=None, liveness_path=None, endpoints=[]),
    }
    assert datetime.fromisoformat(service.created_at or "").tzinfo is not None


def test_a_template_is_filled_in() -> None:
    template = ServiceTemplateSpec.model_validate(yaml.safe_load(TEMPLATE))
    spec = template.to_service_spec(values={"key": "x"})
    assert spec.environment == {"KEY": "Bearer x", "REGION": ""}
    assert spec.to_service().url == "http://localhost:9"
    with pytest.raises(KeyError):
        template.to_service_spec(values={"region": "eu"})


def test_the_public_names_are_there() -> None:
    for name in accounts_client.__all__:
        assert getattr(accounts_client, name) is not None
    assert accounts_client.Meshagent is accounts_client.AccountsClient
