"""Calls of the toolkit `dataset` at wire level, with Arrow data (protocol 12)."""

from __future__ import annotations

import itertools
from typing import Any

import pyarrow as pa

from tests.support.invoke_client import Stream, invoke
from tests.support.wire_client import Received, WireClient

PLACE: dict[str, Any] = {"namespace": None, "branch": None}
_numbers = itertools.count()


def ipc(data: pa.Table | pa.Schema) -> bytes:
    """Arrow data as an IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, data if isinstance(data, pa.Schema) else data.schema) as writer:
        if isinstance(data, pa.Table):
            writer.write_table(data)
    return bytes(sink.getvalue())


def arrow(data: bytes) -> pa.Table:
    """The table in an IPC stream."""
    return pa.ipc.open_stream(data).read_all()


async def call(client: WireClient, tool: str, **arguments: Any) -> dict[str, Any]:
    """A unary call of `dataset`; the header of its answer."""
    return (await invoke(client, "dataset", tool, {**PLACE, **arguments})).header


async def call_binary(client: WireClient, tool: str, data: bytes = b"", **headers: Any) -> Received:
    """A unary call with a binary content."""
    header = {
        "toolkit": "dataset",
        "tool": tool,
        "arguments": {"type": "binary", "headers": {**PLACE, **headers}},
        "participant_id": None,
    }
    return await client.request("room.invoke_tool", header, data)


async def start(client: WireClient, tool: str, *, data: bytes = b"", **headers: Any) -> Stream:
    """A stream with its first chunk sent."""
    stream = await Stream.open(client, "dataset", tool, f"dataset-{next(_numbers)}")
    await stream.send({"type": "binary", "headers": {"kind": "start", **PLACE, **headers}}, data)
    await stream.opened()
    return stream


async def pulled(stream: Stream) -> None:
    """The server's next pull."""
    chunk, payload = await stream.next()
    assert chunk["type"] == "binary", chunk
    assert set(chunk["headers"]) <= {"kind", "chunk_size"}
    assert (chunk["headers"]["kind"], payload) == ("pull", b"")


async def upload(client: WireClient, tool: str, *chunks: pa.Table, data: bytes = b"", **headers: Any) -> None:
    """A whole upload: a chunk for each pull, then the close."""
    stream = await start(client, tool, data=data, **headers)
    for chunk in chunks:
        await pulled(stream)
        await stream.binary(ipc(chunk), kind="data")
    await pulled(stream)
    await stream.close()
    await stream.closed()


async def failed(stream: Stream) -> dict[str, Any]:
    """The stream's next chunks are an error, whose header this is, and the close; pulls are passed over."""
    while True:
        chunk, _ = await stream.next()
        if chunk["type"] == "error":
            await stream.closed()
            return chunk
        assert chunk.get("headers", {}).get("kind") == "pull", chunk


async def download(client: WireClient, tool: str, **headers: Any) -> pa.Table:
    """All rows of a stream of rows."""
    stream = await start(client, tool, **headers)
    tables: list[pa.Table] = []
    while True:
        await stream.binary(kind="pull")
        chunk, payload = await stream.next()
        if chunk["type"] == "control":
            assert chunk["method"] == "close"
            return pa.concat_tables(tables)
        assert chunk["type"] == "binary", chunk
        assert set(chunk["headers"]) <= {"kind", "content_type"}
        assert chunk["headers"]["kind"] == "data"
        tables.append(arrow(payload))


async def rows(client: WireClient, table: str, **search: Any) -> list[dict[str, Any]]:
    """The rows of a search."""
    found: list[dict[str, Any]] = (await download(client, "search", table=table, **search)).to_pylist()
    return found


async def query(client: WireClient, text: str, parameters: pa.Table | None = None, **more: Any) -> pa.Table:
    """The rows of an SQL query."""
    data = b"" if parameters is None else ipc(parameters)
    answer = await call_binary(client, "open_sql_query", data, **{"query": text, "tables": [], **more})
    assert answer.header["type"] == "binary", answer.header
    headers = answer.header["headers"]
    assert headers["kind"] == "query"
    assert set(headers) <= {"kind", "query_id", "content_type"}
    found = await download(client, "read_sql_query", query_id=headers["query_id"])
    assert found.schema.equals(arrow(answer.payload).schema)
    return found
