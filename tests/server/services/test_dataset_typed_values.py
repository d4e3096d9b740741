"""Typed values of uploads: how they are written, and which types columns get from them."""

from __future__ import annotations

import base64
from datetime import date, datetime
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest

from meshagent.api.errors import InvalidRequestError
from meshagent.server.services.dataset.typed_values import (
    Expression,
    decode_value,
    table_from_typed_rows,
    to_json_value,
)

UUID_TEXT = "12345678-1234-5678-1234-567812345678"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (None, None),
        (True, True),
        (7, 7),
        ("text", "text"),
        ({"binary": base64.b64encode(b"\0\1").decode()}, b"\0\1"),
        ({"uuid": UUID_TEXT}, UUID(UUID_TEXT).bytes),
        ({"date": "2025-01-02"}, date(2025, 1, 2)),
        ({"timestamp": "2025-01-02T03:04:05+01:00"}, datetime(2025, 1, 2, 2, 4, 5)),  # noqa: DTZ001 - columns are naive
        ({"list": [1, {"date": "2025-01-02"}]}, [1, date(2025, 1, 2)]),
        ({"struct": {"a": {"list": []}}}, {"a": []}),
        ({"json": {"b": 1}}, '{"b":1}'),
        ({"expression": "a + 1"}, Expression("a + 1")),
    ],
)
def test_values_are_decoded(written: Any, value: Any) -> None:
    assert decode_value(written) == value


@pytest.mark.parametrize(
    "written",
    [[1], {}, {"date": "2025-01-02", "list": []}, {"nonsense": 1}, {"date": "soon"}, {"binary": "?"}, {"uuid": 7}],
)
def test_other_forms_are_refused(written: Any) -> None:
    with pytest.raises(InvalidRequestError):
        decode_value(written)


def test_dates_become_text_where_json_rows_have_text() -> None:
    assert to_json_value(date(2025, 1, 2)) == "2025-01-02"
    assert to_json_value(7) == 7


def row(**values: Any) -> dict[str, Any]:
    return {"columns": [{"name": name, "value": value} for name, value in values.items()]}


def test_columns_get_the_types_of_their_values() -> None:
    table = table_from_typed_rows([row(id=1, day={"date": "2025-01-02"}), row(id=2, raw={"binary": "AAE="})])
    assert table.schema == pa.schema([("id", pa.int64()), ("day", pa.date32()), ("raw", pa.binary())])
    assert table.to_pylist() == [
        {"id": 1, "day": date(2025, 1, 2), "raw": None},
        {"id": 2, "day": None, "raw": b"\0\1"},
    ]


@pytest.mark.parametrize(
    "rows",
    [
        [{"nonsense": 1}],
        [row(a={"expression": "1"})],
        [row(a={"date": "2025-01-02"}), row(a={"timestamp": "2025-01-02"})],
    ],
)
def test_rows_that_make_no_table_are_refused(rows: list[Any]) -> None:
    with pytest.raises(InvalidRequestError):
        table_from_typed_rows(rows)
