"""Floods of hostile input. Each sends `count` inputs, drawn from `chance`, to a running server."""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import pyarrow as pa

from meshagent.api.wire.packets import iter_packets
from tests.support.crdt_peer import CrdtPeer
from tests.support.dataset_client import ipc
from tests.support.hostile.mutations import any_value, mutated_bytes, mutated_value
from tests.support.hostile.pipeline import Pipeline, pipeline
from tests.support.hostile.requests import encoded, filter_text, operations, request_of, sql_text
from tests.support.server_process import ServerProcess
from tests.support.websocket_peer import Peer, client_frame, handshake

Flood = Callable[[ServerProcess, random.Random, int], Awaitable[None]]

_BINARY: Final = 2
_PACKETS_PER_CONNECTION: Final = 5_000
_REQUESTS_PER_CONNECTION: Final = 1_000
_ENGINES: Final = ("database", "dataset", "room", "storage")
"""Areas whose operations take milliseconds; the flood of requests has fewer of them."""

SCHEMA: Final = {
    "id": {"type": "int"},
    "name": {"type": "text"},
    "score": {"type": "float"},
    "vector": {"type": "vector", "size": 2, "element_type": {"type": "float"}},
}


# ---- packets and frames


def _packets(chance: random.Random) -> Iterator[bytes]:
    """Packets without end: of requests as they should be, cut, shuffled and with bytes changed, and noise."""
    cheap = [operation for operation in operations() if operation.area not in _ENGINES]
    requests = [request_of(chance.choice(cheap), chance) for _ in range(500)]
    while True:
        kind, header, payload = chance.choice(requests)
        text = encoded(header)
        data = len(text).to_bytes(8, "big") + text + payload
        if chance.random() < 0.3:
            data = mutated_bytes(data, chance)
        made = list(iter_packets(chance.randrange(2**20), kind, data, chance.choice((16, 64, 1024))))
        match chance.randrange(6):
            case 0:
                made = [mutated_bytes(packet, chance) for packet in made]
            case 1:
                chance.shuffle(made)
            case 2:
                made = made[: chance.randrange(len(made) + 1)]
            case 3:
                made = [chance.randbytes(chance.randrange(60))]
            case _:
                pass
        yield from made


async def packets(server: ServerProcess, chance: random.Random, count: int) -> None:
    """Packets that fit no message, messages that are no envelopes, envelopes that are no requests."""
    stream = _packets(chance)
    for start in range(0, count, _PACKETS_PER_CONNECTION):
        async with await _joined(server) as peer:
            reading = asyncio.create_task(_read_away(peer))
            left = min(_PACKETS_PER_CONNECTION, count - start)
            while left:
                batch = min(250, left)
                peer.send(b"".join(client_frame(_BINARY, next(stream)) for _ in range(batch)))
                await peer.writer.drain()
                left -= batch
            peer.writer.write_eof()
            await reading


async def frames(server: ServerProcess, chance: random.Random, count: int) -> None:
    """WebSocket frames with bytes changed; many end their connection, so each has one of its own."""
    stream = _packets(chance)
    for _ in range(count):
        async with await _joined(server) as peer:
            reading = asyncio.create_task(_read_away(peer))
            opcode = chance.choice((0, 1, 2, 2, 2, 8, 9, 10))
            peer.send(mutated_bytes(client_frame(opcode, next(stream)), chance))
            peer.writer.write_eof()
            await reading


async def _joined(server: ServerProcess) -> Peer:
    peer = await Peer.connect(server.port)
    peer.send(handshake(f"/rooms/hostile?token={server.token('mallory', 'hostile')}"))
    assert " 101 " in await peer.head()
    return peer


async def _read_away(peer: Peer) -> None:
    try:
        while await peer.reader.read(2**16):
            pass
    except ConnectionError:
        pass


# ---- requests


async def requests(server: ServerProcess, chance: random.Random, count: int) -> None:
    """Requests of all operations in both dialects, of the declared types and not quite."""
    cheap = [operation for operation in operations() if operation.area not in _ENGINES]
    dear = [operation for operation in operations() if operation.area in _ENGINES]

    async def send(client: Pipeline) -> None:
        await client.send(*request_of(chance.choice(dear if chance.random() < 0.1 else cheap), chance))

    await _in_connections(server, count, send)


async def updates(server: ServerProcess, chance: random.Random, count: int) -> None:
    """Updates of documents with bytes changed, and the whole ones that they are made from."""
    originals = _some_updates(chance)
    paths = [f"{number}.document" for number in range(8)]

    async def send(client: Pipeline) -> None:
        update = chance.choice(originals)
        if chance.random() < 0.9:
            update = mutated_bytes(update, chance)
        text = base64.b64encode(update)
        if chance.random() < 0.05:
            text = mutated_bytes(text, chance)
        await client.send("room.sync", {"path": chance.choice(paths)}, text)

    async def prepare(client: Pipeline) -> None:
        for path in paths:
            await client.send("room.connect", {"path": path, "create": True})

    await _in_connections(server, count, send, prepare)


def _some_updates(chance: random.Random) -> list[bytes]:
    """Updates of many shapes: elements, texts, attributes of all types, deletions."""
    peer = CrdtPeer(client_id=1)
    for number in range(60):
        with peer.edit():
            element = peer.add(chance.choice(("heading", "body", "text")), text=f"line {number}", n=number)
            element.attributes["$id"] = f"e{number}"
        if number % 7 == 3:
            with peer.edit():
                del peer.root.children[0]
    return [*peer.sent, peer.doc.get_update()]


async def documents(server: ServerProcess, chance: random.Random, count: int) -> None:
    """Schemas and contents of new documents, as JSON with places changed."""
    schema = {
        "root_tag_name": "page",
        "elements": [
            {"tag_name": "page", "properties": [{"child_tag_name": "page", "child_tag_names": ["line"]}]},
            {"tag_name": "line", "properties": [{"value_name": "text", "type": "string"}]},
        ],
    }
    content = {"page": {"lines": [{"line": {"text": "a"}}, {"line": {"text": "b"}}]}}

    async def send(client: Pipeline) -> None:
        header: dict[str, Any] = {"path": f"made/{chance.randrange(50)}.document", "schema": schema, "json": content}
        header[chance.choice(("schema", "json", "path"))] = any_value(chance)
        if chance.random() < 0.8:
            header |= {"schema": mutated_value(schema, chance), "json": mutated_value(content, chance)}
        await client.send(chance.choice(("room.create", "room.connect", "room.describe")), header)

    await _in_connections(server, count, send)


# ---- tables


async def filters(server: ServerProcess, chance: random.Random, count: int) -> None:
    """Conditions and expressions over the columns of a table."""

    async def send(client: Pipeline) -> None:
        where = filter_text(chance)
        match chance.randrange(4):
            case 0:
                await client.send(
                    "database.update", {"table": "things", "where": "id = -1", "values_sql": {"id": where}}
                )
            case 1:
                await client.send("database.delete", {"table": "things", "where": f"id < -1 AND ({where})"})
            case _:
                await client.send("database.search", {"table": "things", "where": where, "limit": 3})

    await _in_connections(server, count, send, _make_table)


async def sql(server: ServerProcess, chance: random.Random, count: int) -> None:
    """Statements and queries."""

    async def send(client: Pipeline) -> None:
        tool = chance.choice(("dataset.execute_sql", "dataset.open_sql_query", "dataset.execute_sql_statement"))
        await client.send(tool, {"query": sql_text(chance), "tables": [{"name": "things"}]})

    await _in_connections(server, count, send, _make_table)


async def arrow(server: ServerProcess, chance: random.Random, count: int) -> None:
    """Arrow streams with bytes changed, as parameters of queries."""
    table = pa.table({"id": [1], "name": ["a"], "list": [[1.0]], "at": pa.array([0], pa.timestamp("us"))})
    data = ipc(table)
    query = "SELECT * FROM things WHERE id = $id OR name = $name OR $list IS NULL OR $at IS NULL"
    header = {"query": query, "tables": [{"name": "things"}]}

    async def send(client: Pipeline) -> None:
        parameters = mutated_bytes(data, chance) if chance.random() < 0.95 else data
        await client.send("dataset.open_sql_query", header, parameters)

    await _in_connections(server, count, send, _make_table)


async def _make_table(client: Pipeline) -> None:
    rows = [{"id": n, "name": "abc"[n % 3] * n, "score": n / 2, "vector": [n, 1]} for n in range(8)]
    header = {"name": "things", "schema": SCHEMA, "data": rows, "mode": "create_if_not_exists"}
    await client.send("database.create_table", header)
    await client.settle()


# ---- many connections


async def _in_connections(
    server: ServerProcess,
    count: int,
    send: Callable[[Pipeline], Awaitable[None]],
    prepare: Callable[[Pipeline], Awaitable[None]] | None = None,
) -> None:
    """Call `send` that often, with a new connection after every thousand; some of it must be right."""
    succeeded = 0
    for start in range(0, count, _REQUESTS_PER_CONNECTION):
        async with pipeline(server) as client:
            if prepare is not None:
                await prepare(client)
            for _ in range(min(_REQUESTS_PER_CONNECTION, count - start)):
                await send(client)
            await client.settle()
            succeeded += client.succeeded.total()
    assert succeeded >= count // 100, "hardly anything was accepted: the inputs miss their parser"
