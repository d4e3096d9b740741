"""Every program in `examples/` runs as a process of its own, against a real server, and does what it says."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from pydantic import SecretStr

from meshagent.api import RoomClient, WebSocketClientProtocol
from meshagent.api.messaging import JsonResponse
from tests.support.chatting import Person, joined
from tests.support.examples import FOLDER, Examples
from tests.support.server import PROJECT_ID, TestServer, rooms_ended, serve

pytestmark = pytest.mark.slow

ROOM = "examples"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with serve(tmp_path, idle_grace=2.0, webhook_secret=SecretStr("server's own")) as running:
        yield running


@pytest.fixture
def examples(server: TestServer) -> Examples:
    return Examples(server, MESHAGENT_WEBHOOK_SECRET="receiver's")


async def create(server: TestServer, what: str, **values: object) -> None:
    """Make a webhook or a service of the project, by REST."""
    headers = {"Authorization": "Bearer test-admin-token"}
    async with (
        aiohttp.ClientSession(server.url, headers=headers) as session,
        session.post(f"/accounts/projects/{PROJECT_ID}/{what}", json=values) as answer,
    ):
        assert answer.status < 300, await answer.text()


async def test_first_program(examples: Examples) -> None:
    assert await examples.run("first_program") == "bob heard: hello everyone!\n"


async def test_a_toolkit_and_its_caller(examples: Examples) -> None:
    async with examples.running("math_toolkit") as host:
        await host.says("math is in the room")
        said = await examples.run("call_tool")
    assert "math has add, divide" in said
    assert "2 + 3 = 5" in said
    assert "1 / 0: nothing can be divided by 0" in said


async def test_an_agent_that_answers_with_a_tool(examples: Examples, server: TestServer) -> None:
    async with examples.running("math_toolkit") as tools:
        await tools.says("math is in the room")
        async with examples.running("summing_agent") as agent, joined(server, "alice", room=ROOM) as alice:
            await agent.says("summing-agent is in the room")
            answer = await alice.agents.ask(agent="summing-agent", arguments={"numbers": [1, 2, 3.5]})
            assert answer.json == {"total": 6.5, "steps": 3}


async def test_two_workers_share_a_queue(examples: Examples, server: TestServer) -> None:
    words = [f"{'x' * length}" for length in range(1, 13)]
    async with examples.running("queue_worker") as first, examples.running("queue_worker") as second:
        await first.says("waiting for jobs")
        await second.says("waiting for jobs")
        said = await examples.run("queue_worker", "send", *words)
        assert sorted(said.splitlines()) == sorted(f"{word} has {len(word)} letters" for word in words)
        async with joined(server, "alice", room=ROOM) as alice:
            await alice.queues.send("jobs", "no word")
            assert await alice.queues.receive("rejected") == "no word"


async def test_a_receiver_hears_of_a_room(examples: Examples, server: TestServer, unused_tcp_port: int) -> None:
    async with examples.running("webhook_receiver", str(unused_tcp_port)) as receiver:
        url = (await receiver.says("listening")).removeprefix("listening on ")
        await create(server, "webhooks", name="example", url=url, events=["*"], secret="receiver's")
        async with joined(server, "alice", room=ROOM) as alice:
            await receiver.says(f"{ROOM} started at {server.room_url(ROOM)}")
            file = await alice.storage.open(path="a.txt")
            await alice.storage.close(handle=file)
            await receiver.says("a.txt updated")
        await rooms_ended(server)
        await receiver.says(f"{ROOM} ended")


async def test_notes_are_found_by_what_they_are_about(examples: Examples) -> None:
    for note in ("The spare key is under the third flower pot", "Milk, eggs and flour", "The train leaves at nine"):
        assert await examples.run("notes", "add", note) == "noted\n"
    found = (await examples.run("notes", "find", "where are the keys?")).splitlines()
    assert len(found) == 3
    assert re.fullmatch(r"\d{4}-\d\d-\d\d  The spare key is under the third flower pot", found[0])


async def test_a_host_with_two_paths_is_called_in(examples: Examples, server: TestServer, unused_tcp_port: int) -> None:
    """One service comes by itself, being the project's; the other one is called by a participant."""
    url = f"http://127.0.0.1:{unused_tcp_port}"
    endpoint = {"type": "meshagent.callable", "path": "/echo", "participant_name": "echo"}
    await create(server, "services", name="echo", url=url, ports={"1": {"liveness_path": "/", "endpoints": [endpoint]}})
    async with examples.running("service_host", str(unused_tcp_port)):
        protocol = WebSocketClientProtocol(url=server.room_url(ROOM), token=server.token("alice", room=ROOM))
        async with RoomClient(protocol=protocol) as alice:
            person = Person(alice)
            await alice.messaging.enable()
            await person.until(
                lambda: any(one.get_attribute("name") == "echo" for one in alice.messaging.remote_participants)
            )
            [echo] = alice.messaging.remote_participants
            await alice.messaging.send_message(to=echo, type="chat", message={"text": "hello"}, attachment=b"file")
            await person.until(lambda: bool(person.received))
            assert (person.received[0].message, person.received[0].attachment) == ({"text": "hello"}, b"file")

            await alice.agents.make_call(name="clock", url=f"{url}/clock", arguments={})
            for _ in range(500):
                if any(toolkit.name == "clock" for toolkit in await alice.agents.list_toolkits()):
                    break
            answer = await alice.agents.invoke_tool(toolkit="clock", tool="now", arguments={})
            assert isinstance(answer, JsonResponse)
            assert "T" in answer.json["now"]


def test_examples_are_short_and_all_are_told_of() -> None:
    programs = sorted(FOLDER.glob("*.py"))
    overview = (FOLDER / "README.md").read_text()
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    for program in programs:
        assert len(program.read_text().splitlines()) < 60, program.name
        assert f"({program.name})" in overview, f"{program.name} is not in README.md"
        assert f'"{program.stem}"' in tests, f"{program.name} is not tested"
