"""Registrations: which toolkit a call reaches, who sees what, and what a host may register."""

from __future__ import annotations

from typing import Any

import pytest

from meshagent.api.contracts.agents import RegisterAgentRequest, RegisteredTool, RegisterToolkitRequest
from meshagent.api.errors import AlreadyExistsError, LimitExceededError
from meshagent.server.services.agents import registry as module
from meshagent.server.services.agents.hosting import HostedToolkit
from meshagent.server.services.agents.registry import Registry, describe_agent, describe_toolkit
from tests.support.fake_room import fake_participant

ALICE, BOB = fake_participant("alice"), fake_participant("bob")


class Registered:
    """A registry whose toolkits are reached by nobody."""

    def __init__(self) -> None:
        self.registry = Registry()

    def add(self, host: Any, name: str = "math", *, public: bool = True, **tools: RegisteredTool) -> HostedToolkit:
        request = RegisterToolkitRequest(name=name, public=public, tools=tools)
        return self.registry.add_toolkit(host, request, None)  # type: ignore[arg-type]  # nothing is called here


def test_of_public_toolkits_the_oldest_is_reached() -> None:
    registered = Registered()
    first, second = registered.add(ALICE), registered.add(BOB)
    assert registered.registry.find_toolkit("math", "anybody") is first
    assert registered.registry.visible_toolkits("anybody") == {"math": first}
    registered.registry.remove(first.id, ALICE)
    assert registered.registry.find_toolkit("math", "anybody") is second


def test_a_private_toolkit_is_for_calls_that_name_its_host() -> None:
    registered = Registered()
    public, private = registered.add(ALICE), registered.add(BOB, public=False)
    assert registered.registry.find_toolkit("math", ALICE.id) is public
    assert registered.registry.find_toolkit("math", BOB.id) is private
    assert registered.registry.visible_toolkits(BOB.id) == {"math": private}
    assert registered.registry.find_toolkit("other", BOB.id) is None


def test_a_host_has_one_toolkit_of_a_name() -> None:
    registered = Registered()
    toolkit = registered.add(ALICE)
    with pytest.raises(AlreadyExistsError, match="toolkit 'math' is already registered"):
        registered.add(ALICE, public=False)
    registered.registry.remove(toolkit.id, ALICE)
    registered.add(ALICE)


def test_only_the_host_takes_a_registration_back() -> None:
    registered = Registered()
    toolkit = registered.add(ALICE)
    agent = registered.registry.add_agent(ALICE, RegisterAgentRequest(name="adder"))
    for registration_id in (toolkit.id, agent.id, "unknown"):
        registered.registry.remove(registration_id, BOB)
    assert registered.registry.find_toolkit("math", BOB.id) is toolkit
    assert registered.registry.find_agent("adder") is agent
    registered.registry.remove(agent.id, ALICE)
    assert registered.registry.agents() == []


def test_who_leaves_hosts_nothing() -> None:
    registered = Registered()
    registered.add(ALICE)
    kept = registered.add(BOB, "other")
    registered.registry.add_agent(ALICE, RegisterAgentRequest(name="adder"))
    registered.registry.remove_all_of(ALICE)
    assert registered.registry.visible_toolkits(ALICE.id) == {"other": kept}
    assert registered.registry.find_agent("adder") is None


def test_registrations_of_one_host_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REGISTRATIONS_PER_PARTICIPANT", 2)
    registered = Registered()
    registered.add(ALICE)
    registered.registry.add_agent(ALICE, RegisterAgentRequest(name="adder"))
    with pytest.raises(LimitExceededError):
        registered.add(ALICE, "one more")
    with pytest.raises(LimitExceededError):
        registered.registry.add_agent(ALICE, RegisterAgentRequest(name="one more"))
    registered.add(BOB)


def test_listings_have_every_member_that_clients_read() -> None:
    registered = Registered()
    tool = RegisteredTool(input_schema={"type": "object"})
    described = describe_toolkit(registered.add(ALICE, add=tool, costly=RegisteredTool(pricing="much")))
    assert {key: described[key] for key in ("title", "description", "thumbnail_url", "participant_id")} == {
        "title": "math",
        "description": "",
        "thumbnail_url": None,
        "participant_id": ALICE.id,
    }
    assert described["tools"]["add"] == {
        "title": "add",
        "description": "",
        "input_schema": {"type": "object"},
        "thumbnail_url": None,
        "defs": None,
        "supports_context": False,
        "input_spec": None,
    }
    assert described["tools"]["costly"]["pricing"] == "much"
    requires = [{"toolkit": "math"}, {"schema": "thread"}]
    agent = registered.registry.add_agent(ALICE, RegisterAgentRequest(name="adder", requires=requires))
    assert {key: describe_agent(agent)[key] for key in ("title", "labels", "supports_tools", "requires")} == {
        "title": "adder",
        "labels": [],
        "supports_tools": False,
        "requires": [{"tools": None, "toolkit": "math"}, {"schema": "thread"}],
    }
