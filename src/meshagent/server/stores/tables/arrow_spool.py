"""Temporary storage for uploaded rows until the upload is complete."""

from __future__ import annotations

from collections.abc import Iterable
from tempfile import SpooledTemporaryFile

import pyarrow as pa

from meshagent.api.errors import LimitExceededError
from meshagent.server.stores.tables.arrow_data import fit_batch

__all__ = ["ArrowSpool"]

_IN_MEMORY_BYTES = 1024 * 1024

_ALIGNED = pa.ipc.IpcReadOptions(ensure_alignment=pa.ipc.Alignment.At64Byte)
"""Arrow aligns buffers to 8 bytes in a stream; the table engine (LanceDB 0.40) needs 16 for decimals and views, and
loses the rows otherwise."""


class ArrowSpool:
    """Batches of one schema, in memory while they are small, then in a temporary file that the system removes.

    Methods block on the disk. Not thread-safe.

    Args:
        schema: Schema that rows are converted to.
        max_bytes: Maximum size of all rows.
        fill: Whether missing columns become null; otherwise the first batch determines the columns.
    """

    def __init__(self, schema: pa.Schema, *, max_bytes: int, fill: bool = True) -> None:
        self._schema = schema
        self._max_bytes = max_bytes
        self._fill = fill
        self._bytes = 0
        self.rows = 0
        self._file = SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115 - closed by `close`
        self._writer: pa.RecordBatchStreamWriter | None = None

    def add(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Add rows.

        Raises:
            InvalidRequestError: They do not match the schema.
            LimitExceededError: The upload is too large.
            OSError: The disk is full.
        """
        for batch in batches:
            fitted = fit_batch(batch, self._schema, fill=self._fill)
            self._bytes += fitted.nbytes
            if self._bytes > self._max_bytes:
                raise LimitExceededError(
                    f"the upload is larger than {self._max_bytes} bytes: split it into several", limit=self._max_bytes
                )
            if self._writer is None:
                self._schema, self._fill = fitted.schema.with_metadata(self._schema.metadata), True
                self._writer = pa.ipc.new_stream(self._file, self._schema)
            self._writer.write_batch(fitted)
            self.rows += fitted.num_rows

    def reader(self) -> pa.RecordBatchReader:
        """All rows. Call it once; nothing can be added afterwards."""
        if self._writer is None:
            return pa.RecordBatchReader.from_batches(self._schema, [])
        self._writer.close()
        self._file.seek(0)
        return pa.ipc.open_stream(self._file, options=_ALIGNED)

    def close(self) -> None:
        """Delete the rows; idempotent."""
        self._file.close()
