"""Arrow data of strangers: whatever the bytes are, they are a table or an error."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshagent.api.errors import InvalidRequestError, LimitExceededError
from meshagent.server.stores.tables.arrow_data import batch_slices, fit_batch, ipc_stream, read_schema, read_stream
from meshagent.server.stores.tables.arrow_messages import unpacked_bytes
from tests.support.hypothesis_profiles import examples

TABLE = pa.table(
    {
        "id": [1, 2, 3],
        "name": ["a", "bb", None],
        "vector": pa.array([[1.0, 2.0]] * 3, pa.list_(pa.float32(), 2)),
        "list": [[1], [2, 3], None],
        "kind": pa.array(["x", "y", "x"]).dictionary_encode(),
        "inner": [{"a": 1}] * 3,
    }
)


def stream_of(table: pa.Table, compression: str | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


STREAMS = [stream_of(TABLE), stream_of(TABLE, "zstd"), stream_of(TABLE, "lz4")]


@pytest.mark.parametrize("data", STREAMS)
def test_streams_are_read_as_they_were_written(data: bytes) -> None:
    schema, batches = read_stream(data)
    assert pa.Table.from_batches(batches, schema).equals(TABLE)
    assert read_schema(data).equals(TABLE.schema)


@settings(max_examples=examples(400), deadline=None)
@given(st.sampled_from(STREAMS), st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_are_a_table_or_an_error(data: bytes, changes: list[tuple[int, int]]) -> None:
    changed = bytearray(data)
    for place, value in changes:
        changed[place % len(changed)] = value
    try:
        schema, batches = read_stream(bytes(changed))
    except (InvalidRequestError, LimitExceededError):
        return
    for batch in batches:
        assert batch.schema.names == schema.names
        batch.to_pylist()


def test_a_few_bytes_that_say_gigabytes_take_none() -> None:
    many = pa.table({f"c{number}": pa.repeat(0, 2_000_000) for number in range(20)})
    data = stream_of(many, "zstd")
    assert len(data) < 1024 * 1024
    assert unpacked_bytes(data) >= many.nbytes
    with pytest.raises(LimitExceededError):
        read_stream(data)


@given(st.integers(0, 3000), st.integers(0, 200))
def test_pieces_are_the_batch(rows: int, width: int) -> None:
    batch = pa.record_batch({"text": ["x" * width] * rows, "id": pa.array(range(rows), pa.int64())})
    pieces = list(batch_slices(batch))
    assert sum(piece.num_rows for piece in pieces) == rows
    if pieces:
        assert pa.Table.from_batches(pieces).combine_chunks().equals(pa.Table.from_batches([batch]))
        assert all(read_stream(ipc_stream(batch.schema, piece))[1][0].equals(piece) for piece in pieces[:3])


def test_batches_fit_or_say_why() -> None:
    schema = pa.schema([("id", pa.int64()), ("at", pa.timestamp("us")), ("vector", pa.list_(pa.float32(), 2))])
    fitted = fit_batch(pa.record_batch({"vector": [[1.0, 2.0]], "id": pa.array([1], pa.int8())}), schema)
    assert fitted.schema.equals(schema)
    assert fitted.to_pylist() == [{"id": 1, "at": None, "vector": [1.0, 2.0]}]
    assert fit_batch(pa.record_batch({"id": [1]}), schema, fill=False).schema.names == ["id"]
    for bad in ({"other": [1]}, {"id": [1.5]}, {"id": ["x"]}, {"vector": [[1.0]]}):
        with pytest.raises(InvalidRequestError):
            fit_batch(pa.record_batch(bad), schema)
