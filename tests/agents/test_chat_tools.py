"""What a chat bot's model may use, and how the user is told."""

from __future__ import annotations

from typing import Any

from meshagent.agents.chat import ChatBot
from meshagent.agents.llm.scripted import ScriptedAdapter, call, say
from meshagent.api import RequiredToolkit
from meshagent.api.contracts.data_types import IntDataType, TextDataType
from meshagent.api.documents.builtin import builtin_schema
from meshagent.llm.model import ModelRequest
from meshagent.tools import RemoteToolkit, ToolContext, Toolkit, tool
from meshagent.tools.database import DatabaseToolkit
from meshagent.tools.documents import DocumentTypeAuthoringToolkit
from tests.support.chatting import joined, person, texts, working
from tests.support.server import TestServer

PATH = "tools.thread"


def results(request: ModelRequest) -> list[str]:
    return [str(message["output"]) for message in request.messages if message.get("type") == "function_call_output"]


def offered(request: ModelRequest) -> list[str]:
    return [definition.name for definition in request.tools]


async def test_a_tool_queries_a_table_and_the_next_turn_knows_the_answer(server: TestServer) -> None:
    adapter = ScriptedAdapter(
        [call("search_table", table="fruit", where="amount > 3"), say("There are 5 apples."), say("Still 5.")]
    )
    agent = ChatBot(name="bot", llm_adapter=adapter, toolkits=[DatabaseToolkit(read_only=True)])
    async with working(server, agent), person(server, "alice") as alice:
        await alice.room.database.create_table_with_schema(
            name="fruit",
            schema={"name": TextDataType(), "amount": IntDataType()},
            data=[{"name": "apple", "amount": 5}, {"name": "pear", "amount": 2}],
        )
        thread = await alice.open(PATH, "bot")
        await alice.say(thread, PATH, "what do we have?")
        await alice.finished(PATH)
        await alice.say(thread, PATH, "and now?")
        await alice.finished(PATH, times=2)
        await alice.until(lambda: texts(thread, "bot") == ["There are 5 apples.", "Still 5."])
    [_, second, third] = adapter.model.requests
    assert "apple" in results(second)[0]
    assert "pear" not in results(second)[0]
    assert results(third) == results(second)


async def test_one_turn_edits_a_document_and_the_next_queries_a_table(server: TestServer) -> None:
    adapter = ScriptedAdapter(
        [
            call(
                "document_insert_heading",
                path="stock.document",
                parent_id=None,
                after_id=None,
                attributes={"text": "Stock"},
            ),
            say("The heading is in stock.document."),
            call("search_table", table="fruit", where="amount > 3"),
            say("There are 5 apples."),
        ]
    )
    schema = builtin_schema("document")
    assert schema is not None
    toolkits: list[Toolkit] = [DocumentTypeAuthoringToolkit(schema=schema, document_type="document"), DatabaseToolkit()]
    async with (
        working(server, ChatBot(name="bot", llm_adapter=adapter, toolkits=toolkits)),
        person(server, "alice") as alice,
    ):
        data = [{"name": "apple", "amount": 5}, {"name": "pear", "amount": 2}]
        await alice.room.database.create_table_from_data(name="fruit", data=data)
        thread = await alice.open(PATH, "bot")
        await alice.say(thread, PATH, "start a document about our stock")
        await alice.finished(PATH)
        await alice.say(thread, PATH, "what do we have?")
        await alice.finished(PATH, times=2)
        answers = ["The heading is in stock.document.", "There are 5 apples."]
        await alice.until(lambda: texts(thread, "bot") == answers)
        stock = await alice.room.sync.open("stock.document", create=False)
        assert stock.to_json() == {"document": {"content": [{"heading": {"text": "Stock"}}]}}
    assert "apple" in results(adapter.model.requests[-1])[-1]


@tool
def ping() -> str:
    """Answer."""
    return "pong"


async def test_a_user_chooses_toolkits_for_one_message(server: TestServer) -> None:
    adapter = ScriptedAdapter()
    async with (
        joined(server, "host", role="agent") as host,
        RemoteToolkit("echoes", [ping]).hosted(host),
        working(server, ChatBot(llm_adapter=adapter)),
        person(server, "alice") as alice,
    ):
        thread = await alice.open(PATH, "bot")
        chosen = [{"toolkit": "echoes", "tools": ["ping", "gone"]}, {"toolkit": "missing", "tools": None}]
        await alice.say(thread, PATH, "with", toolkits=chosen)
        await alice.finished(PATH)
        await alice.say(thread, PATH, "without")
        await alice.finished(PATH, times=2)
    assert [offered(request) for request in adapter.model.requests] == [["ping"], []]


async def test_tools_are_those_of_the_user_who_wrote(server: TestServer) -> None:
    """Two people have a private toolkit of the same name; each one's message uses their own."""
    used: list[tuple[str, Any]] = []

    def toolkit_of(owner: str) -> RemoteToolkit:
        @tool
        def ask_user(context: ToolContext) -> str:
            """Ask."""
            used.append((owner, context.on_behalf_of and context.on_behalf_of.get_attribute("name")))
            return "yes"

        return RemoteToolkit("ui", [ask_user], public=False)

    adapter = ScriptedAdapter([call("ask_user"), say("Thank you.")] * 2)
    agent = ChatBot(llm_adapter=adapter, requires=[RequiredToolkit(name="ui")])
    async with (
        person(server, "alice") as alice,
        person(server, "bob") as bob,
        toolkit_of("alice").hosted(alice.room),
        toolkit_of("bob").hosted(bob.room),
        joined(server, "host", role="agent") as host,
        RemoteToolkit("ui", [ping]).hosted(host),
        working(server, agent),
    ):
        thread = await alice.open(PATH, "bot", "bob")
        await alice.say(thread, PATH, "from alice")
        await alice.finished(PATH)
        same = await bob.open(PATH)
        await bob.say(same, PATH, "from bob")
        await bob.finished(PATH, times=2)
    assert used == [("alice", "alice"), ("bob", "bob")]


async def test_a_user_interface_that_shows_toasts_gets_one_with_each_call(server: TestServer) -> None:
    toasts: list[str] = []

    @tool
    def show_toast(title: str) -> str:
        """Tell the user what is being done."""
        toasts.append(title)
        return "shown"

    adapter = ScriptedAdapter([call("ping", show_toast={"title": "Pinging"}, ping={}), say("Done.")])
    agent = ChatBot(llm_adapter=adapter, requires=[RequiredToolkit(name="echoes")])
    async with (
        joined(server, "host", role="agent") as host,
        RemoteToolkit("echoes", [ping]).hosted(host),
        person(server, "alice") as alice,
        RemoteToolkit("ui", [show_toast], public=False).hosted(alice.room),
        working(server, agent),
    ):
        thread = await alice.open(PATH, "bot")
        await alice.say(thread, PATH, "ping")
        await alice.finished(PATH)
        await alice.until(lambda: texts(thread, "bot") == ["Done."])
    assert toasts == ["Pinging"]
    assert results(adapter.model.requests[1]) == ["pong"]


async def test_the_model_knows_what_the_user_looks_at(server: TestServer) -> None:
    adapter = ScriptedAdapter()
    async with working(server, ChatBot(llm_adapter=adapter)), person(server, "alice") as alice:
        thread = await alice.open(PATH, "bot")
        await alice.room.local_participant.set_attribute("current_file", "plan.md")
        await alice.say(thread, PATH, "what is this?")
        await alice.finished(PATH)
        await alice.room.local_participant.set_attribute("current_file", None)
        await alice.say(thread, PATH, "and now?")
        await alice.finished(PATH, times=2)
    first, second = adapter.model.requests
    assert "'plan.md'" in (first.instructions or "")
    assert second.instructions is None


async def test_a_required_toolkit_that_left_is_told(server: TestServer) -> None:
    adapter = ScriptedAdapter()
    agent = ChatBot(llm_adapter=adapter, requires=[RequiredToolkit(name="echoes")])
    async with joined(server, "host", role="agent") as host, person(server, "alice") as alice:
        echoes = RemoteToolkit("echoes", [ping])
        await echoes.start(room=host)
        async with working(server, agent):
            await echoes.stop()
            thread = await alice.open(PATH, "bot")
            await alice.say(thread, PATH, "ping")
            await alice.finished(PATH)
            assert "echoes" in (await alice.answers(thread, "bot", 1))[0]
    assert adapter.model.requests == []
