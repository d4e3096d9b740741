"""Toolkits and agents at wire level: registering, listing, calling, leaving (protocol 9)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshagent.api.contracts.content import Body, EmptyBody, ErrorBody
from meshagent.api.messaging import FileResponse, JsonResponse, LinkResponse, RawOutputs, TextResponse
from tests.support.server import TestServer
from tests.support.wire_client import Received, WireClient, join

MATH = {
    "name": "math-toolkit",
    "title": "math",
    "description": "arithmetic",
    "thumbnail_url": None,
    "tools": {
        "add": {"title": "Add", "description": "adds", "input_schema": {"type": "object"}, "thumbnail_url": None},
        "upload": {"title": "Upload", "description": "takes a file", "thumbnail_url": None},
    },
}


async def register(client: WireClient, *, public: bool = True, **changes: Any) -> str:
    return str((await client.ok("agent.register_toolkit", {**MATH, "public": public, **changes}))["id"])


async def answer_call(host: WireClient, content: Body, name: str = "math-toolkit") -> Received:
    """Take the next forwarded call and answer it; the call."""
    call = await host.expect(f"agent.tool_call.{name}")
    payload = content.get_data() or b""
    await host.send("agent.tool_call_response", content.to_json(), payload, message_id=call.id)
    return call


INVOKE = {"toolkit": "math-toolkit", "tool": "add", "arguments": {"a": 1, "b": 2}}


@pytest.mark.parametrize(
    "content",
    [
        JsonResponse(json={"result": 3}, usage={"tokens": 5}),
        TextResponse(text="three"),
        EmptyBody(),
        LinkResponse(url="https://example.com", name="x"),
        FileResponse(data=bytes(range(256)) * 1000, name="a.bin", mime_type="application/octet-stream"),
        RawOutputs(outputs=[{"a": 1}]),
        ErrorBody(text="cannot"),
    ],
    ids=lambda content: content.type,
)
async def test_each_kind_of_answer_reaches_the_caller_unchanged(server: TestServer, content: Body) -> None:
    async with join(server, "host", role="tool") as host, join(server, "caller") as caller:
        await register(host)
        request = await caller.send("agent.invoke_tool", INVOKE, b"payload")
        call = await answer_call(host, content)
        assert call.header["name"] == "add"
        assert call.header["arguments"] == {"a": 1, "b": 2}
        assert call.header["caller_id"] == caller.participant_id
        assert call.header["on_behalf_of_id"] is None
        assert call.payload == b"payload"
        answer = await caller.answer(request)
        assert answer.header == content.to_json()
        assert answer.payload == (content.get_data() or b"")
        await host.settle()
        assert len(host.of_type("__response__")) == 2, "the host's answer must not be answered"


async def test_a_participant_may_call_what_it_hosts(server: TestServer) -> None:
    async with join(server) as alice:
        await register(alice, public=False)
        request = await alice.send("agent.invoke_tool", INVOKE)
        await answer_call(alice, TextResponse(text="me"))
        assert (await alice.answer(request)).header["text"] == "me"


async def test_private_toolkits_are_for_those_who_name_the_participant(server: TestServer) -> None:
    async with join(server, "ui") as ui, join(server, "agent", role="agent") as agent:
        await register(ui, name="ui", public=False)
        assert "ui" not in (await agent.ok("agent.list_toolkits", {"participant_id": None}))["tools"]
        assert "ui" in (await agent.ok("agent.list_toolkits", {"participant_id": ui.participant_id}))["tools"]
        assert "ui" in (await ui.ok("agent.list_toolkits", {}))["tools"]
        invoke = {**INVOKE, "toolkit": "ui"}
        assert "no toolkit 'ui'" in await agent.error("agent.invoke_tool", invoke)
        named = {"participant_id": ui.participant_id, "on_behalf_of_id": ui.participant_id}
        request = await agent.send("agent.invoke_tool", {**invoke, **named})
        call = await answer_call(ui, TextResponse(text="clicked"), "ui")
        assert call.header["on_behalf_of_id"] == ui.participant_id
        assert (await agent.answer(request)).header["text"] == "clicked"


async def test_a_listing_has_the_documented_shape(server: TestServer) -> None:
    async with join(server) as alice:
        await register(alice)
        listed = (await alice.ok("agent.list_toolkits", {"participant_id": None}))["tools"]["math-toolkit"]
        assert {key: listed[key] for key in ("title", "description", "thumbnail_url")} == {
            "title": "math",
            "description": "arithmetic",
            "thumbnail_url": None,
        }
        add = listed["tools"]["add"]
        assert add["input_schema"] == {"type": "object"}
        assert add["defs"] is None
        assert listed["tools"]["upload"]["input_schema"] is None


async def test_unknown_names_and_doubled_registrations_are_refused(server: TestServer) -> None:
    async with join(server) as alice:
        assert "no toolkit" in await alice.error("agent.invoke_tool", INVOKE)
        registration = await register(alice)
        assert "no tool 'fly'" in await alice.error("agent.invoke_tool", {**INVOKE, "tool": "fly"})
        assert "already" in await alice.error("agent.register_toolkit", {**MATH, "public": True})
        await alice.ok("agent.unregister_toolkit", {"id": registration})
        await alice.ok("agent.unregister_toolkit", {"id": registration})
        assert "no toolkit" in await alice.error("agent.invoke_tool", INVOKE)


async def test_a_host_that_leaves_frees_its_callers_and_its_registrations(server: TestServer) -> None:
    async with join(server, "caller") as caller:
        async with join(server, "host", role="tool") as host:
            await register(host)
            request = await caller.send("agent.invoke_tool", INVOKE)
            await host.expect("agent.tool_call.math-toolkit")
        answer = await caller.answer(request)
        assert answer.header["type"] == "error"
        assert "left the room" in answer.header["text"]
        assert "math-toolkit" not in (await caller.ok("agent.list_toolkits", {}))["tools"]


async def test_the_answer_to_a_caller_that_left_is_dropped(server: TestServer) -> None:
    async with join(server, "host", role="tool") as host:
        await register(host)
        async with join(server, "caller") as caller:
            await caller.send("agent.invoke_tool", INVOKE)
            call = await host.expect("agent.tool_call.math-toolkit")
        await host.send("agent.tool_call_response", TextResponse(text="late").to_json(), message_id=call.id)
        await host.settle()


async def test_a_thousand_calls_at_once_through_one_toolkit(server: TestServer) -> None:
    async with join(server, "host", role="tool") as host, join(server, "caller") as caller:
        await register(host)

        async def serve_calls() -> None:
            for _ in range(1000):
                call = await host.expect("agent.tool_call.math-toolkit")
                result = JsonResponse(json={"sum": call.header["arguments"]["a"] + 1})
                await host.send("agent.tool_call_response", result.to_json(), message_id=call.id)

        serving = asyncio.create_task(serve_calls())
        requests = [
            await caller.send("agent.invoke_tool", {**INVOKE, "arguments": {"a": number}}) for number in range(1000)
        ]
        sums = [(await caller.answer(request)).header["json"]["sum"] for request in requests]
        await serving
        assert sums == list(range(1, 1001))


ADDER = {
    "name": "adder",
    "title": "Adder",
    "description": "adds",
    "input_schema": {"type": "object"},
    "output_schema": None,
    "requires": [{"toolkit": "ui"}, {"schema": "thread"}],
    "supports_tools": False,
    "labels": ["math"],
}


async def test_an_agent_is_listed_asked_and_answers(server: TestServer) -> None:
    async with join(server, "host", role="agent") as host, join(server, "caller") as caller:
        await host.ok("agent.register_agent", ADDER)
        (listed,) = (await caller.ok("agent.list_agents"))["agents"]
        assert listed == {**ADDER, "requires": [{"toolkit": "ui", "tools": None}, {"schema": "thread"}]}
        await register(caller, name="ui", public=False)
        ask = {"agent": "adder", "arguments": {"a": 1}, "requires": [{"toolkit": "ui", "tools": None}]}
        request = await caller.send("agent.ask", ask)
        task = (await host.expect("agent.ask")).header
        assert task["arguments"] == {"a": 1}
        assert task["caller_id"] == caller.participant_id
        assert "on_behalf_of_id" not in task
        (toolkit,) = task["toolkits"]
        assert toolkit["name"] == "ui"
        assert [tool["name"] for tool in toolkit["tools"]] == ["add"], "request tools are left out"
        await host.send("agent.ask_response", {"task_id": task["task_id"], "answer": {"sum": 3}, "caller_context": {}})
        assert (await caller.answer(request)).header["json"]["answer"] == {"sum": 3}


async def test_failures_of_asks_are_told(server: TestServer) -> None:
    async with join(server, "caller") as caller:
        assert "no agent 'adder'" in await caller.error("agent.ask", {"agent": "adder", "arguments": {}})
        async with join(server, "host", role="agent") as host:
            await host.ok("agent.register_agent", ADDER)
            request = await caller.send("agent.ask", {"agent": "adder", "arguments": {}})
            task = (await host.expect("agent.ask")).header
            await host.send("agent.ask_response", {"task_id": task["task_id"], "error": "I cannot add"})
            assert (await caller.answer(request)).header["text"] == "I cannot add"
            missing = {"agent": "adder", "arguments": {}, "requires": [{"toolkit": "nothing", "tools": None}]}
            assert "nothing" in await caller.error("agent.ask", missing)
            request = await caller.send("agent.ask", {"agent": "adder", "arguments": {}})
            await host.expect("agent.ask")
        assert "left the room" in (await caller.answer(request)).header["text"]


async def test_people_act_on_behalf_of_nobody_else(server: TestServer) -> None:
    async with join(server, "alice") as alice, join(server, "bob") as bob, join(server, "bot", role="agent") as bot:
        await register(bot)
        behalf = {**INVOKE, "on_behalf_of_id": bob.participant_id}
        assert "themselves" in await alice.error("agent.invoke_tool", behalf)
        assert "no participant" in await bot.error("agent.invoke_tool", {**INVOKE, "on_behalf_of_id": "nobody"})
        request = await bot.send("agent.invoke_tool", behalf)
        await answer_call(bot, EmptyBody())
        assert (await bot.answer(request)).header["type"] == "empty"


@pytest.mark.parametrize("base", ["http://localhost:8080", "https://api.meshagent.com", "own", "http://192.0.2.1:9"])
async def test_built_in_schemas_and_toolkits_are_installed_without_a_request(server: TestServer, base: str) -> None:
    base = server.url if base == "own" else base
    async with join(server, "bot") as bot:
        for _ in range(2):
            call = {"name": "bot", "url": f"{base}/schemas/thread", "arguments": {}}
            await bot.ok("agent.call", call)
            await bot.ok("agent.call", {**call, "url": f"{base}/toolkits/storage"})
        names = [file["name"] for file in (await bot.ok("storage.list", {"path": ".schemas"}))["files"]]
        assert names == ["thread.json"]


async def test_a_service_that_cannot_be_reached_is_an_error_that_names_it(server: TestServer) -> None:
    async with join(server) as alice:
        assert "nothing" in await alice.error("agent.call", {"name": "x", "url": f"{server.url}/schemas/nothing"})
        assert "404" in await alice.error("agent.call", {"name": "x", "url": f"{server.url}/nowhere"})


async def test_the_built_in_toolkits_work_like_any_other(server: TestServer) -> None:
    async with join(server, "alice") as alice, join(server, "host", role="agent") as host:
        listed = (await alice.ok("agent.list_toolkits", {}))["tools"]
        assert "agents" not in listed, "without agents there is nothing to offer"
        assert {"list_files_in_room", "read_file", "write_file"} <= set(listed["storage"]["tools"])
        write = {"path": "a.txt", "text": "hello", "overwrite": True}
        await alice.ok("agent.invoke_tool", {"toolkit": "storage", "tool": "write_file", "arguments": write})
        downloaded = await alice.request("storage.download", {"path": "a.txt"})
        assert downloaded.payload == b"hello"
        await host.ok("agent.register_agent", ADDER)
        assert "adder" in (await alice.ok("agent.list_toolkits", {}))["tools"]["agents"]["tools"]
        request = await alice.send("agent.invoke_tool", {"toolkit": "agents", "tool": "adder", "arguments": {"a": 1}})
        task = (await host.expect("agent.ask")).header
        await host.send("agent.ask_response", {"task_id": task["task_id"], "answer": {"sum": 1}})
        assert (await alice.answer(request)).header["json"] == {"sum": 1}
