"""The agents service: asks, listings, calls, and what each needs; hosts and callers are fakes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshagent.api import jsontext
from meshagent.api.contracts import agents as api
from meshagent.api.contracts.operation import EMPTY, Operation
from meshagent.api.errors import ConnectionLostError, NotFoundError, PermissionDeniedError, RoomException
from meshagent.api.tokens.grants import AgentsGrant
from meshagent.api.tokens.scope import ApiScope
from meshagent.server.kernel.operations import EncodedContent
from tests.support.agents_room import AgentsRoom, flat_toolkit
from tests.support.fake_caller import FakeCaller
from tests.support.fake_room import fake_participant, start_operation


class Agents(AgentsRoom):
    """A person, and a host that is an agent."""

    def __init__(self) -> None:
        super().__init__()
        self.alice = self.join("alice")
        self.host = self.join("host", role="agent")

    def register(self, name: str = "adder", **more: Any) -> None:
        request = api.RegisterAgentRequest(name=name, **more)
        self.service.register_agent(self.host.participant, request)

    def ask(self, agent: str = "adder", **more: Any) -> asyncio.Future[api.AskResult]:  # type: ignore[override]  # an ask
        request = api.AskRequest(agent=agent, arguments=jsontext.raw({"a": 1}), **more)
        return self.service.ask(self.alice.participant, request)

    def answer(self, task_id: str, host: FakeCaller | None = None, **answer: Any) -> None:
        self.service.ask_answered((host or self.host).participant, api.AskAnswer(task_id=task_id, **answer))

    def asked(self) -> Any:
        """The ask that the host got."""
        [event] = self.room.take_events()
        assert (event.message_type, event.to) == (api.ASKED.name, ("host-id",))
        return event.header


async def test_an_agent_is_asked_and_answers() -> None:
    agents = Agents()
    agents.register()
    answer = agents.ask()
    asked = agents.asked()
    assert (asked["agent"], asked["caller_id"], asked["arguments"], asked["toolkits"]) == (
        "adder",
        "alice-id",
        {"a": 1},
        [],
    )
    agents.answer(asked["task_id"], answer=jsontext.raw({"sum": 1}), caller_context={"c": 1})
    assert await answer == api.AskResult(answer=jsontext.raw({"sum": 1}), caller_context={"c": 1})
    with pytest.raises(NotFoundError, match="no ask with the task id"):
        agents.answer(asked["task_id"])


async def test_an_agent_fails_in_its_own_words() -> None:
    agents = Agents()
    agents.register()
    answer = agents.ask()
    agents.answer(agents.asked()["task_id"], error="cannot add")
    with pytest.raises(RoomException, match=r"^cannot add$"):
        await answer


async def test_only_the_agent_that_was_asked_answers() -> None:
    agents = Agents()
    agents.register()
    answer = agents.ask()
    with pytest.raises(NotFoundError):
        agents.answer(agents.asked()["task_id"], agents.alice)
    assert not answer.done()
    agents.leave(agents.host)
    with pytest.raises(ConnectionLostError, match="host left the room before it answered the ask of adder"):
        await answer


async def test_the_ask_of_a_caller_that_left_is_forgotten() -> None:
    agents = Agents()
    agents.register()
    answer, second = agents.ask(), agents.ask()
    first_id, second_id = (event.header["task_id"] for event in agents.room.take_events())
    second.cancel()
    with pytest.raises(NotFoundError, match="stopped waiting"):
        agents.answer(second_id)
    agents.leave(agents.alice)
    assert answer.cancelled()
    with pytest.raises(NotFoundError):
        agents.answer(first_id)


@pytest.mark.parametrize(
    "more",
    [
        {"requires": [{"toolkit": "math", "tools": ["add"]}, {"schema": "thread"}]},
        {"requires": [{"toolkit": "math"}]},
        {"toolkits": {"math": {"use": {"add": {}}}}},
        {"toolkits": {"math": {}}},
    ],
)
async def test_required_toolkits_are_handed_along(more: dict[str, Any]) -> None:
    agents = Agents()
    agents.register()
    agents.service.register_toolkit(agents.alice.participant, flat_toolkit(public=False))
    agents.ask(**more)
    [toolkit] = agents.asked()["toolkits"]
    # `raw` has no schema, and hosts refuse such tools.
    assert (toolkit["name"], [tool["name"] for tool in toolkit["tools"]]) == ("math", ["add"])


async def test_the_rooms_own_toolkits_can_be_required() -> None:
    agents = Agents()
    agents.register()
    agents.ask(requires=[{"toolkit": "agents", "tools": ["adder"]}])
    [toolkit] = agents.asked()["toolkits"]
    assert (toolkit["title"], [tool["name"] for tool in toolkit["tools"]]) == ("Agents", ["adder"])


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"agent": "nobody"}, "no agent 'nobody'"),
        ({"requires": [{"toolkit": "math"}]}, "toolkit 'math' is not in this room"),
        ({"requires": [{"toolkit": "agents", "tools": ["add"]}]}, "has no tool 'add'"),
        ({"on_behalf_of_id": "nobody"}, "no participant 'nobody'"),
    ],
)
async def test_asks_that_are_refused(more: dict[str, Any], text: str) -> None:
    agents = Agents()
    agents.register()
    with pytest.raises(NotFoundError, match=text):
        agents.ask(**more)
    assert agents.room.take_events() == []


async def test_people_act_on_behalf_of_themselves_only() -> None:
    agents = Agents()
    agents.service.check_on_behalf_of(agents.alice.participant, None)
    agents.service.check_on_behalf_of(agents.alice.participant, "alice-id")
    agents.service.check_on_behalf_of(agents.host.participant, "alice-id")
    with pytest.raises(PermissionDeniedError):
        agents.service.check_on_behalf_of(agents.alice.participant, "host-id")


async def test_a_hosted_tool_is_called_and_its_answer_relayed() -> None:
    agents = Agents()
    agents.service.register_toolkit(agents.host.participant, flat_toolkit())
    request = api.InvokeToolRequest(toolkit="math", tool="add", arguments=jsontext.raw({"a": 1}))
    answer = asyncio.ensure_future(agents.service.invoke_tool(agents.alice.participant, request, b"p"))
    [event] = agents.room.take_events()
    assert (event.header["arguments"], event.payload) == ({"a": 1}, b"p")
    content = EncodedContent(b'{"type":"json","json":{"sum":1}}')
    agents.calls.host_answered(agents.host.participant, 1, content)
    assert await answer is content


async def test_unknown_toolkits_and_tools() -> None:
    agents = Agents()
    agents.service.register_toolkit(agents.host.participant, flat_toolkit())
    assert agents.service.is_hosted("math", "alice-id")
    assert not agents.service.is_hosted("agents", "alice-id")
    for toolkit, tool in (("math", "sub"), ("nowhere", "add"), ("agents", "nobody")):
        request = api.InvokeToolRequest(toolkit=toolkit, tool=tool, arguments=jsontext.raw({}))
        with pytest.raises(NotFoundError):
            await agents.service.invoke_tool(agents.alice.participant, request, b"")


async def test_a_program_is_called_into_the_room() -> None:
    agents = Agents()
    request = api.CallRequest(name="bot", url="http://127.0.0.1/bot", arguments={"a": 1})
    assert await agents.service.call(agents.alice.participant, request) == EMPTY
    assert agents.call_router.called == [("bot", "http://127.0.0.1/bot", {"a": 1})]
    assert agents.room.recorded[-1][0] == "agent.call"


async def test_listings_follow_what_is_registered() -> None:
    agents = Agents()
    registered = agents.service.register_toolkit(agents.host.participant, flat_toolkit())
    listed = agents.service.list_toolkits(agents.alice.participant, api.ListToolkitsRequest())
    assert set(listed.tools) == {"math"}
    agents.service.unregister(agents.host.participant, api.UnregisterRequest(id=registered.id))
    assert agents.service.list_toolkits(agents.alice.participant, api.ListToolkitsRequest()).tools == {}
    agents.register()
    listing = agents.service.list_agents(agents.alice.participant, EMPTY)
    assert [agent["name"] for agent in listing.agents] == ["adder"]


REQUESTS: list[tuple[Operation[Any, Any], Any, str]] = [
    (api.REGISTER_AGENT, api.RegisterAgentRequest(name="x"), "register_agent"),
    (api.REGISTER_TOOLKIT, flat_toolkit(public=True), "register_public_toolkit"),
    (api.REGISTER_TOOLKIT, flat_toolkit(public=False), "register_private_toolkit"),
    (api.LIST_AGENTS, EMPTY, "use_agents"),
    (api.LIST_TOOLKITS, api.ListToolkitsRequest(), "use_tools"),
    (api.CALL, api.CallRequest(name="x", url="http://127.0.0.1/"), "call"),
]
ACTIONS = ("register_agent", "register_public_toolkit", "register_private_toolkit", "use_agents", "use_tools", "call")


@pytest.mark.parametrize(("operation", "request_", "action"), REQUESTS)
async def test_each_operation_needs_its_own_grant(operation: Operation[Any, Any], request_: Any, action: str) -> None:
    agents = Agents()
    for granted in (True, False):
        grant = AgentsGrant(**{name: (name == action) == granted for name in ACTIONS})
        caller = fake_participant("limited", scope=ApiScope(agents=grant))
        answer = start_operation(agents.service.operations(), operation, caller, request_)
        if granted:
            await answer
        else:
            with pytest.raises(PermissionDeniedError):
                await answer
