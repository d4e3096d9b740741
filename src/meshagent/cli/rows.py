"""Read table rows from CSV, JSON, JSON lines and Parquet files."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable
from datetime import date, datetime
from pathlib import Path
from typing import Any

from meshagent.cli.output import CommandError, UsageError
from meshagent.cli.values import read_file

Row = dict[str, Any]

_FORMATS = {".csv": "csv", ".tsv": "tsv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}


def read_rows(path: Path, file_format: str | None = None) -> list[Row]:
    """Return the rows of a file; `-` is standard input.

    CSV columns that contain only numbers are converted to numbers. Empty cells become null.

    Raises:
        UsageError: The format is unknown, or the file is not valid.
        CommandError: The file cannot be read, or pyarrow, needed for Parquet, is not installed.
    """
    chosen = file_format or _FORMATS.get(path.suffix.lower(), "")
    if not chosen:
        raise UsageError(f"unknown format of {path}: use --format")
    if chosen == "parquet":
        return _read_parquet(path)
    values: Any
    text = sys.stdin.read() if str(path) == "-" else read_file(path, "file")
    try:
        match chosen:
            case "csv" | "tsv":
                return _read_csv(text, delimiter="\t" if chosen == "tsv" else ",")
            case "jsonl":
                values = [json.loads(line) for line in text.splitlines() if line.strip()]
            case _:
                values = json.loads(text)
    except (ValueError, csv.Error) as error:
        raise UsageError(f"{path} is not {chosen.upper()}: {error}") from None
    return _objects(values if isinstance(values, list) else [values], path)


def _objects(values: Iterable[Any], path: Path) -> list[Row]:
    rows = list(values)
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise UsageError(f"row {number} of {path} is not a JSON object")
    return rows


def _read_csv(text: str, *, delimiter: str) -> list[Row]:
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows = list(reader)
    columns = reader.fieldnames or []
    if any(len(row) > len(columns) for row in rows):  # DictReader puts excess cells under the key None
        raise ValueError("a line has more cells than the header")
    converters = {column: _converter(row[column] for row in rows) for column in columns}
    return [
        {column: None if not row[column] else converters[column](row[column]) for column in columns} for row in rows
    ]


def _converter(cells: Iterable[str | None]) -> type[int] | type[float] | type[str]:
    """Return the type of a column: int, float, or else str. Values with leading zeros, like 007, are text."""
    filled = [cell for cell in cells if cell]
    for kind in (int, float):
        if filled and all(_reads_as(kind, cell) for cell in filled):
            return kind
    return str


def _reads_as(kind: type[int] | type[float], cell: str) -> bool:
    digits = cell.lstrip("+-")
    if not digits[:1].isdigit() or (digits[0] == "0" and digits[1:2].isdigit()) or "_" in cell:
        return False
    try:
        kind(cell)
    except ValueError:
        return False
    return True


def _read_parquet(path: Path) -> list[Row]:
    try:
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise CommandError(
            "reading Parquet requires the package pyarrow", hint="pip install 'openmeshagent[server]'"
        ) from None
    try:
        table = parquet.read_table(sys.stdin.buffer if str(path) == "-" else path)
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        raise CommandError(f"cannot read {path}: {error}") from None
    return [{name: _plain(value) for name, value in row.items()} for row in table.to_pylist()]


def _plain(value: Any) -> Any:
    """Convert dates and times to strings."""
    return value.isoformat() if isinstance(value, date | datetime) else value
