"""`meshagent database`: tables filled from files, searched, changed; and how files are read."""

from __future__ import annotations

import io
import json
import tempfile
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshagent.cli.output import CommandError, UsageError
from meshagent.cli.rows import read_rows
from tests.support.command_line import CommandLine
from tests.support.hypothesis_profiles import examples

PEOPLE = 'name,age,score,zip\nAnn,30,1.5,01234\n"Bob, B.",,2,5\n'
PEOPLE_ROWS = [
    {"name": "Ann", "age": 30, "score": 1.5, "zip": "01234"},
    {"name": "Bob, B.", "age": None, "score": 2.0, "zip": "5"},
]


def test_cells_become_numbers_where_a_whole_column_is(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text(PEOPLE)
    assert read_rows(file) == PEOPLE_ROWS
    assert read_rows(file.rename(tmp_path / "people.dat"), "csv") == PEOPLE_ROWS


@given(st.lists(st.fixed_dictionaries({"a": st.text(min_size=1), "b": st.integers()}), min_size=1))
@settings(max_examples=examples(50))
def test_json_lines_and_json_read_alike(rows: list[dict[str, object]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        whole, lines = Path(name, "x.json"), Path(name, "x.jsonl")
        whole.write_text(json.dumps(rows))
        lines.write_text("\n".join(json.dumps(row) for row in rows))
        assert read_rows(whole) == read_rows(lines) == rows


@pytest.mark.parametrize(
    ("name", "content"),
    [("x.csv", "a,b\n1,2,3\n"), ("x.json", "{"), ("x.json", "[1]"), ("x.jsonl", '{"a": 1}\n{'), ("x.what", "")],
)
def test_what_is_no_table_is_refused(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=name):
        read_rows(tmp_path / name)


def test_parquet_is_read_with_its_types(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [{"id": 1, "day": date(2025, 1, 2), "v": [0.5, 1.0]}, {"id": 2, "day": None, "v": None}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "x.parquet")
    assert read_rows(tmp_path / "x.parquet") == [{"id": 1, "day": "2025-01-02", "v": [0.5, 1.0]}, rows[1]]
    (tmp_path / "x.parquet").write_bytes(b"no")
    with pytest.raises(CommandError, match="cannot read"):
        read_rows(tmp_path / "x.parquet")


def test_standard_input_is_a_file_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(PEOPLE))
    assert read_rows(Path("-"), "csv") == PEOPLE_ROWS


async def test_a_table_is_filled_changed_and_searched(cli: CommandLine) -> None:
    (cli.home / "people.csv").write_text(PEOPLE)
    assert "inserted 2 rows" in (await cli("database", "insert", "people", "people.csv", "--create")).err
    await cli("database", "insert", "people", "-", "--format", "json", stdin='[{"name": "Cid", "age": 7}]')
    await cli(
        "database",
        "insert",
        "people",
        "-",
        "--format",
        "jsonl",
        "--merge-on",
        "name",
        stdin='{"name": "Cid", "age": 8}',
    )
    await cli("database", "update", "people", "--where", "name = 'Ann'", "--values", '{"score": 9}')
    await cli("database", "update", "people", "--where", "age = 30", "--sql", "age=age+1")
    found = await cli("database", "search", "people", "--where", "age > 7", "-s", "name", "-s", "age", "--json")
    assert sorted(found.json, key=lambda row: row["name"]) == [{"name": "Ann", "age": 31}, {"name": "Cid", "age": 8}]
    assert len((await cli("room", "database", "search", "people", "-n", "2")).rows) == 2


async def test_a_table_is_indexed_and_dropped(cli: CommandLine) -> None:
    (cli.home / "people.csv").write_text(PEOPLE)
    await cli("database", "insert", "people", "people.csv", "--create")
    await cli("database", "delete", "people", "--where", "age is null")
    await cli("database", "index", "people", "name")
    assert (await cli("database", "indexes", "people", "--json")).json[0]["columns"] == ["name"]
    await cli("database", "optimize", "people")
    words = await cli("database", "search", "people", "--text", "ann", "--json")
    assert [row["name"] for row in words.json] == ["Ann"]
    await cli("database", "create", "empty", "id=int", "v=vector[2]", "when=timestamp")
    assert (await cli("database", "tables")).rows == [["empty"], ["people"]]
    await cli("database", "drop", "empty")
    await cli("database", "drop", "empty", "-f")
    assert (await cli("database", "tables", "--json")).json == [{"name": "people"}]


async def test_what_is_wrong_with_a_table_is_said(cli: CommandLine) -> None:
    assert "vector[SIZE]" in await cli.fails("database", "create", "t", "a=money", code=2)
    assert "error:" in await cli.fails("database", "search", "none", code=3)
    assert "error:" in await cli.fails("database", "drop", "none", code=3)
    assert "--values" in await cli.fails("database", "update", "t", "--where", "true", code=2)
    assert "cannot read" in await cli.fails("database", "insert", "t", "missing.csv", code=3)
